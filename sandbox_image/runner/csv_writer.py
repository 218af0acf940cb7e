"""Writing CSV and TSV: text always in quotes, everything else never, so that missing and empty differ."""

import json
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as kind

from runner import cells, kinds
from runner.output_file import Layout

_ROWS_AT_ONCE = 32768
_TEXT = pa.large_string()


class CsvWriter:
    """Writes CSV with a header, in UTF-8; with another delimiter, whatever it is called then."""

    def __init__(self, file: Any, layout: Layout, delimiter: str = ",") -> None:
        self._file = file
        self._layout = layout
        self._delimiter = delimiter
        self._rows = 0
        names = pa.chunked_array([pa.array(layout.schema.names, _TEXT)])
        file.write(delimiter.join(_quoted(names).to_pylist()).encode() + b"\n")

    def write_table(self, table: pa.Table) -> None:
        """Write rows.  Raises `UnsupportedValue` naming the column."""
        for start in range(0, table.num_rows if table.num_columns else 0, _ROWS_AT_ONCE):
            part = table.slice(start, _ROWS_AT_ONCE)
            texts = [_text(column).combine_chunks() for column in cells.rows_written(part, self._layout, self._rows)]
            ends = pa.repeat(pa.scalar("\n", _TEXT), len(texts[0]))
            texts[-1] = pc.binary_join_element_wise(texts[-1], ends, pa.scalar("", _TEXT), null_handling="replace")
            lines = pc.binary_join_element_wise(*texts, pa.scalar(self._delimiter, _TEXT), null_handling="replace")
            self._file.write(_bytes_of(lines))
            self._rows += part.num_rows

    def close(self) -> None:
        """There is nothing at the end."""


def tsv_writer(file: Any, layout: Layout) -> CsvWriter:
    """Write tab-separated text, otherwise like CSV."""
    return CsvWriter(file, layout, "\t")


def _text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Give the cells as they stand in the file."""
    if kinds.is_nested(column.type):
        found = [None if v is None else json.dumps(cells.plain(v), ensure_ascii=False) for v in column.to_pylist()]
        return _quoted(pa.chunked_array([pa.array(found, _TEXT)]))
    if kind.is_string(column.type) or kind.is_large_string(column.type):
        return _quoted(column.cast(_TEXT))
    texts = column.cast(_TEXT)
    if not kind.is_floating(column.type):
        return texts
    whole = pc.match_substring_regex(texts, "^-?[0-9]+$")  # else it would be read as an integer
    return pc.if_else(whole, pc.binary_join_element_wise(texts, pa.scalar(".0", _TEXT), pa.scalar("", _TEXT)), texts)


def _quoted(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    doubled = pc.replace_substring(texts, '"', '""')
    quote = pa.scalar('"', _TEXT)
    return pc.binary_join_element_wise(quote, doubled, quote, pa.scalar("", _TEXT))


def _bytes_of(lines: pa.LargeStringArray) -> pa.Buffer:
    """Give the bytes of all lines: they lie one after the other already."""
    _, offsets, data = lines.buffers()
    places = memoryview(offsets).cast("q")
    first, end = places[lines.offset], places[lines.offset + len(lines)]
    return data.slice(first, end - first)
