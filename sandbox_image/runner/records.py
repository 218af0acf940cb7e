"""JSON: a list of objects, one per row."""

import base64
import datetime
import decimal
import json
import math
from typing import Any

import pyarrow as pa
import pyarrow.types as kind

from runner import kinds
from runner.cells import written
from runner.failure import BadInput, type_name
from runner.job import Warn

_ROWS_AT_ONCE = 8192
_INFINITIES = {"Infinity": math.inf, "-Infinity": -math.inf}


def read_json(source: Any, warn: Warn) -> pa.Table:
    """Read a list of objects.  A key that an object lacks is a missing value; text always stays text.

    Raises `BadInput` naming the row and the column of what does not fit.
    """
    try:
        rows = json.loads(source.read().decode("utf-8-sig"), object_pairs_hook=_without_repeats)
    except UnicodeDecodeError as error:
        raise BadInput(f"byte {error.start} (counted from 0) is not UTF-8 text: {error.reason}") from error
    if not isinstance(rows, list):
        raise BadInput(f"it must be a list of objects (records), not a {type_name(rows)}")
    names: dict[str, None] = {}
    for number, row in enumerate(rows):
        if not isinstance(row, dict):
            raise BadInput(f"row {number} must be an object, not a {type_name(row)}")
        names.update(dict.fromkeys(row))
    columns = [_column([row.get(name) for row in rows], name, warn) for name in names]
    return pa.Table.from_arrays(columns, names=[_clean(name) for name in names])


def write_json(table: pa.Table, file: Any) -> None:
    """Write a list of objects in UTF-8; missing is null, and the infinities are text."""
    names = table.column_names
    columns = [written(table.column(n), name) for n, name in enumerate(names)]
    file.write(b"[")
    for start in range(0, table.num_rows, _ROWS_AT_ONCE):
        values = [_values(column.slice(start, _ROWS_AT_ONCE)) for column in columns]
        rows = [dict(zip(names, row, strict=True)) for row in zip(*values, strict=True)]
        text = json.dumps(rows, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        file.write((",\n" if start else "").encode() + text[1:-1].encode("utf-8"))
    file.write(b"]\n")


def plain(value: Any) -> Any:
    """Give a cell, with everything inside it, in values that JSON has."""
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, decimal.Decimal | datetime.timedelta):
        return str(value)
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def _values(column: pa.ChunkedArray) -> list[Any]:
    values: list[Any] = column.to_pylist()
    simple = kind.is_integer(column.type) or kind.is_boolean(column.type) or kind.is_string(column.type)
    return values if simple else [plain(value) for value in values]


def _column(values: list[Any], name: str, warn: Warn) -> pa.Array:
    if any(isinstance(value, float) for value in values):
        values = [_INFINITIES.get(value, value) if isinstance(value, str) else value for value in values]
    for row, value in enumerate(values):
        if kinds.too_deep(value):
            raise BadInput(f"column {name!r}, row {row} is nested more than {kinds.MAX_DEPTH} deep")
    try:
        return pa.array(values)
    except UnicodeEncodeError:
        warn("surrogates_replaced", f"column {name!r} holds text with lone surrogates; they are now '?'")
        return pa.array([_clean(value) if isinstance(value, str) else value for value in values])
    except (pa.ArrowException, TypeError, OverflowError) as error:
        found: dict[str, int] = {}
        for row, value in enumerate(values):
            if value is not None:
                found.setdefault(type_name(value), row)
        places = ", ".join(f"{kind_name} (row {row})" for kind_name, row in found.items())
        raise BadInput(f"column {name!r} holds values that do not fit one type: {places}; {error}") from error


def _clean(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8")


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        repeated = next(name for name in names if names.count(name) > 1)
        raise BadInput(f"an object holds the key {repeated!r} twice")
    return found
