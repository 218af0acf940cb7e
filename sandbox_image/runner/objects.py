"""A column of Python objects on its way out: it becomes what all of its values are, or text."""

import datetime
import decimal
import uuid
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from pandas.api.types import infer_dtype

from runner import kinds, nested_cells
from runner.arriving import note_zone
from runner.failure import type_name
from runner.notes import Notes

Objects = np.ndarray[Any, np.dtype[np.object_]]
_SCALARS = (
    str, bytes, bool, int, float, complex, decimal.Decimal, datetime.date, datetime.time, datetime.timedelta,
    np.generic, pd.Period, pd.Interval, uuid.UUID, bytearray, memoryview,
)  # fmt: skip
_BYTES = (bytes, bytearray, memoryview)
_AT_ONCE = {
    "string": None,
    "boolean": pa.bool_(),
    "bytes": pa.binary(),
    "floating": None,
    "integer": pa.int64(),
    "decimal": None,
}
_INTEGERS = {int, *(np.dtype(letter).type for letter in "bhilqBHILQ")}
_REALS = {float, np.float16, np.float32, np.float64}
_TYPES_NAMED = 3
_FAILS = (pa.ArrowException, TypeError, ValueError, OverflowError)


def from_objects(values: Objects, name: str, nested: bool, notes: Notes) -> Any:
    """Turn objects into an Arrow column; None, NaN, NaT and pd.NA are missing values whatever the rest is.

    Raises `UnsupportedValue` naming the column, the row, the value and the type of what a table cannot hold.
    """
    found = infer_dtype(values, skipna=True)
    cut_by_arrow = found == "floating" and np.longdouble in set(map(type, values))
    if found in _AT_ONCE and not cut_by_arrow:
        try:
            return pa.array(values, type=_AT_ONCE[found], from_pandas=True)
        except _FAILS:
            pass  # it is looked at more closely
    values = with_none(values)
    found = infer_dtype(values, skipna=True)
    if found == "empty":
        return pa.nulls(len(values), pa.string())
    settle = _RULES.get(found)
    if settle is not None:
        return settle(values, name, notes)
    if (numbers := _numbers_of_two_kinds(values, name, notes)) is not None:
        return numbers
    _refuse_strange_cells(values, name, nested)
    present = [value for value in values if value is not None]
    if any(isinstance(value, kinds.HOLDERS) for value in present):
        return nested_cells.from_nested(values, name, notes)
    if all(isinstance(value, _BYTES) for value in present):
        return pa.array([None if value is None else bytes(value) for value in values], pa.binary())
    return as_text(values, name, notes)


def as_text(values: Objects, name: str, notes: Notes) -> Any:
    """Turn each value into what `str` makes of it; None is a missing one."""
    texts: list[str | None] = [None] * len(values)
    for row, value in enumerate(values):
        if value is not None:
            try:
                texts[row] = str(value)
            except Exception as error:
                raise nested_cells.refused_cell(name, row, value, f"str() of it raises {type_name(error)}") from error
    found = sorted({type_name(value) for value in values if value is not None})
    more = f" and {len(found) - _TYPES_NAMED} more" if len(found) > _TYPES_NAMED else ""
    detail = f"{', '.join(found[:_TYPES_NAMED])}{more}"
    notes.warn("made_text", "each value became its text, for there is no type that holds them all", name, detail)
    try:
        return pa.array(texts, pa.string())
    except UnicodeEncodeError:
        return _without_surrogates(texts, name, notes)


def note_long(name: str, dtype: str, notes: Notes) -> None:
    """Note that numbers longer than 64 bits lose digits."""
    notes.warn("precision_lost", "floating point numbers of more than 64 bits became 64 bits", name, dtype)


def with_none(values: Objects) -> Objects:
    """Give a copy with None for everything that is missing."""
    settled = values.copy()
    for row, value in enumerate(values):
        if _is_missing(value):
            settled[row] = None
    return settled


def _is_missing(value: Any) -> bool:
    """Tell what `pandas.isna` tells of one value; that one fails at decimals that signal."""
    if value is None or value is pd.NA or value is pd.NaT:
        return True
    if isinstance(value, float | complex | np.inexact | np.datetime64 | np.timedelta64):
        return bool(value != value)  # so are NaN and NaT
    return isinstance(value, decimal.Decimal) and value.is_nan()


def _text(values: Objects, name: str, notes: Notes) -> Any:
    try:
        return pa.array(values, pa.string())
    except UnicodeEncodeError:
        return _without_surrogates(values, name, notes)


def _without_surrogates(values: Any, name: str, notes: Notes) -> Any:
    notes.warn("surrogates_replaced", "text with lone surrogates has '?' in their places now", name)
    return pa.array([None if v is None else str(v).encode("utf-8", "replace").decode("utf-8") for v in values])


