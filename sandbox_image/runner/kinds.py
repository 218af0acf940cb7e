"""Arrow types: which ones a table may have, and the few that are settled in the same way everywhere."""

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as kind

from runner.job import Warn

MAX_DEPTH = 3
COMPLEX = pa.struct([("real", pa.float64()), ("imag", pa.float64())])
"""Arrow has no complex numbers: a column of them is a struct of exactly these two."""

HOLDERS = (list, tuple, dict, set, frozenset, np.ndarray, pd.DataFrame, pd.Series, pd.Index)
"""What may hold further values, in a cell of a frame."""

MAX_INT64 = 2**63 - 1
EXACT_FLOAT = 2**53
_FLAT = (
    kind.is_boolean, kind.is_integer, kind.is_floating, kind.is_decimal, kind.is_string, kind.is_large_string,
    kind.is_string_view, kind.is_binary, kind.is_large_binary, kind.is_binary_view, kind.is_fixed_size_binary,
    kind.is_date, kind.is_time, kind.is_timestamp, kind.is_duration, kind.is_null,
)  # fmt: skip


_LEVELS = (kind.is_boolean, kind.is_integer, kind.is_floating, kind.is_string, kind.is_large_string)


def is_flat(data_type: pa.DataType) -> bool:
    """Tell whether a cell of this type is one plain value."""
    return any(test(data_type) for test in _FLAT)


def is_nested(data_type: pa.DataType) -> bool:
    """Tell whether a cell of this type holds further values; a complex number counts as one value."""
    if kind.is_struct(data_type):
        return bool(data_type != COMPLEX)
    return any(test(data_type) for test in (kind.is_list, kind.is_large_list, kind.is_fixed_size_list))


def is_allowed(data_type: pa.DataType, depth: int = MAX_DEPTH) -> bool:
    """Tell whether a column may have this type: a plain one, a category of plain ones, or a little nesting.

    Left out: unions, maps, run-end encoding, intervals of months, extension types.
    """
    if kind.is_dictionary(data_type):
        return is_flat(data_type.value_type)
    if kind.is_struct(data_type):
        return depth > 0 and all(is_allowed(field.type, depth - 1) for field in data_type)
    if is_nested(data_type):
        return depth > 0 and is_allowed(data_type.value_type, depth - 1)
    return is_flat(data_type)


def too_deep(value: Any) -> bool:
    """Tell whether a Python value nests deeper than a table can: one that holds itself would end the process.

    Goes level by level over distinct objects, so that a few lists full of each other cost nothing.
    """
    level = {id(value): value} if isinstance(value, HOLDERS) else {}
    for _ in range(MAX_DEPTH):
        inner = (
            item for holder in level.values() for item in (holder.values() if isinstance(holder, dict) else holder)
        )
        level = {id(item): item for item in inner if isinstance(item, HOLDERS)}
    return bool(level)


def beyond(column: pa.ChunkedArray, limit: int) -> bool:
    """Tell whether an integer column holds a value whose size is greater than `limit`."""
    extremes = pc.min_max(column).as_py()
    return any(value is not None and abs(value) > limit for value in extremes.values())


def without_zone(column: pa.ChunkedArray, name: str, warn: Warn) -> pa.ChunkedArray:
    """Turn zone-aware times into the same moments in UTC, without a zone."""
    zone = column.type.tz
    if not zone:
        return column
    if zone.upper() not in ("UTC", "ETC/UTC", "Z", "+00:00"):
        warn("zone_dropped", f"column {name!r} is in the time zone {zone}; it became UTC without a zone")
    return column.cast(pa.timestamp(column.type.unit))


def decimals_as_floats(column: pa.ChunkedArray, name: str, warn: Warn) -> pa.ChunkedArray:
    """Turn decimal numbers into floating point ones, the nearest there is; tables here have no decimals."""
    warn("decimal_to_double", f"column {name!r} holds decimal numbers; they became floating point numbers")
    return column.cast(pa.float64())


def categories(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Give categories one set of levels in plain types; decode them when a level is missing or repeated.

    Only numbers, text and truth values stay categories: other levels would need rules of their own.
    """
    column = column.unify_dictionaries()
    if not column.num_chunks:
        return column
    levels = without_views(pa.chunked_array([column.chunk(0).dictionary]))
    levels = compact(levels).combine_chunks()
    kept = any(test(levels.type) for test in _LEVELS)
    if not kept or levels.null_count or len(pc.unique(levels)) < len(levels):
        return decoded(column)
    ordered = column.type.ordered
    chunks = [pa.DictionaryArray.from_arrays(c.indices, levels, ordered=ordered) for c in column.chunks]
    return pa.chunked_array(chunks)


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
    """Use the types of 32-bit offsets for text and bytes, wherever a column fits them."""
    narrow = {pa.large_string(): pa.string(), pa.large_binary(): pa.binary()}.get(column.type)
    if narrow is None or any(chunk.nbytes >= 2**31 for chunk in column.chunks):
        return column
    return column.cast(narrow)


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
