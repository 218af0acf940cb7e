"""Writing CSV and TSV: text always in quotes, everything else never, so that missing and empty differ."""

import json
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as kind

from runner import cells, kinds

_ROWS_AT_ONCE = 32768
_TEXT = pa.large_string()


def write_csv(table: pa.Table, file: Any) -> None:
    """Write a table as CSV with a header, in UTF-8.  Raises `UnsupportedValue` naming the column."""
    _write(table, file, ",")


def write_tsv(table: pa.Table, file: Any) -> None:
    """Write a table as tab-separated text, otherwise like CSV.  Raises `UnsupportedValue` naming the column."""
    _write(table, file, "\t")


def _write(table: pa.Table, file: Any, delimiter: str) -> None:
    names = pa.chunked_array([pa.array(table.column_names, _TEXT)])
    file.write(delimiter.join(_quoted(names).to_pylist()).encode() + b"\n")
    columns = [cells.written(table.column(n), name) for n, name in enumerate(table.column_names)]
    for start in range(0, table.num_rows if columns else 0, _ROWS_AT_ONCE):
        texts = [_text(column.slice(start, _ROWS_AT_ONCE)).combine_chunks() for column in columns]
        ends = pa.repeat(pa.scalar("\n", _TEXT), len(texts[0]))
        texts[-1] = pc.binary_join_element_wise(texts[-1], ends, pa.scalar("", _TEXT), null_handling="replace")
        lines = pc.binary_join_element_wise(*texts, pa.scalar(delimiter, _TEXT), null_handling="replace")
        file.write(_bytes_of(lines))


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
