"""Arrow to pandas and back: names, index, types, missing values.

The rules are in docs/script-contract.md.  Going in, a table was read and validated; coming out, a frame may
hold anything, and what a table cannot hold is refused by name rather than changed in silence.
"""

import pandas as pd
import pyarrow as pa
import pyarrow.pandas_compat  # to_pandas would load it when the job is already running
import pyarrow.types as kind

from runner import kinds
from runner.columns import from_arrow, from_series
from runner.failure import BadInput
from runner.job import Warn
from runner.names import column_names, unique

MAX_ROWS = 2**31 - 1
_THREADS_FROM_CELLS = 200_000  # below it, starting threads costs more than they save


def checked(table: pa.Table) -> pa.Table:
    """Make a table that was just read fit for use; raise `BadInput` when it is not.

    Its offsets and lengths are verified in full (the readers of Arrow do not), its types are of the allowed
    kind, its metadata is gone (pandas would act upon it), and its column names are distinct.
    """
    if table.num_rows > MAX_ROWS:
        raise BadInput(f"it has {table.num_rows} rows; at most {MAX_ROWS} are allowed")
    for field in table.schema:
        if not kinds.is_allowed(field.type):
            raise BadInput(f"column {field.name!r} has the type {field.type}, which is not supported")
    try:
        table.validate(full=True)
    except pa.ArrowInvalid as error:
        raise BadInput(f"it is corrupt: {error}") from error
    schema = pa.schema(list(zip(unique(_filled(table.column_names)), table.schema.types, strict=True)))
    return pa.Table.from_arrays(table.columns, schema=schema)


def to_pandas(table: pa.Table, warn: Warn) -> pd.DataFrame:
    """Give a checked table as a frame with the index 0..n-1; a copy, which the script may change."""
    columns = [_arriving(table.column(n), name, warn) for n, name in enumerate(table.column_names)]
    plain = pa.Table.from_arrays(
        [pa.nulls(len(c), pa.bool_()) if c.type == kinds.COMPLEX else c for c in columns],
        names=table.column_names,
    )
    frame: pd.DataFrame = plain.to_pandas(
        date_as_object=False,
        ignore_metadata=True,
        use_threads=table.num_rows * table.num_columns >= _THREADS_FROM_CELLS,
    )
    for position, column in enumerate(columns):
        if column.type == kinds.COMPLEX:
            frame.isetitem(position, kinds.complex_values(column))
    return frame


def to_arrow(value: pd.DataFrame | pa.Table, profile: str, warn: Warn) -> pa.Table:
    """Turn the table that a script returned into an Arrow table without index and without metadata.

    Raises `UnsupportedValue` naming the column, the row and the type of what a table cannot hold.
    """
    nested = profile == "designer"
    if isinstance(value, pa.Table):
        names = column_names(value.column_names, warn)
        arrays = [from_arrow(c, n, nested, warn) for c, n in zip(value.columns, names, strict=True)]
    else:
        _warn_of_index(value, warn)
        names = column_names(value.columns, warn)
        arrays = [from_series(value.iloc[:, n], name, nested, warn) for n, name in enumerate(names)]
    return pa.Table.from_arrays(arrays, names=names)


def _filled(names: list[str]) -> list[str]:
    return [name or f"Col{position}" for position, name in enumerate(names, start=1)]


def _arriving(column: pa.ChunkedArray, name: str, warn: Warn) -> pa.ChunkedArray:
    """Settle the types for which pandas has no counterpart, or a surprising one."""
    column = kinds.without_views(column)
    data_type = column.type
    if kind.is_dictionary(data_type):
        settled = kinds.categories(column)
        return settled if kind.is_dictionary(settled.type) else _arriving(settled, name, warn)
    if kind.is_null(data_type):
        return column.cast(pa.float64())
    if kind.is_timestamp(data_type):
        return kinds.without_zone(column, name, warn)
    if kind.is_decimal(data_type):
        return kinds.decimals_as_floats(column, name, warn)
    if data_type == pa.time64("ns"):
        return _microseconds(column, name, warn)
    if kind.is_integer(data_type) and column.null_count and kinds.beyond(column, kinds.EXACT_FLOAT):
        warn(
            "precision_lost",
            f"column {name!r} holds integers beyond 2^53 and missing values; it arrives as floating point,"
            " which cannot hold all of them exactly",
        )
    return column


def _microseconds(column: pa.ChunkedArray, name: str, warn: Warn) -> pa.ChunkedArray:
    rounded = column.cast(pa.time64("us"), safe=False)
    if not rounded.cast(pa.time64("ns")).equals(column):
        warn("precision_lost", f"column {name!r} holds times of day finer than a microsecond; they were cut")
    return rounded


def _warn_of_index(frame: pd.DataFrame, warn: Warn) -> None:
    named = [str(name) for name in frame.index.names if name is not None]
    if named:
        warn(
            "index_dropped",
            f"the index {', '.join(map(repr, named))} of the returned frame is not part of the result;"
            " use reset_index() to make it a column",
        )
