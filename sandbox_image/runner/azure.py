"""Tables in the shape of Azure ML's web services: ColumnNames, ColumnTypes and Values, each value a text or null."""

import decimal
import json
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as kind

from runner import cells, conversion, inference, kinds
from runner.cell_lists import PACK_CELLS, CellList, clean
from runner.failure import BadInput, type_name
from runner.job import Reading, Warn
from runner.json_text import JsonText
from runner.output_file import Layout
from runner.selection import chosen, fit_names

TYPES = {
    "Boolean": "bool", "SByte": "int8", "Byte": "uint8", "Int16": "int16", "UInt16": "uint16", "Int32": "int32",
    "UInt32": "uint32", "Int64": "int64", "UInt64": "uint64", "Single": "float32", "Double": "float64",
    "String": "string", "Guid": "string", "TimeSpan": "duration", "Byte[]": "binary",
}  # fmt: skip
_MOMENTS = ("DateTime", "DateTimeOffset")
_UNTYPED = ("Numeric", "Object")  # older samples have these; they say no more than the values
_ROWS_AT_ONCE = 8192
_CLASSIC_MOMENT = "%m/%d/%Y %I:%M:%S %p"


@dataclass
class _Parts:
    names: list[str] | None = None
    types: list[str] | None = None
    columns: list[CellList] = field(default_factory=list)
    found: bool = False


def read(text: JsonText, reading: Reading, warn: Warn) -> pa.Table:
    """Read a table in this shape, bare or as the ``value`` of an object whose ``type`` is table.

    With ColumnTypes the values are converted; without, JSON's numbers and truth values are what they are, and a
    column with text in it is read as CSV is.  Raises `UnconvertibleCell`, or `BadInput` naming the place.
    """
    parts = _Parts()
    _read_parts(text, parts, wrapped=False)
    text.end()
    names, types = _fitting(parts)
    names = fit_names([clean(name) for name in names])
    positions = chosen(names, reading)
    columns = []
    for position in positions:
        column, parts.columns[position] = parts.columns[position], CellList()
        columns.append(_column(column, names[position], types[position] if types else None, reading, warn))
    return pa.Table.from_arrays(columns, names=[names[position] for position in positions])


class AzureWriter:
    """Writes a table in this shape, in UTF-8."""

    def __init__(self, file: Any, layout: Layout) -> None:
        self._file = file
        self._layout = layout
        self._rows = 0
        types = [type_of(data_type) for data_type in layout.schema.types]
        head = {"ColumnNames": layout.schema.names, "ColumnTypes": types}
        file.write(json.dumps(head, ensure_ascii=False)[:-1].encode("utf-8") + b', "Values": [')

    def write_table(self, table: pa.Table) -> None:
        """Write rows.  Raises `UnsupportedValue` naming the column."""
        for start in range(0, table.num_rows if table.num_columns else 0, _ROWS_AT_ONCE):
            part = table.slice(start, _ROWS_AT_ONCE)
            found = cells.rows_written(part, self._layout, self._rows)
            values = [_texts_of(*pair).to_pylist() for pair in zip(found, self._layout.schema.types, strict=True)]
            text = json.dumps(list(zip(*values, strict=True)), ensure_ascii=False, separators=(",", ":"))
            self._file.write((",\n" if self._rows else "").encode() + text[1:-1].encode("utf-8"))
            self._rows += part.num_rows

    def close(self) -> None:
        """Write the end of the values."""
        self._file.write(b"]}\n")


def type_of(data_type: pa.DataType) -> str:
    """Name the type of a column the way ColumnTypes does; small integers get the next larger type that it knows."""
    if kind.is_dictionary(data_type):
        return type_of(data_type.value_type)
    for test, name in _NAMES:
        if test(data_type):
            return name
    return "String"


_NAMES = (
    (kind.is_boolean, "Boolean"), (kind.is_uint8, "Byte"), (kind.is_int8, "Int16"), (kind.is_int16, "Int16"),
    (kind.is_uint16, "Int32"), (kind.is_int32, "Int32"), (kind.is_uint32, "Int64"), (kind.is_int64, "Int64"),
    (kind.is_uint64, "UInt64"), (kind.is_float16, "Single"), (kind.is_float32, "Single"),
    (kind.is_float64, "Double"), (kind.is_decimal, "Decimal"), (kind.is_timestamp, "DateTime"),
    (kind.is_date, "DateTime"), (kind.is_time, "TimeSpan"), (kind.is_duration, "TimeSpan"),
    (cells.is_bytes, "Byte[]"),
)  # fmt: skip


