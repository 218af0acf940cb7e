"""Values by which rows are told apart: what counts as equal is the same value, and there is one missing one."""

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as kind

from runner import kinds


def is_comparable(data_type: pa.DataType) -> bool:
    """Tell whether the cells of this type can be told apart: single values can, complex numbers cannot."""
    return kinds.is_flat(data_type) or kind.is_dictionary(data_type)


def comparable(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Give a column of single values with NaN as missing, one zero, and no type that Arrow cannot compare."""
    if kind.is_null(column.type):
        return column.cast(pa.int8())
    if kind.is_float16(column.type):
        column = column.cast(pa.float32())
    if kind.is_decimal32(column.type) or kind.is_decimal64(column.type):
        column = column.cast(pa.decimal128(column.type.precision, column.type.scale))
    if not kind.is_floating(column.type):
        return column
    return pc.add(kinds.nan_as_missing(column), pa.scalar(0, column.type))  # -0.0 becomes 0.0


def coded(column: pa.ChunkedArray) -> tuple[pa.ChunkedArray, pa.Array]:
    """Give a column as numbers, and the values that the numbers stand for, which are distinct; missing is missing.

    Not every value needs to be in use.
    """
    if not kind.is_dictionary(column.type):
        encoded = comparable(column).dictionary_encode().unify_dictionaries()
        codes = pa.chunked_array([chunk.indices for chunk in encoded.chunks], pa.int32())
        return codes, encoded.chunk(0).dictionary if encoded.num_chunks else pa.array([], encoded.type.value_type)
    levels = comparable(pa.chunked_array([column.chunk(0).dictionary])).combine_chunks()
    distinct = levels.unique().drop_null()
    number = pc.index_in(levels, value_set=distinct, skip_nulls=True)
    return pa.chunked_array([number.take(chunk.indices) for chunk in column.chunks], pa.int32()), distinct
