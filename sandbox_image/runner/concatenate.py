"""The task ``concatenate``: the rows of many tables one after the other, with little more in memory than one table.

Every table is read twice.  The first time tells whether they fit together, which levels their categories have, and
how their times are to be written; the second time its rows are written.
"""

from collections.abc import Iterator

import pyarrow as pa

from runner.agreement import Agreement
from runner.formats import read_table
from runner.job import Warn
from runner.workbench import Workbench

_BATCH_ROWS = 65_536
_BATCH_BYTES = 16 * 1024 * 1024


def concatenate(bench: Workbench) -> None:
    """Write the rows of all inputs, in their order.  Raises `BadInput` naming the first one that does not fit."""
    agreement = Agreement(bench.writes_text)
    told: set[tuple[str, str]] = set()

    def warn_once(code: str, message: str) -> None:
        if (code, message) not in told:
            told.add((code, message))
            bench.report.warn(code, message)

    with bench.timed("read_seconds"):
        for number, table in _tables(bench, warn_once):
            agreement.join(number, table)
    with bench.timed("write_seconds"):
        fitted = (agreement.fitted(table) for _, table in _tables(bench, lambda code, message: None))
        bench.write_parts(1, agreement.layout(), _batches(fitted))


def _tables(bench: Workbench, warn: Warn) -> Iterator[tuple[int, pa.Table]]:
    """Give every table with its number; but those without a column, of which nobody expects rows."""
    limit = bench.job.limits.inflated_bytes
    for number, entry in enumerate(bench.job.inputs, start=1):
        table = read_table(bench.paths.inputs / entry.file, entry, limit, warn, f"item {number}")
        if table.num_columns:
            yield number, table


def _batches(tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """Put small tables together: thousands of batches of a few rows would be slow to read."""
    waiting: list[pa.Table] = []
    rows = size = 0
    for table in tables:
        waiting.append(table)
        rows += table.num_rows
        size += table.nbytes
        if rows >= _BATCH_ROWS or size >= _BATCH_BYTES:
            yield _together(waiting)
            waiting, rows, size = [], 0, 0
    if waiting:
        yield _together(waiting)


def _together(tables: list[pa.Table]) -> pa.Table:
    full = [table for table in tables if table.num_rows] or tables[:1]
    return full[0] if len(full) == 1 else pa.concat_tables(full).combine_chunks()
