"""How values that are neither text nor numbers are written in CSV and JSON."""

import base64
import datetime
import decimal
import math
from collections.abc import Iterable
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as kind

from runner import kinds
from runner.failure import UnsupportedValue
from runner.output_file import Layout

UNITS = ("s", "ms", "us", "ns")
_PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
_DIGITS = {"s": 0, "ms": 3, "us": 6, "ns": 9}
_FIRST_SECOND = -62_135_596_800  # 0001-01-01T00:00:00
_LAST_SECOND = 253_402_300_799  # 9999-12-31T23:59:59


def unit(column: pa.ChunkedArray) -> str | None:
    """Give the unit with the fewest decimals of a second that tells every time of a column; None of other types."""
    if not kind.is_timestamp(column.type):
        return None
    for coarse in UNITS:
        try:
            column.cast(pa.timestamp(coarse, column.type.tz))
        except pa.ArrowInvalid:
            continue  # it would cut decimals
        return coarse
    return str(column.type.unit)


def written(column: pa.ChunkedArray, name: str, unit: str | None, first_row: int = 0) -> pa.ChunkedArray:
    """Give a column, or its rows from `first_row` on, in the form that the text formats write.

    Categories become their values; dates and times ISO 8601 text, with the decimals of a second that `unit` has;
    spans of time ``[-][d.]hh:mm:ss[.fffffffff]``; bytes base64; floating point 64 bits wide, which changes no
    value.  NaN becomes missing.  Raises `UnsupportedValue` for complex numbers, for times outside of the years 1
    to 9999, and for what no table holds.
    """
    if kind.is_dictionary(column.type):
        column = kinds.decoded(column)
    column = kinds.nan_as_missing(kinds.without_views(column))
    if column.type == kinds.COMPLEX:
        raise UnsupportedValue(f"column {name!r} holds complex numbers, which CSV and JSON cannot hold")
    if not kinds.is_plain(column.type):
        raise UnsupportedValue(f"column {name!r} is of the type {column.type}, which CSV and JSON cannot hold")
    if kind.is_timestamp(column.type) or kind.is_date(column.type):
        return _moments(column, name, unit, first_row)
    if kind.is_time(column.type):
        return column.cast(pa.string())
    if kind.is_duration(column.type):
        return pa.chunked_array([_spans(column)])
    if is_bytes(column.type):
        return pa.chunked_array([_base64(column)])
    if kind.is_floating(column.type):
        return column.cast(pa.float64())
    return column


def rows_written(rows: pa.Table, layout: Layout, first_row: int) -> list[pa.ChunkedArray]:
    """Give some rows of a table, column by column, as `written` does; `first_row` is the number of the first."""
    places = zip(layout.schema.names, rows.columns, layout.units, strict=True)
    return [written(column, name, unit, first_row) for name, column, unit in places]


def is_bytes(data_type: pa.DataType) -> bool:
    """Tell whether the cells of this type are bytes."""
    return any(test(data_type) for test in (kind.is_binary, kind.is_large_binary, kind.is_fixed_size_binary))


def plain(value: Any) -> Any:
    """Give a cell, with everything inside it, in values that JSON has; decimals as text, with all their digits."""
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, decimal.Decimal):
        return f"{value:f}"
    if isinstance(value, datetime.timedelta):
        return span(value // datetime.timedelta(microseconds=1), "us")
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def _moments(column: pa.ChunkedArray, name: str, unit: str | None, first_row: int) -> pa.ChunkedArray:
    if kind.is_date(column.type):
        days = column.cast(pa.date32())
        _refuse_far_times(days.cast(pa.int32()), name, 86_400, first_row, whole_days=True)
        return days.cast(pa.string())
    column = kinds.in_utc(column)
    _refuse_far_times(column.cast(pa.int64()), name, _PER_SECOND[column.type.unit], first_row)
    return pc.strftime(column.cast(pa.timestamp(unit or column.type.unit)), format="%Y-%m-%dT%H:%M:%S")


def _refuse_far_times(
    numbers: pa.ChunkedArray, name: str, scale: int, first_row: int, whole_days: bool = False
) -> None:
    extremes = pc.min_max(numbers).as_py()
    low, high = extremes["min"], extremes["max"]
    if low is None:
        return
    first, end = ((s // scale if whole_days else s * scale) for s in (_FIRST_SECOND, _LAST_SECOND + 1))
    if not first <= low <= high < end:
        bad = pc.or_(pc.less(numbers, first), pc.greater_equal(numbers, end))
        row = first_row + pc.index(bad, True).as_py()
        raise UnsupportedValue(
            f"column {name!r}, row {row} is a time outside of the years 1 to 9999, which CSV and JSON cannot hold"
        )


def _spans(column: pa.ChunkedArray) -> pa.Array:
    unit = column.type.unit
    return pa.array((None if value is None else span(value, unit) for value in _integers(column)), type=pa.string())


def _integers(column: pa.ChunkedArray) -> Iterable[int | None]:
    values: list[int | None] = column.cast(pa.int64()).to_pylist()
    return values


def span(value: int, unit: str) -> str:
    """Write a span of time of so many units: ``[-][d.]hh:mm:ss[.fffffffff]``."""
    scale, digits = _PER_SECOND[unit], _DIGITS[unit]
    whole, fraction = divmod(abs(value), scale)
    minutes, seconds = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    text = f"{'-' if value < 0 else ''}{f'{days}.' if days else ''}{hours:02}:{minutes:02}:{seconds:02}"
    decimals = f"{fraction:0{digits}}".rstrip("0") if fraction else ""
    return f"{text}.{decimals}" if decimals else text


def _base64(column: pa.ChunkedArray) -> pa.Array:
    return pa.array(
        (None if value is None else base64.b64encode(value).decode("ascii") for value in column.to_pylist()),
        type=pa.large_string(),
    )
