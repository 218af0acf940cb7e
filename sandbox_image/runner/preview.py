"""preview.json: the first rows of a table, as much of them as fits."""

from typing import Any

import pyarrow as pa

from runner.json_cells import Cut, compact, json_cells, shortened
from runner.report import short_name

ROWS = 100
BYTES = 256 * 1024
_ROOM_FOR_COLUMNS = BYTES // 2
_CELL_CHARACTERS = 1000
_LESS = ((100, 1000), (100, 200), (100, 50), (50, 50), (20, 50), (10, 20), (5, 20), (2, 20), (1, 20), (1, 2), (0, 1))
"""So many rows, and so many characters of a cell, until all of it fits."""


def preview(table: pa.Table) -> bytes:
    """Give the bytes of preview.json; `truncated` says that rows, columns or parts of cells were left out."""
    columns = _first_columns(table.schema)
    cells = [json_cells(table.column(n).slice(0, ROWS), _CELL_CHARACTERS) for n in range(len(columns))]
    for rows, characters in _LESS:
        data = compact(_document(table, columns, cells, rows, characters))
        if len(data) <= BYTES:
            break
    return data


def _first_columns(schema: pa.Schema) -> list[dict[str, str]]:
    """Give the columns that leave half of the room to their cells."""
    found: list[dict[str, str]] = []
    size = 0
    for field in schema:
        column = {"name": short_name(field.name), "type": short_name(str(field.type))}
        size += len(compact(column)) + 1
        if size > _ROOM_FOR_COLUMNS:
            break
        found.append(column)
    return found


def _document(
    table: pa.Table, columns: list[dict[str, str]], cells: list[list[Any]], rows: int, characters: int
) -> dict[str, Any]:
    shown = [[shortened(cell, characters) for cell in column[:rows]] for column in cells]
    whole = rows >= table.num_rows and len(columns) == table.num_columns
    return {
        "columns": columns,
        "rows": list(zip(*shown, strict=True)),
        "total_rows": table.num_rows,
        "truncated": not whole or any(isinstance(cell, Cut) for column in shown for cell in column),
    }