def _as_they_are(values: Objects, name: str, notes: Notes) -> Any:
    # Arrow would cut what these carry beside the day and the time of day.
    if any(isinstance(value, datetime.datetime) or getattr(value, "tzinfo", None) for value in values):
        return as_text(values, name, notes)
    try:
        return pa.array(values, from_pandas=True)
    except _FAILS:
        return as_text(values, name, notes)


def _mixed_numbers(values: Objects, name: str, notes: Notes) -> Any:
    """Integers and floating point numbers: the latter, if it holds all of them.  Arrow wraps numpy's uint64."""
    plain = [value.item() if isinstance(value, np.generic) else value for value in values]
    if any(isinstance(value, np.longdouble) for value in plain):
        return as_text(values, name, notes)
    try:
        return pa.array(plain, pa.float64())
    except _FAILS:
        return as_text(values, name, notes)


def _complex(values: Objects, name: str, notes: Notes) -> Any:
    if any(isinstance(value, np.clongdouble) for value in values):
        note_long(name, "complex256", notes)
    whole = np.array([complex("nan") if value is None else complex(value) for value in values], np.complex128)
    return kinds.complex_column(whole)


def _numbers_of_two_kinds(values: Objects, name: str, notes: Notes) -> Any | None:
    """Decimals with integers, or complex numbers with real ones, where one type holds them exactly; else None."""
    found = set(map(type, values)) - {type(None)}
    if found <= {decimal.Decimal, *_INTEGERS}:
        exact = [decimal.Decimal(int(value)) if type(value) in _INTEGERS else value for value in values]
        try:
            return pa.array(exact)
        except _FAILS:
            return None
    if found <= {*_REALS, *_INTEGERS, complex, np.complex64, np.complex128}:
        same = all(abs(int(value)) <= 2**53 for value in values if type(value) in _INTEGERS)
        return _complex(values, name, notes) if same else None
    return None


def _integers(values: Objects, name: str, notes: Notes) -> Any:
    """Integers beyond 64 bits: without a sign, or exact decimals."""
    numbers = [None if value is None else int(value) for value in values]
    for data_type in (pa.uint64(), pa.decimal128(38, 0), pa.decimal256(76, 0)):
        try:
            column = pa.array(numbers, data_type)
        except _FAILS:
            continue
        if data_type != pa.uint64():
            notes.warn("integers_as_decimals", "integers beyond 64 bits became decimals, exactly", name)
        return column
    return as_text(values, name, notes)


def _times(values: Objects, name: str, notes: Notes) -> Any:
    """Turn moments, or spans of time, into Arrow, in the finest unit that one of them has."""
    present = [value for value in values if value is not None]
    zones = {str(zone) for value in present if (zone := getattr(value, "tzinfo", None)) is not None}
    if zones and any(getattr(value, "tzinfo", None) is None for value in present):
        return as_text(values, name, notes)  # which moment the others mean, nobody knows
    spans = isinstance(present[0], datetime.timedelta | np.timedelta64)
    stored = pa.duration if spans else pa.timestamp
    try:
        if not zones and all(type(value) in (datetime.datetime, datetime.timedelta) for value in present):
            return pa.array(values, stored("us"))
        exact = [None if value is None else _in_pandas(value, spans) for value in values]
        finest = max((value.unit for value in exact if value is not None), key=_UNITS.index)
        whole = [None if value is None else int(value.as_unit(finest).asm8.view("i8")) for value in exact]
    except _FAILS:
        return as_text(values, name, notes)  # too far away for the unit
    if zones:
        note_zone(name, ", ".join(sorted(zones)), notes)
    return pa.array(whole, pa.int64()).cast(stored(finest))


_UNITS = ("s", "ms", "us", "ns")


def _in_pandas(value: Any, spans: bool) -> Any:
    if isinstance(value, np.datetime64 | np.timedelta64) and np.datetime_data(value)[0] in ("ps", "fs", "as"):
        raise ValueError("pandas would cut it")
    if spans:
        return pd.Timedelta(value)
    if getattr(value, "tzinfo", None) is None:
        return pd.Timestamp(value)
    if isinstance(value, pd.Timestamp):
        return value.tz_convert(None)
    return pd.Timestamp(value.astimezone(datetime.UTC).replace(tzinfo=None))


def _refuse_strange_cells(values: Objects, name: str, nested: bool) -> None:
    allowed = (*_SCALARS, *(nested_cells.PASSED if nested else ()))
    for row, value in enumerate(values):
        if value is not None and not isinstance(value, allowed):
            raise nested_cells.refused_cell(name, row, value)


_RULES: dict[str, Callable[[Objects, str, Notes], Any]] = {
    "string": _text,
    "integer": _integers,
    "complex": _complex,
    "datetime": _times, "datetime64": _times, "timedelta": _times, "timedelta64": _times,
    "boolean": _as_they_are, "bytes": _as_they_are, "floating": _mixed_numbers, "mixed-integer-float": _mixed_numbers,
    "decimal": _as_they_are, "date": _as_they_are, "time": _as_they_are,
}  # fmt: skip
