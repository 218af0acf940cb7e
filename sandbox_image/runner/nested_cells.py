"""Cells that hold further values, on their way out: lists and dicts, up to a few levels deep.

Arrow finds the type of such a column by looking into it, and on the way changes what it finds: it cuts times to
dates, nanoseconds to microseconds, and takes a local time for UTC.  So every value is looked at here before, and a
place in a cell holds values of one kind in all rows.
"""

import datetime
import decimal
from bisect import bisect_left
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from runner import kinds
from runner.failure import UnsupportedValue, clip_line, shown, type_name
from runner.notes import Notes

PASSED = (list, tuple, dict, np.ndarray)
_FAILS = (pa.ArrowException, TypeError, ValueError, OverflowError)
_NUMBERS = ("int", "float")
_KINDS: tuple[tuple[Any, str], ...] = (
    (bool | np.bool_, "bool"),
    (int | np.integer, "int"),
    (float | np.float16 | np.float32 | np.float64, "float"),
    (str, "str"),
    (bytes | bytearray, "bytes"),
    (decimal.Decimal, "Decimal"),
    (datetime.timedelta, "timedelta"),
    (datetime.date, "date"),
    (datetime.time, "time"),
)


class _Strange(Exception):
    """A value that a nested cell cannot hold: the message says why."""


def refused_cell(column: str, row: int, value: object, why: str = "") -> UnsupportedValue:
    """Make the error for a cell that a table cannot hold; `row` counts from 0."""
    reason = why or "a table cannot hold it; make it text or numbers, or bytes by pickle.dumps"
    return UnsupportedValue(f"column {column!r}, row {row}: {shown(value)} of type {type_name(value)}: {reason}")


def from_nested(values: "np.ndarray[Any, Any]", name: str, notes: Notes) -> pa.Array:
    """Turn lists, tuples, dicts and numpy arrays into an Arrow column; None is a missing cell.

    Raises `UnsupportedValue` naming the column, the row, the value and the type of what it cannot hold.
    """
    if _are_vectors(values):
        return pa.array(values, from_pandas=True)
    kinds_found: dict[tuple[str, ...], str] = {}
    cells = []
    for row, value in enumerate(values):
        if kinds.too_deep(value):
            raise refused_cell(name, row, value, f"it is nested more than {kinds.MAX_DEPTH} deep")
        try:
            cells.append(_settled(value, (), kinds_found, name, notes))
        except _Strange as error:
            raise refused_cell(name, row, value, str(error)) from error
    try:
        return pa.array(cells, from_pandas=True)
    except _FAILS as error:
        raise _first_refused(values, cells, name, error) from error


def _are_vectors(values: "np.ndarray[Any, Any]") -> bool:
    """Tell whether all cells are plain vectors of one type, which Arrow takes as they are."""
    dtypes = {v.dtype if isinstance(v, np.ndarray) and v.ndim == 1 else None for v in values if v is not None}
    only = dtypes.pop() if len(dtypes) == 1 else None
    return only is not None and only.kind in "biuf" and only.itemsize <= 8 and only.isnative


def _settled(value: Any, place: tuple[str, ...], found: dict[tuple[str, ...], str], name: str, notes: Notes) -> Any:
    """Give a value with everything in it as Python's own; `found` is what each place holds, so far."""
    if value is None or value is pd.NA or value is pd.NaT:
        return None
    if isinstance(value, np.ndarray):
        value = value.tolist() if value.dtype.kind in "biufO" else list(value)  # numpy lists times as numbers
    if isinstance(value, dict):
        _expect("dict", place, found)
        return {_key(key): _settled(item, (*place, key), found, name, notes) for key, item in value.items()}
    if isinstance(value, list | tuple):
        _expect("list", place, found)
        return [_settled(item, (*place, ""), found, name, notes) for item in value]
    try:
        kind, plain = _leaf(value)
    except (ValueError, OverflowError) as error:
        raise _Strange(f"it holds {shown(value)}, which is out of range: {clip_line(str(error), 200)}") from error
    _expect(kind, place, found)
    if kind == "str" and (clean := plain.encode("utf-8", "replace").decode("utf-8")) != plain:
        notes.warn("surrogates_replaced", "text with lone surrogates has '?' in their places now", name)
        return clean
    return plain


def _expect(kind: str, place: tuple[str, ...], found: dict[tuple[str, ...], str]) -> None:
    before = found.setdefault(place, kind)
    if before != kind and not (before in _NUMBERS and kind in _NUMBERS):
        raise _Strange(f"it holds a {kind} where another cell, or this one, holds a {before}")


def _key(key: Any) -> str:
    if not isinstance(key, str):
        raise _Strange(f"it has a key of type {type_name(key)}; keys are text")
    try:
        key.encode("utf-8")
    except UnicodeEncodeError:
        raise _Strange("it has a key with a lone surrogate") from None
    return key


def _leaf(value: Any) -> tuple[str, Any]:
    """Name the kind of a single value, and give it as Python has it."""
    if isinstance(value, datetime.datetime):
        if getattr(value, "nanosecond", 0):
            raise _Strange("it holds a time finer than a microsecond")
        return _moment(value.to_pydatetime() if isinstance(value, pd.Timestamp) else value)
    if isinstance(value, pd.Timedelta):
        if value.nanoseconds:
            raise _Strange("it holds a span of time finer than a microsecond")
        return "timedelta", value.to_pytimedelta()
    if isinstance(value, datetime.time) and value.tzinfo:
        raise _Strange("it holds a time of day with a time zone")
    for types, kind in _KINDS:
        if isinstance(value, types):
            return kind, value.item() if isinstance(value, np.generic) else value
    raise _Strange(f"it holds a value of type {type_name(value)}")


def _moment(value: datetime.datetime) -> tuple[str, datetime.datetime]:
    offset = value.utcoffset()
    if offset is None:
        return "datetime", value
    if offset % datetime.timedelta(minutes=1):
        raise _Strange("it holds a time whose zone is not whole minutes from UTC")
    return f"datetime in the zone {value.tzinfo}", value  # Arrow has one zone for a column


def _first_refused(values: Any, cells: list[Any], name: str, error: Exception) -> UnsupportedValue:
    """Find the first row with which the column cannot be made: one more row never mends it."""

    def fails(length: int) -> bool:
        try:
            pa.array(cells[:length], from_pandas=True)
        except _FAILS:
            return True
        return False

    row = bisect_left(range(len(cells) + 1), True, key=fails) - 1
    return refused_cell(name, row, values[row], clip_line(str(error), 200))
