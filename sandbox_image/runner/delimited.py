"""CSV and TSV.

A cell without anything in it is missing; a cell of two quotes is empty text; everything else is what it
says, so that ``NA`` and ``nan`` stay text.  Text is always written in quotes, numbers never.
"""

import codecs
import json
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as kind
from pyarrow import csv

from runner import kinds
from runner.cells import written
from runner.failure import BadInput
from runner.job import Warn
from runner.names import unique
from runner.records import plain

_CHUNK_BYTES = 1024 * 1024
_THREADS_FROM_BYTES = 4 * 1024 * 1024


def read_csv(source: Any, warn: Warn) -> pa.Table:
    """Read comma-separated text with a header, in UTF-8.  Raises `BadInput`, or an error of pyarrow."""
    return _read(source, ",", warn)


def read_tsv(source: Any, warn: Warn) -> pa.Table:
    """Read tab-separated text with a header, in UTF-8.  Raises `BadInput`, or an error of pyarrow."""
    return _read(source, "\t", warn)


def write_csv(table: pa.Table, file: Any) -> None:
    """Write a table as CSV with a header, in UTF-8; nested cells as JSON text."""
    columns = [written(_flat(table.column(n)), name) for n, name in enumerate(table.column_names)]
    csv.write_csv(pa.Table.from_arrays(columns, names=table.column_names), file)


def _flat(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if not kinds.is_nested(column.type):
        return column
    texts = (None if value is None else json.dumps(plain(value), ensure_ascii=False) for value in column.to_pylist())
    return pa.chunked_array([pa.array(texts, type=pa.large_string())])


def _read(source: Any, delimiter: str, warn: Warn) -> pa.Table:
    text = _without_leading_lines(source.read_buffer())
    try:
        table = _parse(text, delimiter)
        names = unique([name or f"Col{n}" for n, name in enumerate(table.column_names, start=1)])
        suspicious = any(kind.is_binary(data_type) for data_type in table.schema.types)
    except (pa.ArrowInvalid, UnicodeDecodeError):
        _refuse_other_encodings(source)
        raise
    if suspicious:  # what the parser makes of text that is not UTF-8
        _refuse_other_encodings(source)
    texts = {name: pa.string() for n, name in enumerate(names) if _holds_nan(table.column(n))}
    if texts or len(names) == 1:
        table = _parse(text, delimiter, names, texts)
    for name, column in zip(names, table.columns, strict=True):
        _warn_of_large_numbers(column, name, warn)
    return table.rename_columns(names)


def _without_leading_lines(text: pa.Buffer) -> pa.Buffer:
    """Skip the byte order mark and empty lines before the header, so that the header is the first line."""
    head = text.slice(0, min(text.size, _CHUNK_BYTES)).to_pybytes()
    return text.slice(len(head) - len(head.removeprefix(codecs.BOM_UTF8).lstrip(b"\r\n")))


def _parse(
    text: pa.Buffer, delimiter: str, names: list[str] | None = None, types: dict[str, Any] | None = None
) -> pa.Table:
    """Parse the text; the second time with names of our own, for columns whose type is known better.

    Where there is only one column, an empty line is a missing value; elsewhere it is nothing.
    """
    return csv.read_csv(
        pa.BufferReader(text),
        csv.ReadOptions(
            use_threads=text.size >= _THREADS_FROM_BYTES,
            column_names=names,
            skip_rows_after_names=1 if names else 0,
        ),
        csv.ParseOptions(
            delimiter=delimiter,
            newlines_in_values=True,
            ignore_empty_lines=names is None or len(names) > 1,
        ),
        csv.ConvertOptions(
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
            column_types=types or {},
        ),
    )


def _holds_nan(column: pa.ChunkedArray) -> bool:
    """Tell whether the parser took the text ``nan`` for a number; missing numbers are not NaN but null."""
    return bool(kind.is_floating(column.type) and pc.any(pc.is_nan(column)).as_py())


def _warn_of_large_numbers(column: pa.ChunkedArray, name: str, warn: Warn) -> None:
    """Warn of what may have been long identifiers: whole numbers just beyond the integers."""
    if not kind.is_floating(column.type) or not pc.all(pc.equal(pc.floor(column), column)).as_py():
        return
    size = pc.abs(column)
    if pc.any(pc.and_(pc.greater_equal(size, 2.0**63), pc.less(size, 1e25))).as_py():
        warn(
            "precision_lost",
            f"column {name!r} holds integers beyond 64 bits; they were read as floating point, which loses digits",
        )


def _refuse_other_encodings(source: Any) -> None:
    """Raise `BadInput` with the place of the first byte that is not UTF-8, if there is one."""
    source.seek(0)
    decoder = codecs.getincrementaldecoder("utf-8")()
    done = 0
    while True:
        chunk = source.read(_CHUNK_BYTES)
        held = len(decoder.getstate()[0])
        try:
            decoder.decode(chunk, final=not chunk)
        except UnicodeDecodeError as error:
            place = done - held + error.start
            raise BadInput(f"byte {place} (counted from 0) is not UTF-8 text: {error.reason}") from error
        if not chunk:
            return
        done += len(chunk)
