"""statistics.json: what can be said of each column of a table; one column after the other is looked at."""

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as kind

from runner import cells
from runner.json_cells import compact, json_cells
from runner.keys import coded, comparable, is_comparable
from runner.report import short_name

BYTES = 4 * 1024 * 1024
DISTINCT = 100_000
TOP = 5
_FEW = 1000
"""The most frequent values are told of columns that have so many distinct ones, and no more."""
_CHARACTERS = 100
_DISTINCT_BYTES = 64 * 1024 * 1024
_BLOCK_ROWS = 2**18
_BLOCK_BYTES = 16 * 1024 * 1024
_ORDERED = (
    kind.is_integer, kind.is_floating, kind.is_decimal, kind.is_temporal, kind.is_string, kind.is_large_string,
)  # fmt: skip


def statistics(table: pa.Table) -> bytes:
    """Give the bytes of statistics.json.

    When they would be too many, the most frequent values are left out, and then the last columns; `truncated` says
    so.  NaN is missing, as in every text format.
    """
    document: dict[str, Any] = {"rows": table.num_rows, "bytes": table.nbytes, "truncated": True, "columns": []}
    columns: list[dict[str, Any]] = []
    room = with_top = BYTES - len(compact(document))
    for field, column in zip(table.schema, table.columns, strict=True):
        found = _of_column(field, column, with_top >= 0)
        with_top -= len(compact(found)) + 1
        room -= len(compact(found | {"top": None})) + 1
        if room < 0:
            break
        columns.append(found)
    if with_top < 0:
        columns = [found | {"top": None} for found in columns]
    return compact(document | {"truncated": with_top < 0, "columns": columns})


def _of_column(field: pa.Field, column: pa.ChunkedArray, with_top: bool) -> dict[str, Any]:
    found: dict[str, Any] = {"name": short_name(field.name), "type": short_name(str(field.type))}
    found |= {"nulls": column.null_count} | dict.fromkeys(
        ("distinct", "minimum", "maximum", "mean", "standard_deviation", "true_count", "top")
    )
    if not is_comparable(column.type):
        return found
    if kind.is_dictionary(column.type):
        codes, levels = coded(column)
        used = codes.unique().drop_null()
        found |= _extremes(pa.chunked_array([levels.take(used)]))
        found |= {"nulls": codes.null_count, "distinct": len(used) if len(used) <= DISTINCT else None}
        return found | ({"top": _top(codes, levels)} if with_top and len(used) <= _FEW else {})
    values = comparable(column)
    distinct = _distinct(values)
    found |= {"nulls": values.null_count, "distinct": distinct} | _extremes(values) | _moments(values)
    if kind.is_boolean(values.type):
        found["true_count"] = pc.sum(values).as_py() or 0
    is_text = kind.is_string(values.type) or kind.is_large_string(values.type)
    if with_top and is_text and distinct is not None and distinct <= _FEW:
        found["top"] = _top(values, None)
    return found


def _extremes(values: pa.ChunkedArray) -> dict[str, Any]:
    data_type = values.type
    if not any(test(data_type) for test in _ORDERED):
        return {}
    if kind.is_duration(data_type):
        values = values.cast(pa.int64())
    found = pc.min_max(values)
    ends = [found["min"], found["max"]]
    if kind.is_string(data_type) or kind.is_large_string(data_type):
        ends = [pc.utf8_slice_codeunits(end, 0, _CHARACTERS + 1) for end in ends]
    both = pa.array(ends, values.type).cast(data_type)
    return dict(zip(("minimum", "maximum"), json_cells(pa.chunked_array([both]), _CHARACTERS), strict=True))


def _moments(values: pa.ChunkedArray) -> dict[str, Any]:
    """Give mean and standard deviation (of a sample, as pandas has it) of numbers."""
    if kind.is_decimal(values.type):
        values = values.cast(pa.float64())
    elif not (kind.is_integer(values.type) or kind.is_floating(values.type)):
        return {}
    mean, deviation = pc.mean(values).as_py(), pc.stddev(values, ddof=1).as_py()
    return {"mean": cells.plain(mean), "standard_deviation": cells.plain(deviation)}


def _distinct(values: pa.ChunkedArray) -> int | None:
    """Count the distinct values; None when there are too many, or when they take too much memory to tell."""
    seen = pa.array([], values.type)
    rows = max(1, min(_BLOCK_ROWS, len(values) * _BLOCK_BYTES // max(1, values.nbytes)))
    for start in range(0, len(values), rows):
        block = values.slice(start, rows).unique().drop_null()
        fresh = block.filter(pc.invert(pc.is_in(block, value_set=seen)))
        if len(fresh):
            seen = pa.concat_arrays([seen, fresh])
        if len(seen) > DISTINCT or seen.nbytes > _DISTINCT_BYTES:
            return None
    return len(seen)


def _top(values: pa.ChunkedArray, levels: pa.Array | None) -> list[list[Any]]:
    """Give the most frequent values, each with its number; of two that are as frequent, the one that comes first."""
    counted = values.drop_null().value_counts()
    numbers = counted.field("counts").to_pylist()
    places = sorted(range(len(numbers)), key=lambda n: -numbers[n])[:TOP]
    best = counted.field("values").take(pa.array(places, pa.int64()))
    shown = json_cells(pa.chunked_array([best if levels is None else levels.take(best)]), _CHARACTERS)
    return [[value, numbers[n]] for value, n in zip(shown, places, strict=True)]
