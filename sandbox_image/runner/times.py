"""Times in text: ISO 8601 with any decimals of a second, and spans ``[-][d.]hh:mm:ss[.fffffffff]``."""

import re

import pyarrow as pa
import pyarrow.compute as pc

_UNITS = ("s", "us", "ns")
_TIMES_OF_DAY = {"s": pa.time32("s"), "us": pa.time64("us"), "ns": pa.time64("ns")}
_SPAN = re.compile(r"(-?)(?:([0-9]{1,9})\.)?([01]?[0-9]|2[0-3]):([0-5][0-9]):([0-5][0-9])(?:\.([0-9]{1,9}))?")


def moments(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    """Read dates with times of day, in the coarsest unit that holds all; those with zones as times in UTC.

    Raises `pa.ArrowInvalid` when one is none, or when some have a zone and others have not.
    """
    for zone in (None, "UTC"):
        for unit in _UNITS:
            try:
                return texts.cast(pa.timestamp(unit, zone))
            except pa.ArrowInvalid as error:
                reason = error
    raise reason


def times_of_day(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    """Read times of day, ``hh:mm[:ss[.fffffffff]]``.  Raises `pa.ArrowInvalid`."""
    if not pc.all(pc.match_substring_regex(texts, "^[0-9]{2}:[0-9]{2}(:|$)"), min_count=0).as_py():
        raise pa.ArrowInvalid("a time of day is hh:mm, hh:mm:ss or hh:mm:ss.f")
    whole = moments(pc.binary_join_element_wise("1970-01-01T", texts, ""))
    return whole.cast(pa.timestamp(whole.type.unit)).cast(_TIMES_OF_DAY[whole.type.unit])


def span(text: str) -> int:
    """Read a span of time; gives nanoseconds.  Raises `ValueError`."""
    match = _SPAN.fullmatch(text)
    if not match:
        raise ValueError("a span is [-][d.]hh:mm:ss[.fffffffff]")
    sign, days, hours, minutes, seconds, decimals = match.groups("0")
    whole = ((int(days) * 24 + int(hours)) * 60 + int(minutes)) * 60 + int(seconds)
    value = whole * 10**9 + int(f"{decimals:0<9}")
    return -value if sign == "-" else value
