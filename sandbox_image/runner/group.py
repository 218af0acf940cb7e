"""The task ``group``: rows with the same value in one column come to lie beside each other."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from runner import cells
from runner.failure import BadInput, ColumnNotFound, UnsupportedInput, shown
from runner.json_cells import compact, json_cells
from runner.keys import coded, is_comparable
from runner.output_file import Layout
from runner.selection import named
from runner.workbench import Workbench

GROUPS = "groups.json"
MAX_GROUPS = 10_000
MAX_BYTES = 8 * 1024 * 1024
_BATCH_ROWS = 65_536
_BATCH_BYTES = 64 * 1024 * 1024
_LARGE_BYTES = 2**31


def group(bench: Workbench) -> None:
    """Write the rows group by group, in the order in which the groups begin, and where each group lies.

    Within a group the rows keep their order.  Missing values, NaN among them, are a group of their own.
    """
    with bench.timed("read_seconds"):
        table = bench.read(bench.job.inputs[0])
    with bench.timed("write_seconds"):
        name = bench.job.group_by or ""
        ranks, values = _groups(table, name)
        sizes = np.bincount(ranks, minlength=len(values))
        bench.write_json(GROUPS, _document(name, values, sizes))
        order = np.argsort(ranks, kind="stable")
        units = tuple(map(cells.unit, table.columns)) if bench.writes_text else ()
        bench.write_parts(1, Layout(table.schema, units), _in_order(table, order))


def _groups(table: pa.Table, name: str) -> tuple["np.ndarray[Any, np.dtype[np.int16]]", pa.ChunkedArray]:
    """Give the number of each row's group, counted from 0 as the groups begin, and the value of each group."""
    if name not in table.column_names:
        raise ColumnNotFound(f"the groups are those of the column {shown(name)}, but {named(table.column_names)}")
    column = table.column(name)
    if not is_comparable(column.type):
        raise UnsupportedInput(f"column {shown(name)} is of the type {column.type}: groups are made of single values")
    codes, levels = coded(column)
    numbers = codes.fill_null(len(levels)).to_numpy()
    used = np.flatnonzero(np.bincount(numbers, minlength=len(levels) + 1))
    if len(used) > MAX_GROUPS:
        raise BadInput(f"column {shown(name)} makes {len(used)} groups; the limit is {MAX_GROUPS} groups")
    begins = np.zeros(len(levels) + 1, np.int64)
    begins[numbers[::-1]] = np.arange(len(numbers) - 1, -1, -1)
    used = used[np.argsort(begins[used])]
    rank = np.zeros(len(levels) + 1, np.int16)
    rank[used] = np.arange(len(used))
    known = pa.array(used, pa.int64(), mask=used == len(levels))
    return rank[numbers], pa.chunked_array([levels.take(known)])


def _document(name: str, values: pa.ChunkedArray, sizes: Any) -> bytes:
    # Text needs as many bytes of JSON as it has, or more; and what is far too much should not become Python's first.
    if values.nbytes <= 2 * MAX_BYTES:
        offsets = np.cumsum(sizes) - sizes
        each = zip(json_cells(values), offsets.tolist(), sizes.tolist(), strict=True)
        data = compact([{"value": value, "offset": offset, "rows": rows} for value, offset, rows in each])
        if len(data) <= MAX_BYTES:
            return data
    raise BadInput(
        f"column {shown(name)} makes {len(values)} groups, and their values take more than {MAX_BYTES} bytes of JSON,"
        " which is the limit"
    )


def _in_order(table: pa.Table, order: Any) -> Iterator[pa.Table]:
    whole = pa.Table.from_arrays([_in_one_piece(column) for column in table.columns], names=table.column_names)
    rows = max(1, min(_BATCH_ROWS, table.num_rows * _BATCH_BYTES // max(1, table.nbytes)))
    for start in range(0, max(1, len(order)), rows):
        part = whole.take(pa.array(order[start : start + rows]))
        yield part if part.schema == table.schema else part.cast(table.schema)


def _in_one_piece(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Give a column in one chunk, else Arrow would put it together for every batch."""
    wide = {pa.string(): pa.large_string(), pa.binary(): pa.large_binary()}
    if column.num_chunks > 1 and column.nbytes >= _LARGE_BYTES and column.type in wide:
        column = column.cast(wide[column.type])
    return pa.chunked_array([column.combine_chunks()])