def _texts_of(texts: pa.ChunkedArray, data_type: pa.DataType) -> pa.ChunkedArray:
    """Give values of this type, as they were written, as texts: True and False, numbers with all their digits."""
    if kind.is_boolean(texts.type):
        return pc.if_else(texts, "True", "False")
    if kind.is_date(data_type):
        return pc.binary_join_element_wise(texts, "T00:00:00", "")
    if kind.is_floating(texts.type) or kind.is_decimal(texts.type) or kinds.is_nested(texts.type):
        return pa.chunked_array([pa.array([_text_of(value) for value in texts.to_pylist()], pa.large_string())])
    return texts.cast(pa.large_string())


def _text_of(value: Any) -> str | None:
    value = cells.plain(value)
    if isinstance(value, float):
        return repr(value).removesuffix(".0")
    return value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _read_parts(text: JsonText, parts: _Parts, wrapped: bool) -> None:
    for key in text.members():
        if key == "ColumnNames":
            parts.names = _texts(text, key)
        elif key == "ColumnTypes":
            parts.types = _texts(text, key) if text.peek() != "n" else text.value()
        elif key == "Values":
            _read_values(text, parts)
        elif key == "type":
            text.value()
        elif key == "value" and not wrapped:
            _read_parts(text, parts, wrapped=True)
        else:
            raise text.fault(f"{key!r} is no part of a table; these are ColumnNames, ColumnTypes and Values")


def _texts(text: JsonText, key: str) -> list[str]:
    found = text.value()
    if not isinstance(found, list) or not all(isinstance(item, str) for item in found):
        raise text.fault(f"{key} must be a list of texts")
    return found


def _read_values(text: JsonText, parts: _Parts) -> None:
    parts.found = True
    if parts.names is not None:
        parts.columns = [CellList() for _ in parts.names]
    for row in text.elements():
        try:
            values = text.value()
        except BadInput as error:
            raise BadInput(f"row {row}: {error}") from error
        if not isinstance(values, list):
            raise BadInput(f"row {row} of Values must be a list, not a {type_name(values)}")
        if row == 0 and parts.names is None:
            parts.columns = [CellList() for _ in values]
        if len(values) != len(parts.columns):
            raise BadInput(f"row {row} of Values has {len(values)} values; {len(parts.columns)} are expected")
        for column, value in zip(parts.columns, values, strict=True):
            column.append(value)
        if not (row + 1) % PACK_CELLS:
            for column in parts.columns:
                column.pack()


def _fitting(parts: _Parts) -> tuple[list[str], list[str] | None]:
    """Give names and types, after making sure that there are as many as columns."""
    if parts.names is None or not parts.found:
        raise BadInput(f"{'ColumnNames' if parts.names is None else 'Values'} is missing")
    if not parts.columns:
        parts.columns = [CellList() for _ in parts.names]
    for key, stated in (("ColumnNames", parts.names), ("ColumnTypes", parts.types)):
        if stated is not None and len(stated) != len(parts.columns):
            raise BadInput(f"{key} has {len(stated)} entries, and the rows of Values have {len(parts.columns)}")
    return parts.names, parts.types


def _column(found: CellList, name: str, stated: str | None, reading: Reading, warn: Warn) -> pa.ChunkedArray:
    if conversion.is_stated(name, reading):
        return found.column(name, reading, warn)
    if stated is not None and stated not in _UNTYPED:
        return _converted(found.texts(name, reading.missing, warn), name, stated)
    if found.holds_text:
        return inference.inferred(found.texts(name, reading.missing, warn), name, warn)
    column = found.column(name, reading, warn)
    if kinds.is_nested(column.type):
        raise BadInput(f"column {name!r} holds lists or objects; a value is a text, a number, true, false or null")
    return column


def _converted(texts: pa.ChunkedArray, name: str, stated: str) -> pa.ChunkedArray:
    if stated in TYPES:
        return conversion.as_type(texts, name, TYPES[stated], conversion.nowhere)
    if stated in _MOMENTS:
        return conversion.located(texts, name, f"of type {stated}", _moments, conversion.nowhere)
    if stated == "Decimal":
        return conversion.located(texts, name, "of type Decimal", _decimals, conversion.nowhere)
    known = ", ".join((*TYPES, *_MOMENTS, "Decimal", *_UNTYPED))
    raise BadInput(f"column {name!r}: ColumnTypes names {stated!r}; there are {known}")


def _moments(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    try:
        return conversion.moments_in_utc(texts)
    except pa.ArrowInvalid:
        return conversion.by_format(texts, _CLASSIC_MOMENT)


def _decimals(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    try:
        values: list[Any] = [None if text is None else decimal.Decimal(text) for text in texts.to_pylist()]
    except decimal.InvalidOperation as error:
        raise ValueError(str(error)) from error
    column = pa.array(values)
    return pa.chunked_array([column if kind.is_decimal(column.type) else column.cast(pa.decimal128(38, 0))])
