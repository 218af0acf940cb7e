"""The task ``compare``: are two tables the same, and if not, where is the first difference?"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as kind

from runner.equality import first_unequal
from runner.failure import shown
from runner.json_cells import compact, json_cells
from runner.report import short_name
from runner.workbench import Workbench

COMPARISON = "comparison.json"
_CHARACTERS = 200
_BLOCK_ROWS = 65_536
_BLOCK_BYTES = 64 * 1024 * 1024
_PIECE = 1024 * 1024


@dataclass(frozen=True)
class Difference:
    """The first place where two tables differ; `what` is rows, columns, type or value."""

    what: str
    column: str | None
    row: int | None
    left: Any
    right: Any
    message: str


def compare(bench: Workbench) -> None:
    """Compare the tables of the two ports, of which the first is on the left, and write what was found."""
    left, right = sorted(bench.job.inputs, key=lambda entry: entry.port)
    with bench.timed("read_seconds"):
        tables = bench.read(left), bench.read(right)
    with bench.timed("write_seconds"):
        difference = first_difference(*tables)
        verdict = "different" if difference else "values_equal"
        files = [bench.paths.inputs / entry.file for entry in (left, right)]
        if not difference and left.slice is None and right.slice is None and _same_bytes(*files):
            verdict = "bytes_equal"
        found = {"verdict": verdict, "first_difference": asdict(difference) if difference else None}
        bench.write_json(COMPARISON, compact(found))


def first_difference(left: pa.Table, right: pa.Table) -> Difference | None:
    """Find the first difference of two tables that were verified: names, number of rows, then column by column."""
    if left.num_columns != right.num_columns:
        return _of_sizes("columns", left.num_columns, right.num_columns)
    for place, (a, b) in enumerate(zip(left.column_names, right.column_names, strict=True), start=1):
        if a != b:
            message = f"column {place} is {shown(a)} on the left and {shown(b)} on the right"
            return Difference("columns", short_name(a), None, short_name(a), short_name(b), message)
    if left.num_rows != right.num_rows:
        return _of_sizes("rows", left.num_rows, right.num_rows)
    for name, a, b in zip(left.column_names, left.columns, right.columns, strict=True):
        if a.type != b.type:
            types = short_name(str(a.type)), short_name(str(b.type))
            message = f"column {shown(name)} is {types[0]} on the left and {types[1]} on the right"
            return Difference("type", short_name(name), None, *types, message)
        row = _first_row(a, b)
        if row is not None:
            return _of_cells(name, row, a.slice(row, 1), b.slice(row, 1))
    return None


def _of_sizes(what: str, left: int, right: int) -> Difference:
    return Difference(what, None, None, left, right, f"the left table has {left} {what}, the right one {right}")


def _of_cells(name: str, row: int, left: pa.ChunkedArray, right: pa.ChunkedArray) -> Difference:
    cells = _cell(left), _cell(right)
    words = [_words(cell, column) for cell, column in zip(cells, (left, right), strict=True)]
    message = f"column {shown(name)}, row {row}: {words[0]} on the left and {words[1]} on the right"
    return Difference("value", short_name(name), row, *cells, message)


def _cell(only: pa.ChunkedArray) -> Any:
    """Give a cell for JSON, where NaN and missing would look alike."""
    if kind.is_floating(only.type) and pc.is_nan(only)[0].as_py():
        return "NaN"
    return json_cells(only, _CHARACTERS)[0]


def _words(cell: Any, only: pa.ChunkedArray) -> str:
    return "a missing value" if only.null_count else shown(cell)


def _first_row(left: pa.ChunkedArray, right: pa.ChunkedArray) -> int | None:
    if left.equals(right):  # fast; to it, NaN differs from NaN
        return None
    rows = max(1, min(_BLOCK_ROWS, len(left) * _BLOCK_BYTES // max(1, left.nbytes, right.nbytes)))
    for start in range(0, len(left), rows):
        row = first_unequal(*(column.slice(start, rows).combine_chunks() for column in (left, right)))
        if row is not None:
            return start + row
    return None


def _same_bytes(left: Path, right: Path) -> bool:
    if left.stat().st_size != right.stat().st_size:
        return False
    with left.open("rb", buffering=0) as a, right.open("rb", buffering=0) as b:
        while piece := a.read(_PIECE):
            if piece != b.read(len(piece)):
                return False
    return True
