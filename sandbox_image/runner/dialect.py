"""What can be told about delimited text from reading it row by row: its delimiter, its header, its lines."""

import csv
import io
import itertools
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any

import pyarrow as pa

from runner.failure import BadInput

_CANDIDATES = (",", "\t", ";", "|")
_SAMPLE_ROWS = 100
_SAMPLE_BYTES = 1024 * 1024
_DECIMAL_COMMA = re.compile(r" *[+-]?[0-9.]*,[0-9]+%? *")

Row = list[str]


def checked_delimiter(delimiter: str) -> str:
    """Give a stated delimiter back.  Raises `BadInput` when it is none."""
    if len(delimiter) != 1 or not "\0" < delimiter < "\x7f" or delimiter in '"\r\n':
        raise BadInput(f"the delimiter {delimiter!r} must be one ASCII character, and no quote or line end")
    return delimiter


def detected_delimiter(text: pa.Buffer) -> str:
    """Tell which of , tab ; | delimits the cells, after the first rows with their quotes respected.

    It is the one that cuts the header and all rows into the same number of cells, two at least; the comma if
    several do, unless it is found in decimal numbers only.
    """
    samples = {delimiter: _sample(text, delimiter) for delimiter in _CANDIDATES}
    fits = {delimiter: _fit(rows) for delimiter, rows in samples.items()}
    best = max(fits.values())
    if not best[0]:
        return _of_one_column(samples[","])
    found = [delimiter for delimiter in _CANDIDATES if fits[delimiter] == best]
    if fits[","][0] == 1.0:
        others = [d for d in _CANDIDATES[1:] if fits[d][0] == 1.0 and _commas_are_decimal(samples[d])]
        found = sorted(others, key=lambda delimiter: fits[delimiter], reverse=True) or found
    return found[0]


def header(text: pa.Buffer, delimiter: str) -> Row:
    """Give the cells of the first row.  Raises `BadInput` when a name is longer than any can be."""
    with _rows(text, delimiter) as rows:
        return next(rows)[1]


def ragged_row(text: pa.Buffer, delimiter: str, width: int) -> tuple[int, int] | None:
    """Find the first row that has not `width` cells: its line, counted from 1, and its number of cells."""
    with _rows(text, delimiter) as rows:
        return next(((line, len(row)) for line, row in rows if row and len(row) != width), None)


def line_of(text: pa.Buffer, delimiter: str, number: int, empty_counts: bool) -> int | None:
    """Give the line on which a row begins; rows are counted from 0, after the header."""
    with _rows(text, delimiter) as rows:
        data = (line for line, row in itertools.islice(rows, 1, None) if row or empty_counts)
        return next(itertools.islice(data, number, None), None)


@contextmanager
def _rows(text: pa.Buffer, delimiter: str) -> Iterator[Iterator[tuple[int, Row]]]:
    """Read rows one by one, each with the line, counted from 1, on which it begins."""
    before = csv.field_size_limit(sys.maxsize)
    with closing(io.TextIOWrapper(pa.BufferReader(text), "utf-8", newline="")) as lines:
        try:
            yield _numbered(csv.reader(lines, delimiter=delimiter))
        except csv.Error as error:
            raise BadInput(str(error)) from error
        finally:
            csv.field_size_limit(before)


def _numbered(reader: Any) -> Iterator[tuple[int, Row]]:
    line = 1
    for row in reader:
        yield line, row
        line = reader.line_num + 1


def _sample(text: pa.Buffer, delimiter: str) -> list[Row]:
    """Give the first rows; the last one of the sample may be cut, and is left out."""
    cut = text.size > _SAMPLE_BYTES
    head = text.slice(0, min(_SAMPLE_BYTES, text.size)).to_pybytes()
    whole = pa.py_buffer(head.decode("utf-8", "ignore").encode()) if cut else text
    with _rows(whole, delimiter) as rows:
        found = [row for _, row in itertools.islice(rows, _SAMPLE_ROWS + 1) if row]
    return found[:-1] if len(found) > _SAMPLE_ROWS or (cut and len(found) > 1) else found


def _fit(rows: Sequence[Row]) -> tuple[float, int]:
    """Tell how well rows are cut: the share that is as wide as the header, and that width; 0 if it is not cut."""
    width = len(rows[0])
    if width < 2:
        return 0.0, width
    return sum(len(row) == width for row in rows) / len(rows), width


def _commas_are_decimal(rows: Sequence[Row]) -> bool:
    """Tell whether there are commas in the cells below the header, and only in decimal numbers."""
    cells = [cell for row in rows[1:] for cell in row if "," in cell]
    return bool(cells) and all(_DECIMAL_COMMA.fullmatch(cell) for cell in cells)


def _of_one_column(rows: Sequence[Row]) -> str:
    """One column: a comma in it can only be a decimal one; else the rows do not fit the header, and it is kept."""
    return ";" if _commas_are_decimal([[",".join(row)] for row in rows]) else ","
