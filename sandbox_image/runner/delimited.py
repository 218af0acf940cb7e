"""Reading CSV and TSV.

A cell without anything in it is missing; a cell of two quotes is empty text; everything else is what it
says, so that ``NA`` and ``nan`` stay text.  The parser only cuts the text into cells: what they are is settled
column by column, stated (`conversion`) or by what all of them have in common (`inference`).
"""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
from pyarrow import csv

from runner import conversion, dialect, inference
from runner.failure import BadInput, EmptyInput
from runner.job import Reading, Warn
from runner.selection import chosen, fit_names
from runner.text import as_utf8

_THREADS_FROM_BYTES = 4 * 1024 * 1024
_BLOCK_BYTES = (1 << 20, 1 << 25, 2**31 - 1)  # a row must fit into one


def read_csv(source: Any, reading: Reading, warn: Warn) -> pa.Table:
    """Read text with a header, comma-separated unless another delimiter is stated or found.

    Raises `BadInput` naming the line, or `UnconvertibleCell` naming the cell.
    """
    text, skipped = _without_leading_lines(as_utf8(source.read_buffer(), reading.encoding, True, warn))
    if reading.delimiter is not None:
        return _read(text, skipped, dialect.checked_delimiter(reading.delimiter), reading, warn)
    delimiter = dialect.detected_delimiter(text)
    if delimiter != ",":
        warn(
            "delimiter_detected",
            f"the cells seem to be delimited by {delimiter!r}, so they were read that way; state the delimiter if"
            " it is another one",
        )
    return _read(text, skipped, delimiter, reading, warn)


def read_tsv(source: Any, reading: Reading, warn: Warn) -> pa.Table:
    """Read tab-separated text with a header.  Raises as `read_csv` does."""
    text, skipped = _without_leading_lines(as_utf8(source.read_buffer(), reading.encoding, True, warn))
    delimiter = "\t" if reading.delimiter is None else dialect.checked_delimiter(reading.delimiter)
    return _read(text, skipped, delimiter, reading, warn)


def _without_leading_lines(text: pa.Buffer) -> tuple[pa.Buffer, int]:
    """Skip empty lines before the header, so that the header is the first line; gives their number as well."""
    start = 0
    bytes_of = memoryview(text).cast("B")
    while start < text.size and bytes_of[start] in b"\r\n":
        start += 1
    if start == text.size:
        raise EmptyInput("it holds no header")
    blank = bytes(bytes_of[:start])
    return text.slice(start), len(blank.splitlines())


def _read(text: pa.Buffer, skipped: int, delimiter: str, reading: Reading, warn: Warn) -> pa.Table:
    names = fit_names(dialect.header(text, delimiter))
    wanted = [names[position] for position in chosen(names, reading)]
    columns = _parse(text, skipped, delimiter, names, wanted, reading.missing).columns

    def place(row: int) -> str:
        line = dialect.line_of(text, delimiter, row, empty_counts=len(names) == 1)
        return "" if line is None else f" (line {line + skipped})"

    for position, name in enumerate(wanted):  # in place, so that the text of a column goes when its type comes
        column = columns[position]
        if conversion.is_stated(name, reading):
            columns[position] = conversion.stated(column, name, reading, place)
        else:
            columns[position] = inference.inferred(column, name, warn)
        del column
    return pa.Table.from_arrays(columns, names=wanted)


def _parse(
    text: pa.Buffer, skipped: int, delimiter: str, names: list[str], wanted: list[str], missing: Sequence[str]
) -> pa.Table:
    """Cut text into cells.  Where there is only one column, an empty line is a missing value."""
    for block in _BLOCK_BYTES:
        try:
            return csv.read_csv(
                pa.BufferReader(text),
                csv.ReadOptions(
                    use_threads=text.size >= _THREADS_FROM_BYTES,
                    block_size=block,
                    column_names=names,
                    skip_rows_after_names=1,
                ),
                csv.ParseOptions(delimiter=delimiter, newlines_in_values=True, ignore_empty_lines=len(names) > 1),
                csv.ConvertOptions(
                    include_columns=wanted,
                    column_types=dict.fromkeys(wanted, pa.string()),
                    null_values=["", *missing],
                    strings_can_be_null=True,
                    quoted_strings_can_be_null=False,
                ),
            )
        except pa.ArrowInvalid as error:
            if "straddling" not in str(error) or text.size <= block:
                if dialect.line_of(text, delimiter, 0, empty_counts=True) is None:
                    return pa.table({name: pa.array([], pa.string()) for name in wanted})  # a header, but no line end
                _explain(text, skipped, delimiter, len(names))
                raise
    raise BadInput(f"it has a row of more than {_BLOCK_BYTES[-1]} bytes, which is the limit")


def _explain(text: pa.Buffer, skipped: int, delimiter: str, width: int) -> None:
    """Raise `BadInput` if the fault is a row that has too many cells, or too few."""
    ragged = dialect.ragged_row(text, delimiter, width)
    if ragged is not None:
        line, found = ragged
        raise BadInput(
            f"line {line + skipped} has {found} cells where the header has {width} (delimiter {delimiter!r}); a cell"
            " that holds a delimiter or a line end must be in quotes"
        )
