"""One column on its way in: what pandas has no counterpart for is settled by a rule, with a note."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as kind

from runner import encodings, kinds
from runner.failure import UnsupportedInput, clip_line
from runner.notes import Notes

EXACT_FLOAT = 2**53
"""Beyond it, floating point cannot hold every integer."""

_SMALLEST = -(2**63)


def arriving(column: pa.ChunkedArray, name: str, nullable: bool, notes: Notes) -> Any:
    """Give a plain column as pandas gets it: an Arrow column that it converts by itself, or an array of values.

    `nullable` lets integers and truth values with missing ones be pandas' own types for that.  Raises
    `UnsupportedInput` naming column, row, value and type of what cannot be handed in.
    """
    data_type = column.type
    if kind.is_dictionary(data_type):
        return _categories(column, name, nullable, notes)
    if kinds.is_nested(data_type):
        return _objects(column, name, notes)
    if data_type == kinds.COMPLEX:
        return _complex(column, name, notes)
    for test, settle in _RULES:
        if test(data_type):
            return settle(column, name, notes)
    if nullable and column.null_count and data_type in _NULLABLE:
        return _NULLABLE[data_type].__from_arrow__(column)
    if kind.is_integer(data_type) and column.null_count:
        _note_integers(column, name, notes)
    if kinds.is_bytes(data_type) or (kind.is_boolean(data_type) and column.null_count):
        _note_no_value(column, name, notes)
    return column


def _categories(column: pa.ChunkedArray, name: str, nullable: bool, notes: Notes) -> Any:
    """Keep levels that pandas can have: they are distinct, and none is missing.  Else the values arrive alone."""
    levels = pa.chunked_array([column.chunk(0).dictionary])
    settled = arriving(levels, name, False, notes)
    if isinstance(settled, pa.ChunkedArray):
        index = settled.to_pandas(date_as_object=False)
        if index.is_unique and not index.isna().any():
            return column if settled.type == levels.type else _with_levels(column, settled.combine_chunks())
    notes.warn(
        "categories_decoded",
        "levels that are missing, or equal to another one, are none to pandas; the values arrive without categories",
        name,
    )
    return arriving(kinds.decoded(column), name, nullable, notes)


def _with_levels(column: pa.ChunkedArray, levels: pa.Array) -> pa.ChunkedArray:
    ordered = column.type.ordered
    return pa.chunked_array(
        [pa.DictionaryArray.from_arrays(c.indices, levels, ordered=ordered, safe=False) for c in column.chunks]
    )


def _nothing(column: pa.ChunkedArray, name: str, notes: Notes) -> pa.ChunkedArray:
    return column.cast(pa.float64())


def _decimals(column: pa.ChunkedArray, name: str, notes: Notes) -> pa.ChunkedArray:
    notes.warn(
        "decimal_to_double", "decimal numbers arrive as floating point, the nearest there is", name, str(column.type)
    )
    return column.cast(pa.float64())


def _dates(column: pa.ChunkedArray, name: str, notes: Notes) -> pa.ChunkedArray:
    notes.warn("dates_as_times", "dates arrive as times, the midnight that a date begins with", name)
    return column


def _times_of_day(column: pa.ChunkedArray, name: str, notes: Notes) -> pa.ChunkedArray:
    cut = column.cast(pa.time64("us"), safe=False)
    if column.type == pa.time64("ns") and not cut.cast(pa.time64("ns")).equals(column):
        _note_cut_times(name, notes)
    _note_no_value(column, name, notes)
    return cut


def _note_no_value(column: pa.ChunkedArray, name: str, notes: Notes) -> None:
    """Note that the objects of a column cannot tell its type, when there are none."""
    if column.null_count == len(column):
        notes.warn(
            "type_lost",
            "columns that arrive as objects, and have no value to tell their type, come out as text when they are"
            " returned (dtypes 'arrow' keeps them)",
            name,
            str(column.type),
        )


def _note_cut_times(name: str, notes: Notes) -> None:
    notes.warn("precision_lost", "times of day finer than a microsecond were cut", name)


def _moments(column: pa.ChunkedArray, name: str, notes: Notes) -> pa.ChunkedArray:
    if column.type.tz:
        note_zone(name, column.type.tz, notes)
    return _spans(kinds.in_utc(column), name, notes)


def note_zone(name: str, zone: str, notes: Notes) -> None:
    """Note that times lose their zone."""
    notes.warn("zone_dropped", "times with a time zone became the same moments in UTC, without a zone", name, zone)


def _spans(column: pa.ChunkedArray, name: str, notes: Notes) -> pa.ChunkedArray:
    """Refuse the one value that to pandas is a missing one."""
    numbers = column.cast(pa.int64())
    if pc.min(numbers).as_py() == _SMALLEST:
        raise UnsupportedInput(
            f"column {name!r}, row {pc.index(numbers, _SMALLEST).as_py()}: {_SMALLEST} of type {column.type}"
            " stands for a missing value in pandas"
        )
    return column


def _note_integers(column: pa.ChunkedArray, name: str, notes: Notes) -> None:
    ends = pc.min_max(column).as_py().values() if column.type.bit_width == 64 else ()
    if any(end is not None and abs(end) > EXACT_FLOAT for end in ends):
        notes.warn(
            "precision_lost",
            "integers beyond 2^53 with missing values arrive as floating point, which cannot hold all of them"
            " exactly (dtypes 'nullable' and 'arrow' do)",
            name,
        )
    else:
        notes.warn(
            "integers_as_floats",
            "integers with missing values arrive as floating point, with NaN for the missing ones"
            " (dtypes 'nullable' and 'arrow' keep them)",
            name,
        )


def _complex(column: pa.ChunkedArray, name: str, notes: Notes) -> Any:
    """Give complex numbers, or dicts where only a part of one is missing: these are not numbers."""
    parts = [part for chunk in column.chunks for part in chunk.flatten()]
    if sum(part.null_count for part in parts) > 2 * column.null_count:
        return _objects(column, name, notes)
    return kinds.complex_values(column)


def _objects(column: pa.ChunkedArray, name: str, notes: Notes) -> "np.ndarray[Any, Any]":
    """Give lists, structs and maps as lists, dicts and lists of pairs: Python's values are exact, numpy's are not."""
    notes.warn(
        "nested_as_objects",
        "lists, structs and maps arrive as Python's lists and dicts, which do not keep the types of what they hold"
        " (dtypes 'arrow' does)",
        name,
    )
    target = encodings.with_leaves(column.type, _in_python)
    try:
        settled = column.cast(target)
    except pa.ArrowInvalid:
        _note_cut_times(name, notes)
        settled = column.cast(target, safe=False)
    try:
        cells = settled.to_pylist()
    except (ValueError, OverflowError, TypeError, KeyError) as error:
        raise _first_refused(settled, name) from error
    values = np.empty(len(cells), dtype=object)
    for row, cell in enumerate(cells):  # numpy would look into lists of equal lengths
        values[row] = cell
    return values


def _in_python(leaf: pa.DataType) -> pa.DataType:
    return pa.time64("us") if leaf == pa.time64("ns") else leaf


def _first_refused(column: pa.ChunkedArray, name: str) -> UnsupportedInput:
    for row, cell in enumerate(column):
        try:
            cell.as_py()
        except Exception as error:
            value = encodings.first_value(column.slice(row, 1))[1]
            return UnsupportedInput(
                f"column {name!r}, row {row}: {value} of type {column.type} has no counterpart in Python:"
                f" {clip_line(str(error), 200)}"
            )
    return UnsupportedInput(f"column {name!r}: values of type {column.type} have no counterpart in Python")


_RULES: tuple[tuple[Callable[[pa.DataType], bool], Callable[[pa.ChunkedArray, str, Notes], pa.ChunkedArray]], ...] = (
    (kind.is_null, _nothing),
    (kind.is_decimal, _decimals),
    (kind.is_date, _dates),
    (kind.is_time, _times_of_day),
    (kind.is_timestamp, _moments),
    (kind.is_duration, _spans),
)
_NULLABLE: dict[pa.DataType, Any] = {
    pa.bool_(): pd.BooleanDtype(),
    pa.int8(): pd.Int8Dtype(), pa.int16(): pd.Int16Dtype(), pa.int32(): pd.Int32Dtype(), pa.int64(): pd.Int64Dtype(),
    pa.uint8(): pd.UInt8Dtype(), pa.uint16(): pd.UInt16Dtype(), pa.uint32(): pd.UInt32Dtype(),
    pa.uint64(): pd.UInt64Dtype(),
}  # fmt: skip
