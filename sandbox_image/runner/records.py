"""JSON: a list of objects, one per row; or a table in the shape of Azure ML's web services (`azure`)."""

import json
from collections.abc import Iterable
from typing import Any

import pyarrow as pa
import pyarrow.types as kind

from runner import azure, cells
from runner.cell_lists import PACK_CELLS, CellList, clean
from runner.failure import BadInput, type_name
from runner.job import Reading, Warn
from runner.json_text import JsonText
from runner.output_file import Layout
from runner.selection import chosen
from runner.text import as_utf8

_ROWS_AT_ONCE = 8192


def read_json(source: Any, reading: Reading, warn: Warn) -> pa.Table:
    """Read a list of objects, or an Azure table.  Text always stays text.

    A key that an object lacks is a missing value; a list of nothing has the columns that the options name.
    Raises `BadInput` naming the row and the column of what does not fit.
    """
    text = _text(source, reading, warn)
    if text.peek() == "{":
        return azure.read(text, reading, warn)
    if text.peek() != "[":
        raise text.fault("a list of objects (records) is expected, or an object with ColumnNames and Values")
    return _records(text, reading, warn)


def read_azure_json(source: Any, reading: Reading, warn: Warn) -> pa.Table:
    """Read a table in the shape of Azure ML's web services, and nothing else.  Raises as `read_json` does."""
    return azure.read(_text(source, reading, warn), reading, warn)


class JsonWriter:
    """Writes a list of objects in UTF-8; missing is null, the infinities and decimal numbers are text."""

    def __init__(self, file: Any, layout: Layout) -> None:
        self._file = file
        self._layout = layout
        self._rows = 0
        file.write(b"[")

    def write_table(self, table: pa.Table) -> None:
        """Write rows.  Raises `UnsupportedValue` naming the column."""
        names = self._layout.schema.names
        for start in range(0, table.num_rows if names else 0, _ROWS_AT_ONCE):
            part = table.slice(start, _ROWS_AT_ONCE)
            values = [_values(column) for column in cells.rows_written(part, self._layout, self._rows)]
            rows = [dict(zip(names, row, strict=True)) for row in zip(*values, strict=True)]
            text = json.dumps(rows, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
            self._file.write((",\n" if self._rows else "").encode() + text[1:-1].encode("utf-8"))
            self._rows += part.num_rows

    def close(self) -> None:
        """Write the end of the list."""
        self._file.write(b"]\n")


def _values(column: pa.ChunkedArray) -> list[Any]:
    values: list[Any] = column.to_pylist()
    simple = kind.is_integer(column.type) or kind.is_boolean(column.type) or kind.is_string(column.type)
    return values if simple else [cells.plain(value) for value in values]


def _text(source: Any, reading: Reading, warn: Warn) -> JsonText:
    raw = as_utf8(source.read_buffer(), reading.encoding, False, warn)
    return JsonText(str(memoryview(raw), "utf-8"))


def _records(text: JsonText, reading: Reading, warn: Warn) -> pa.Table:
    wanted = None if reading.columns is None else frozenset(reading.columns)
    columns: dict[str, CellList | None] = {}
    count = 0
    for row in text.elements():
        cells = _object(text, row)
        for name, cell in cells.items():
            if name in columns:
                column = columns[name]
            else:
                column = columns[name] = None if wanted and clean(name) not in wanted else CellList(row)
            if column is not None:
                column.append(cell)
        count = row + 1
        if len(cells) < len(columns) or not count % PACK_CELLS:
            _level(columns.values(), count)
    text.end()
    if not count:
        columns = {name: CellList() for name in reading.columns or (*reading.types, *reading.dates)}
    names = [clean(name) for name in columns]
    keys = list(columns)
    arrays = []
    positions = chosen(names, reading)
    for position in positions:
        column = columns.pop(keys[position])
        assert column is not None  # noqa: S101  (only columns that are not wanted were left out)
        arrays.append(column.column(names[position], reading, warn))
    return pa.Table.from_arrays(arrays, names=[names[position] for position in positions])


def _level(columns: Iterable[CellList | None], count: int) -> None:
    """Give every column so many cells."""
    for column in columns:
        if column is not None:
            column.fill(count)
            if not count % PACK_CELLS:
                column.pack()


def _object(text: JsonText, row: int) -> dict[str, Any]:
    try:
        value = text.value()
    except BadInput as error:
        raise BadInput(f"row {row}: {error}") from error
    if not isinstance(value, dict):
        raise BadInput(f"row {row} must be an object, not a {type_name(value)}")
    return value
