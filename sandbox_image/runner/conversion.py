"""Columns become the type that was stated for them, or the first cell that cannot is named."""

import base64
import binascii
import datetime
import re
from collections.abc import Callable

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as kind

from runner import kinds, times
from runner.failure import BadInput, UnconvertibleCell, shown
from runner.job import Reading
from runner.selection import fit_names

Place = Callable[[int], str]
"""Says where in the file a row lies, in brackets; nothing when that is not known."""

Convert = Callable[[pa.ChunkedArray], pa.ChunkedArray]

NUMBERS = {
    "int8": pa.int8(), "int16": pa.int16(), "int32": pa.int32(), "int64": pa.int64(),
    "uint8": pa.uint8(), "uint16": pa.uint16(), "uint32": pa.uint32(), "uint64": pa.uint64(),
    "float32": pa.float32(), "float64": pa.float64(),
}  # fmt: skip
OTHERS = {
    "string": pa.string(), "bool": pa.bool_(), "date": pa.date32(), "timestamp": pa.timestamp("us"),
    "time": pa.time64("us"), "duration": pa.duration("us"), "binary": pa.binary(),
}  # fmt: skip
_DECIMAL = re.compile(r"decimal\(([0-9]{1,2}),([0-9]{1,2})\)")
_FAULTS = (pa.ArrowInvalid, pa.ArrowNotImplementedError, ValueError, OverflowError)
_WITHIN_DAY = re.compile(r"%[HIMSfpcXTzZ]")
_TRUTH = {"true": True, "false": False, "1": True, "0": False}


def nowhere(row: int) -> str:
    """The `Place` of a format whose rows have no lines."""
    del row
    return ""


def converted(table: pa.Table, reading: Reading) -> pa.Table:
    """Give a table its stated types.  Raises as `stated` does."""
    names = fit_names(table.column_names)
    columns = [stated(table.column(n), name, reading, nowhere) for n, name in enumerate(names)]
    return pa.Table.from_arrays(columns, names=names)


def is_stated(name: str, reading: Reading) -> bool:
    """Tell whether anything is stated about the type of a column."""
    return name in reading.types or name in reading.dates


def stated(column: pa.ChunkedArray, name: str, reading: Reading, place: Place) -> pa.ChunkedArray:
    """Give a column its stated type, if there is one.

    Raises `UnconvertibleCell` naming column, row, value and type of the first cell that is not of it, `BadInput`
    for a type or a format that does not exist.
    """
    if name in reading.dates:
        form = reading.dates[name]
        return located(_as_text(column), name, f"a time of the format {form!r}", lambda c: by_format(c, form), place)
    if name in reading.types:
        return as_type(column, name, reading.types[name], place)
    return column


def as_type(column: pa.ChunkedArray, name: str, target: str, place: Place) -> pa.ChunkedArray:
    """Give a column the type that a word of the option `types` stands for.  Raises as `stated` does."""
    data_type = _data_type(target, name)
    if kind.is_dictionary(column.type):
        column = kinds.decoded(column)
    column = kinds.without_views(column)
    if kind.is_string(column.type) or kind.is_large_string(column.type):
        return located(column, name, f"of type {target}", lambda c: _from_text(c, data_type), place)
    if data_type == pa.string():
        return _as_text(column)
    if kind.is_decimal(data_type) and kind.is_floating(column.type):
        return located(_as_text(column), name, f"of type {target}", lambda c: _from_text(c, data_type), place)
    return located(column, name, f"of type {target}", lambda c: c.cast(data_type), place)


def located(column: pa.ChunkedArray, name: str, what: str, convert: Convert, place: Place) -> pa.ChunkedArray:
    """Convert a column, or name the first cell that cannot be: the half in which it lies, again and again."""
    try:
        return convert(column)
    except _FAULTS as error:
        reason = error
    start, length = 0, len(column)
    while length > 1:
        half = length // 2
        try:
            convert(column.slice(start, half))
            start, length = start + half, length - half
        except _FAULTS:
            length = half
    if not length:
        raise BadInput(f"column {name!r} cannot be converted: it is not {what}: {reason}") from reason
    try:
        convert(column.slice(start, 1))
    except _FAULTS as error:
        value = shown(column[start].as_py())
        raise UnconvertibleCell(f"column {name!r}, row {start}{place(start)}: {value} is not {what}") from error
    raise BadInput(f"column {name!r} cannot be converted: its cells do not fit one type: {reason}") from reason


