"""Arrow to pandas and back: names, index, types, missing values.

The rules are in docs/types.md.  Going in, a table was read and validated; coming out, a frame may hold anything,
and what a table cannot hold is refused by name rather than changed in silence.
"""

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.pandas_compat  # to_pandas would load it when the job is already running
import pyarrow.types as kind

from runner import encodings, kinds
from runner.arriving import arriving
from runner.columns import from_arrow, from_series
from runner.failure import BadInput, UnsupportedInput
from runner.job import Profile, Warn
from runner.names import column_names, unique
from runner.notes import Notes, telling
from runner.verify import verify

MAX_ROWS = 2**31 - 1
_THREADS_FROM_CELLS = 200_000  # below it, starting threads costs more than they save


def checked(table: pa.Table, warn: Warn) -> pa.Table:
    """Make a table that was just read fit for use; raise `BadInput` when it is not.

    Its offsets, lengths and texts are verified in full (the readers of Arrow do not), its types are of the allowed
    kind and in their plain form, its metadata is gone (pandas would act upon it), and its column names are
    distinct.  A type that is not allowed is `UnsupportedInput`, with column, row, value and type.
    """
    if table.num_rows > MAX_ROWS:
        raise BadInput(f"it has {table.num_rows} rows; at most {MAX_ROWS} are allowed")
    verify(table, threads=_is_large(table))
    names = unique([name or f"Col{position}" for position, name in enumerate(table.column_names, start=1)])
    fields = [field.with_name(name) for field, name in zip(table.schema, names, strict=True)]
    with telling(warn) as notes:
        columns = [_plain(column, field, notes) for column, field in zip(table.columns, fields, strict=True)]
    return pa.Table.from_arrays(columns, names=names)


def to_pandas(table: pa.Table, dtypes: str, profile: Profile, warn: Warn) -> pd.DataFrame:
    """Give a checked table as a frame with the index 0..n-1; a copy, which the script may change.

    `dtypes` says which types its columns get: see docs/types.md.  Raises `UnsupportedInput` naming the column,
    the row, the value and the type of what has no counterpart in pandas.
    """
    pairs = zip(table.column_names, table.columns, strict=True)
    if dtypes == "arrow":
        return _frame([_without_categories(column, profile) for _, column in pairs], table, pd.ArrowDtype)
    with telling(warn) as notes:
        columns = [
            arriving(_without_categories(column, profile), name, dtypes == "nullable", notes) for name, column in pairs
        ]
    frame = _frame([_or_placeholder(column, table.num_rows) for column in columns], table)
    for position, column in enumerate(columns):
        if not isinstance(column, pa.ChunkedArray):
            frame.isetitem(position, column)
    return frame


def to_arrow(value: pd.DataFrame | pa.Table, profile: Profile, warn: Warn) -> pa.Table:
    """Turn the table that a script returned into an Arrow table without index and without metadata.

    Raises `UnsupportedValue` naming the column, the row, the value and the type of what a table cannot hold.
    """
    with telling(warn) as notes:
        if isinstance(value, pa.Table):
            names = column_names(value.column_names, notes)
            fields = [field.with_name(name) for field, name in zip(value.schema, names, strict=True)]
            arrays = [from_arrow(column, field, notes) for column, field in zip(value.columns, fields, strict=True)]
        else:
            _warn_of_index(value, warn)
            names = column_names(value.columns, notes)
            series = [column for _, column in value.items()]  # by place: several may share a name
            arrays = [from_series(s, name, profile.nested, notes) for s, name in zip(series, names, strict=True)]
    return pa.Table.from_arrays(arrays, names=names)


def _is_large(table: pa.Table) -> bool:
    return bool(table.num_rows * table.num_columns >= _THREADS_FROM_CELLS)


def _plain(column: pa.ChunkedArray, field: pa.Field, notes: Notes) -> pa.ChunkedArray:
    if not kinds.is_allowed(column.type):
        row, value = encodings.first_value(column)
        raise UnsupportedInput(
            f"column {field.name!r}, row {row}: {value}: the type {column.type} is not supported (docs/types.md)"
        )
    return encodings.plain(column, field, notes)


def _without_categories(column: pa.ChunkedArray, profile: Profile) -> pa.ChunkedArray:
    return column if profile.categories or not kind.is_dictionary(column.type) else kinds.decoded(column)


def _or_placeholder(column: Any, rows: int) -> Any:
    """Keep the place of a column that pandas gets from us, by one byte a row until then."""
    return column if isinstance(column, pa.ChunkedArray) else pa.array(np.zeros(rows, np.int8))


def _frame(columns: list[Any], table: pa.Table, types_mapper: Any = None) -> pd.DataFrame:
    frame: pd.DataFrame = pa.Table.from_arrays(columns, names=table.column_names).to_pandas(
        date_as_object=False,
        ignore_metadata=True,
        types_mapper=types_mapper,
        use_threads=_is_large(table),
    )
    return frame


def _warn_of_index(frame: pd.DataFrame, warn: Warn) -> None:
    named = [str(name) for name in frame.index.names if name is not None]
    if named:
        warn(
            "index_dropped",
            f"the index {', '.join(map(repr, named))} of the returned frame is not part of the result;"
            " use reset_index() to make it a column",
        )
