"""Cells in JSON for people: by the rules of the JSON format, but none is refused, and long ones are cut."""

import json
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as kind

from runner import cells, kinds
from runner.failure import UnsupportedValue, clip_line

_MARK = "…"
_NESTED_BYTES = 65_536


class Cut(str):
    """The beginning of a cell's text, with a mark at its end."""

    __slots__ = ()


def compact(value: Any) -> bytes:
    """Write JSON, in UTF-8 and without blanks; there is no NaN in it."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode("utf-8", "replace")


def json_cells(column: pa.ChunkedArray, characters: int | None = None) -> list[Any]:
    """Give the cells of a column as JSON has them; those that are longer than so many characters as `Cut`.

    What the JSON format refuses is text here: complex numbers, and times outside of the years 1 to 9999.
    """
    if kind.is_dictionary(column.type):
        column = kinds.decoded(column)
    if kinds.is_nested(column.type):
        values = [_nested(column.slice(row, 1)) for row in range(len(column))]
    else:
        values = _flat(column if characters is None else _beginnings(column, characters))
    return values if characters is None else [shortened(value, characters) for value in values]


def shortened(value: Any, characters: int) -> Any:
    """Give a cell of JSON, or, when its text is longer than so many characters, a `Cut` of so many."""
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, list | dict) else value
    if isinstance(text, str) and len(text) > characters:
        return Cut(text[: characters - 1] + _MARK)
    return value


def _beginnings(column: pa.ChunkedArray, characters: int) -> pa.ChunkedArray:
    """Cut long cells, to one character more than is shown: a cell may have the size of the table."""
    if kind.is_string(column.type) or kind.is_large_string(column.type):
        return pc.utf8_slice_codeunits(column, 0, characters + 1)
    if kinds.is_bytes(column.type):
        return pc.binary_slice(column, 0, characters + 1)
    return column


def _flat(column: pa.ChunkedArray) -> list[Any]:
    try:
        written = cells.written(column, "", cells.unit(column))
    except UnsupportedValue:
        return _as_text(column)
    return [cells.plain(value) for value in written.to_pylist()]


def _as_text(column: pa.ChunkedArray) -> list[Any]:
    if column.type == kinds.COMPLEX:
        return [_complex(cell) for cell in column.to_pylist()]
    texts: list[Any] = column.cast(pa.string()).to_pylist()
    return texts


def _complex(cell: dict[str, float | None] | None) -> str | None:
    real, imaginary = cell.values() if cell else (None, None)
    return None if real is None or imaginary is None else str(complex(real, imaginary))


def _nested(only: pa.ChunkedArray) -> Any:
    """Give one cell with what it holds; in Arrow's own words, cut, if it is large, or Python has nothing like it."""
    if only.nbytes <= _NESTED_BYTES:
        try:
            return cells.plain(only[0].as_py())
        except (ValueError, OverflowError):
            pass  # a time outside of Python's years
    return Cut(clip_line(only.combine_chunks().to_string(window=2, skip_new_lines=True), _NESTED_BYTES) + _MARK)
