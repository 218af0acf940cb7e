"""How values that are neither text nor numbers are written in CSV and JSON."""

import base64
from collections.abc import Iterable

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as kind

from runner import kinds
from runner.failure import UnsupportedValue

_PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
_DIGITS = {"s": 0, "ms": 3, "us": 6, "ns": 9}
_FIRST_SECOND = -62_135_596_800  # 0001-01-01T00:00:00
_LAST_SECOND = 253_402_300_799  # 9999-12-31T23:59:59


def written(column: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    """Give a column in the form that the text formats write.

    Categories become their values; dates and times ISO 8601 text, with as many decimals of a second as the
    column needs; spans of time ``[-][d.]hh:mm:ss[.fffffffff]``; bytes base64.  NaN becomes missing.
    Raises `UnsupportedValue` for complex numbers, and for times outside of the years 1 to 9999.
    """
    if kind.is_dictionary(column.type):
        column = kinds.decoded(column)
    column = kinds.nan_as_missing(kinds.without_views(column))
    if column.type == kinds.COMPLEX:
        raise UnsupportedValue(f"column {name!r} holds complex numbers, which CSV and JSON cannot hold")
    if kind.is_timestamp(column.type):
        return _moments(column, name)
    if kind.is_date(column.type) or kind.is_time(column.type):
        return column.cast(pa.string())
    if kind.is_duration(column.type):
        return pa.chunked_array([_spans(column)])
    if kind.is_binary(column.type) or kind.is_large_binary(column.type):
        return pa.chunked_array([_base64(column)])
    if kind.is_fixed_size_binary(column.type):
        return pa.chunked_array([_base64(column)])
    return column


def _moments(column: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    column = kinds.without_zone(column, name, lambda code, message: None)
    scale = _PER_SECOND[column.type.unit]
    extremes = pc.min_max(column.cast(pa.int64())).as_py()
    low, high = extremes["min"], extremes["max"]
    if low is not None and not _FIRST_SECOND * scale <= low <= high < (_LAST_SECOND + 1) * scale:
        raise UnsupportedValue(
            f"column {name!r} holds times outside of the years 1 to 9999, which CSV and JSON cannot hold"
        )
    for unit in ("s", "ms", "us"):
        try:
            column = column.cast(pa.timestamp(unit))
            break
        except pa.ArrowInvalid:
            continue  # it would cut decimals
    return pc.strftime(column, format="%Y-%m-%dT%H:%M:%S")


def _spans(column: pa.ChunkedArray) -> pa.Array:
    scale, digits = _PER_SECOND[column.type.unit], _DIGITS[column.type.unit]
    return pa.array(
        (None if value is None else _span(value, scale, digits) for value in _integers(column)),
        type=pa.string(),
    )


def _integers(column: pa.ChunkedArray) -> Iterable[int | None]:
    values: list[int | None] = column.cast(pa.int64()).to_pylist()
    return values


def _span(value: int, scale: int, digits: int) -> str:
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
