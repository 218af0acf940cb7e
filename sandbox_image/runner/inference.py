"""Types for columns of text, by one principle: a column becomes something else only if no cell is changed.

What may be an identifier stays text: leading zeros, leading plus signs, and whole numbers of more than 64 bits.
Fractions are rounded to floating point, which is said in a warning if a digit is lost.
"""

import decimal
import math
import re

import pyarrow as pa
import pyarrow.compute as pc

from runner import times
from runner.failure import shown
from runner.job import Warn

_NUMBER = re.compile(r"[+-]?(\.?[0-9]|inf)", re.IGNORECASE)
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_TIME = re.compile(r"[0-9]{2}:[0-9]{2}")
_TRUTH = ("true", "false")
_WHOLE = "^[+-]?[0-9]+$"
_NO_QUANTITY = r"^([+-]?0[0-9]|\+[0-9]+$|[+-]?0[xX])"
_KEPT_DIGITS = 15  # any number of so many digits comes back from floating point as it was
_SMALLEST_NORMAL = 2.2250738585072014e-308
_EXACT = decimal.Context(prec=2000, Emin=-999999, Emax=999999)


def inferred(texts: pa.ChunkedArray, name: str, warn: Warn) -> pa.ChunkedArray:
    """Give a column of text the type that all its cells have; text if there is none.

    Tried are true and false, whole numbers (64 bits, signed or not), numbers, dates, times (ISO 8601) and times
    of day.  A column without any text has no type.
    """
    first = _first(texts)
    if first is None:
        return pa.chunked_array([pa.nulls(len(texts))])
    start = first.strip(" ")
    if start.lower() in _TRUTH:
        return _truth_values(texts)
    if _NUMBER.match(start):
        found = _numbers(_trimmed(texts), name, warn)
        if found is not None:
            return found
    for pattern, read in ((_DATE, _dates), (_TIME, times.times_of_day)):
        if pattern.match(start):
            try:
                return read(_trimmed(texts))
            except pa.ArrowInvalid:
                return texts
    return texts


def lossy(text: str, value: float) -> bool:
    """Tell whether a number changes when it becomes floating point.

    It does not when the floating point number, written with as many digits, is the same number again.
    """
    written = _EXACT.create_decimal(text)
    if not written or math.isinf(value):
        return bool(written)
    digits = len(written.normalize(_EXACT).as_tuple().digits)
    return decimal.Decimal(f"{value:.{digits - 1}e}") != written


def _first(texts: pa.ChunkedArray) -> str | None:
    for chunk in texts.chunks:
        if chunk.null_count < len(chunk):
            present: str = chunk[pc.index(chunk.is_valid(), True).as_py()].as_py()
            return present
    return None


def _trimmed(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    """Drop the blanks around numbers and times; text keeps its own."""
    blank = pc.or_(pc.starts_with(texts, " "), pc.ends_with(texts, " "))
    return pc.utf8_trim(texts, characters=" ") if pc.any(blank).as_py() else texts


def _truth_values(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    words = pc.utf8_lower(_trimmed(texts))
    known = pc.is_in(words.drop_null(), value_set=pa.array(_TRUTH, texts.type))
    if not pc.all(known).as_py():
        return texts
    return pc.equal(words, "true")


def _dates(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    try:
        return texts.cast(pa.date32())
    except pa.ArrowInvalid:
        return times.moments(texts)


def _numbers(texts: pa.ChunkedArray, name: str, warn: Warn) -> pa.ChunkedArray | None:
    """Give the numbers; None when they are none, or not to be taken for any."""
    for whole in (pa.int64(), pa.uint64()):
        try:
            values = _cast(texts, whole)
        except pa.ArrowInvalid:
            continue
        return None if _may_be_identifiers(_changed(texts, values)[0], name, warn) else values
    try:
        values = _cast(texts, pa.float64())
    except pa.ArrowInvalid:
        return None
    if pc.any(pc.is_nan(values)).as_py():
        return None
    odd, odd_values = _changed(texts, values)
    if _may_be_identifiers(odd, name, warn):
        return None
    if len(odd) and pc.all(pc.match_substring_regex(texts, _WHOLE)).as_py():
        longest = max(odd.to_pylist(), key=len)
        _keep(name, longest, "whole numbers of more than 64 bits", "float64 or decimal(38,0)", warn)
        return None
    if _beyond_range(odd, odd_values, name, warn):
        return None
    _warn_of_lost_digits(odd, odd_values, name, warn)
    return values


def _cast(texts: pa.ChunkedArray, data_type: pa.DataType) -> pa.ChunkedArray:
    """Convert chunk by chunk: otherwise Arrow may cut the chunks anew."""
    return pa.chunked_array([chunk.cast(data_type) for chunk in texts.chunks], data_type)


def _changed(texts: pa.ChunkedArray, values: pa.ChunkedArray) -> tuple[pa.ChunkedArray, pa.ChunkedArray]:
    """Give the texts, and their numbers, that look different when the numbers are written again.

    Chunk by chunk: the texts written again need as much memory as the texts.
    """
    odd, odd_values = [], []
    for text, value in zip(texts.chunks, values.chunks, strict=True):
        different = pc.not_equal(value.cast(text.type), text)
        odd.append(text.filter(different, null_selection_behavior="drop"))
        odd_values.append(value.filter(different, null_selection_behavior="drop"))
    return pa.chunked_array(odd, texts.type), pa.chunked_array(odd_values, values.type)


def _may_be_identifiers(odd: pa.ChunkedArray, name: str, warn: Warn) -> bool:
    found = odd.filter(pc.match_substring_regex(odd, _NO_QUANTITY))
    if len(found):
        what = "leading zeros, plus signs or hexadecimal digits"
        _keep(name, found[0].as_py(), what, "int64 or float64", warn)
    return len(found) > 0


def _beyond_range(odd: pa.ChunkedArray, values: pa.ChunkedArray, name: str, warn: Warn) -> bool:
    """Find digits that became an infinity or a zero."""
    infinite, zero = odd.filter(pc.is_inf(values)), odd.filter(pc.equal(values, 0.0))
    for found in (
        infinite.filter(pc.match_substring_regex(infinite, "[0-9]")),
        zero.filter(pc.match_substring_regex(zero, "^[^eE]*[1-9]")),
    ):
        if len(found):
            _keep(name, found[0].as_py(), "numbers that 64-bit floating point does not reach", "decimal(p,s)", warn)
            return True
    return False


def _warn_of_lost_digits(odd: pa.ChunkedArray, values: pa.ChunkedArray, name: str, warn: Warn) -> None:
    """Look closely at what has many digits, or is so small that it has few."""
    tiny = pc.less(pc.abs(values), _SMALLEST_NORMAL)
    closely = pc.or_(pc.greater(pc.binary_length(odd), _KEPT_DIGITS), tiny)
    for text, value in zip(odd.filter(closely).to_pylist(), values.filter(closely).to_pylist(), strict=True):
        if math.isfinite(value) and lossy(text, value):
            warn(
                "precision_lost",
                f"column {name!r} holds numbers with more digits than 64-bit floating point keeps, such as"
                f" {shown(text)}; they were rounded (to keep them, state the type string or decimal(p,s))",
            )
            return


def _keep(name: str, text: str, what: str, types: str, warn: Warn) -> None:
    warn(
        "kept_as_text",
        f"column {name!r} holds {what}, such as {shown(text)}, so it stays text; for numbers, state the type {types}",
    )
