"""Arrow types: which ones a table may have, and the few that are settled in the same way everywhere."""

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as kind

MAX_DEPTH = 3
COMPLEX = pa.struct([("real", pa.float64()), ("imag", pa.float64())])
"""Arrow has no complex numbers: a column of them is a struct of exactly these two."""

COMPACT_ROWS = 2**20
"""Text of more rows comes out as `large_string`, the form that pandas has it in."""

HOLDERS = (list, tuple, dict, set, frozenset, np.ndarray, pd.DataFrame, pd.Series, pd.Index)
"""What may hold further values, in a cell of a frame."""

_FLAT = (
    kind.is_boolean, kind.is_integer, kind.is_floating, kind.is_decimal, kind.is_string, kind.is_large_string,
    kind.is_string_view, kind.is_binary, kind.is_large_binary, kind.is_binary_view, kind.is_fixed_size_binary,
    kind.is_date, kind.is_time, kind.is_timestamp, kind.is_duration, kind.is_null,
)  # fmt: skip
_LISTS = (kind.is_list, kind.is_large_list, kind.is_fixed_size_list)
_LIST_VIEWS = (kind.is_list_view, kind.is_large_list_view)


def is_flat(data_type: pa.DataType) -> bool:
    """Tell whether a cell of this type is one plain value."""
    return any(test(data_type) for test in _FLAT)


def is_nested(data_type: pa.DataType) -> bool:
    """Tell whether a cell of this type holds further values; a complex number counts as one value."""
    if kind.is_struct(data_type):
        return bool(data_type != COMPLEX)
    return any(test(data_type) for test in (*_LISTS, kind.is_map))


def is_bytes(data_type: pa.DataType) -> bool:
    """Tell whether the cells of this type are bytes."""
    return any(test(data_type) for test in (kind.is_binary, kind.is_large_binary, kind.is_fixed_size_binary))


def is_list_view(data_type: pa.DataType) -> bool:
    """Tell whether this is one of the two list types that few readers know."""
    return any(test(data_type) for test in _LIST_VIEWS)


def is_allowed(data_type: pa.DataType) -> bool:
    """Tell whether a column may have this type: see `is_plain`, and what is only an encoding of it.

    Left out are unions, intervals of months, and what nests more than `MAX_DEPTH` deep.
    """
    if isinstance(data_type, pa.BaseExtensionType):
        return is_allowed(data_type.storage_type)
    if kind.is_run_end_encoded(data_type):
        return is_plain(data_type.value_type)
    if is_list_view(data_type):
        return is_plain(data_type.value_type, MAX_DEPTH - 1)
    return is_plain(data_type)


def is_plain(data_type: pa.DataType, depth: int = MAX_DEPTH) -> bool:
    """Tell whether this is one value, a category of such, or lists, structs and maps of them, `depth` deep.

    A struct whose fields share a name has no counterpart in Python, and is left out, too.
    """
    if kind.is_dictionary(data_type):
        nested_views = depth < MAX_DEPTH and data_type.value_type in (pa.string_view(), pa.binary_view())
        return is_flat(data_type.value_type) and not nested_views  # Arrow cannot take these out of there
    if kind.is_struct(data_type):
        names = {field.name for field in data_type}
        return depth > 0 and len(names) == len(data_type) and all(is_plain(f.type, depth - 1) for f in data_type)
    if kind.is_map(data_type):
        return depth > 0 and all(is_plain(t, depth - 1) for t in (data_type.key_type, data_type.item_type))
    if is_nested(data_type):
        return depth > 0 and is_plain(data_type.value_type, depth - 1)
    return is_flat(data_type)


def too_deep(value: Any) -> bool:
    """Tell whether a Python value nests deeper than a table can: one that holds itself would end the process.

    Goes level by level over distinct objects, so that a few lists full of each other cost nothing.
    """
    level = {id(value): value} if isinstance(value, HOLDERS) else {}
    for _ in range(MAX_DEPTH):
        inner = (item for holder in level.values() for item in _items(holder))
        level = {id(item): item for item in inner if isinstance(item, HOLDERS)}
    return bool(level)


def _items(holder: Any) -> Any:
    if isinstance(holder, dict):
        return holder.values()
    return () if isinstance(holder, np.ndarray) and holder.ndim == 0 else holder


def in_utc(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Turn zone-aware times into the same moments in UTC, without a zone."""
    return column.cast(pa.timestamp(column.type.unit)) if column.type.tz else column


def decoded(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Turn a column of categories into one of their values."""
    chunks = [chunk.dictionary_decode() for chunk in column.chunks]
    return pa.chunked_array(chunks, type=column.type.value_type)


def without_views(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Turn the view types, which few readers know, into the plain ones."""
    if kind.is_string_view(column.type):
        return column.cast(pa.large_string())
    if kind.is_binary_view(column.type):
        return column.cast(pa.large_binary())
    return column


def compact(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Use the usual type of text, with offsets of 32 bits: pandas has the wide one only.

    The text is not copied, but its offsets are, which a table of many rows should not have to pay for.
    """
    if not kind.is_large_string(column.type) or len(column) > COMPACT_ROWS or column.nbytes >= 2**31:
        return column
    return column.cast(pa.string())


def nan_as_missing(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """There is one kind of missing value: NaN becomes it."""
    if not kind.is_floating(column.type):
        return column
    is_nan = pc.is_nan(column)
    if not pc.any(is_nan).as_py():
        return column
    return pc.if_else(is_nan, pa.scalar(None, column.type), column)


def complex_column(values: "np.ndarray[tuple[int], np.dtype[np.complex128]]") -> pa.Array:
    """Give complex numbers as an Arrow column; one with a NaN in it is missing."""
    missing = pa.array(np.isnan(values))
    parts = [pa.array(values.real.copy()), pa.array(values.imag.copy())]
    return pa.StructArray.from_arrays(parts, fields=list(COMPLEX), mask=missing)


def complex_values(column: pa.ChunkedArray) -> "np.ndarray[tuple[int], np.dtype[np.complex128]]":
    """Give a column of complex numbers to numpy; a missing one is NaN."""
    whole = column.combine_chunks()
    parts = [pc.struct_field(whole, name).to_numpy(zero_copy_only=False) for name in ("real", "imag")]
    values: np.ndarray[tuple[int], np.dtype[np.complex128]] = np.empty(len(whole), dtype=np.complex128)
    values.real, values.imag = parts
    return values