def _data_type(target: str, name: str) -> pa.DataType:
    found = NUMBERS.get(target) or OTHERS.get(target)
    if found is not None:
        return found
    if match := _DECIMAL.fullmatch(target.replace(" ", "")):
        precision, scale = int(match[1]), int(match[2])
        if 1 <= precision <= 76 and scale <= precision:
            return pa.decimal128(precision, scale) if precision <= 38 else pa.decimal256(precision, scale)
    known = ", ".join((*NUMBERS, *OTHERS))
    raise BadInput(f"column {name!r}: there is no type {target!r}; there are {known}, decimal(p,s) up to 76 digits")


def _as_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if kind.is_string(column.type) or kind.is_large_string(column.type):
        return column
    if kind.is_floating(column.type):
        texts = [None if value is None else repr(value) for value in column.cast(pa.float64()).to_pylist()]
        return pa.chunked_array([pa.array(texts, pa.string())])
    return column.cast(pa.string())


def _from_text(texts: pa.ChunkedArray, data_type: pa.DataType) -> pa.ChunkedArray:
    if data_type == pa.string():
        return texts
    if data_type == pa.binary():
        return _each(texts, _bytes, data_type)
    texts = pc.utf8_trim(texts, characters=" ")
    if data_type == pa.bool_():
        return _each(texts, lambda text: _TRUTH[text.lower()], data_type)
    if kind.is_duration(data_type):
        return _spans(texts)
    if kind.is_time(data_type):
        found = times.times_of_day(texts)
        return found if found.type == pa.time64("ns") else found.cast(data_type)
    if kind.is_date(data_type):
        return _days(texts)
    if kind.is_timestamp(data_type):
        found = moments_in_utc(texts)
        return found if found.type.unit == "ns" else found.cast(data_type)
    if kind.is_integer(data_type):
        if pc.any(pc.match_substring_regex(texts, "[xX]")).as_py():
            raise ValueError("digits are decimal")
        return pc.replace_substring_regex(texts, r"^\+([0-9])", r"\1").cast(data_type)
    if kind.is_floating(data_type):
        return _floats(texts, data_type)
    return texts.cast(data_type)


def _days(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    """Read dates; a time of day is allowed if it is midnight."""
    found = times.moments(texts)
    days = found.cast(pa.timestamp(found.type.unit)).cast(pa.date32())
    if not days.cast(found.type).equals(found):
        raise ValueError("a date has no time of day")
    return days


def moments_in_utc(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    """Read ISO 8601 times; those with a zone as UTC, without it.  Raises `pa.ArrowInvalid`."""
    found = times.moments(texts)
    return found.cast(pa.timestamp(found.type.unit))


def _floats(texts: pa.ChunkedArray, data_type: pa.DataType) -> pa.ChunkedArray:
    values = kinds.nan_as_missing(texts.cast(data_type))
    infinite = texts.filter(pc.is_inf(values), null_selection_behavior="drop")
    if pc.any(pc.match_substring_regex(infinite, "[0-9]")).as_py():
        raise OverflowError("a number is too large")
    return values


def _each(texts: pa.ChunkedArray, read: Callable[[str], object], data_type: pa.DataType) -> pa.ChunkedArray:
    try:
        values = [None if text is None else read(text) for text in texts.to_pylist()]
    except (KeyError, binascii.Error) as error:
        raise ValueError(str(error)) from error
    return pa.chunked_array([pa.array(values, data_type)])


def _bytes(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


def _spans(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    found = [None if text is None else times.span(text) for text in texts.to_pylist()]
    fine = any(value is not None and value % 1000 for value in found)
    values = found if fine else [None if value is None else value // 1000 for value in found]
    return pa.chunked_array([pa.array(values, pa.int64()).cast(pa.duration("ns" if fine else "us"))])


def by_format(texts: pa.ChunkedArray, form: str) -> pa.ChunkedArray:
    """Read times by a format of Python's strptime, each distinct text once; dates if it has no time of day.

    Raises `ValueError` for a text that is not of the format, `BadInput` for a format that is none.
    """
    encoded = texts.dictionary_encode().unify_dictionaries()
    within_day = _WITHIN_DAY.search(form) is not None
    found = []
    for text in encoded.chunk(0).dictionary.to_pylist() if encoded.num_chunks else ():
        try:
            moment = datetime.datetime.strptime(text.strip(" "), form)
        except ValueError as error:
            if "directive" in str(error) or "stray %" in str(error):
                raise _bad_format(form, error) from error
            raise
        if moment.tzinfo:
            moment = moment.astimezone(datetime.UTC).replace(tzinfo=None)
        found.append(moment if within_day else moment.date())
    values = pa.array(found, pa.timestamp("us") if within_day else pa.date32())
    return pa.chunked_array([values.take(chunk.indices) for chunk in encoded.chunks], values.type)


def _bad_format(form: str, error: ValueError) -> BadInput:
    return BadInput(f"the format {form!r} is none of Python's strptime: {error}")
