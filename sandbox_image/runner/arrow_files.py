"""The formats that have types: Arrow file, Arrow stream and Parquet.  Only the wanted columns are read."""

from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as kind

from runner.failure import BadInput, UnsupportedValue
from runner.job import Reading, Warn
from runner.selection import chosen, fit_names

_END_OF_STREAM = b"\xff\xff\xff\xff\x00\x00\x00\x00"
_FILE_MAGIC = b"ARROW1"
_NANOSECONDS = 2**63 // 1000  # so many microseconds from 1970 can be told in nanoseconds


def read_arrow(source: Any, reading: Reading, warn: Warn) -> pa.Table:
    """Read an Arrow file.  Raises `BadInput`, or an error of pyarrow."""
    del warn
    if source.read(len(_FILE_MAGIC)) != _FILE_MAGIC:
        raise BadInput("it is not an Arrow file (a stream of Arrow batches is the format arrow_stream)")
    return _selected(source, reading, pa.ipc.open_file)


def read_arrow_stream(source: Any, reading: Reading, warn: Warn) -> pa.Table:
    """Read an Arrow stream that is complete: to Arrow's reader, one that was cut looks like a shorter one."""
    del warn
    if source.read(len(_FILE_MAGIC)) == _FILE_MAGIC:
        raise BadInput("it is an Arrow file, not a stream; its format is arrow")
    source.seek(0)
    messages = pa.ipc.MessageReader.open_stream(source)
    end = 0
    try:
        while True:
            messages.read_next_message()
            end = source.tell()
    except StopIteration:
        source.seek(end)
    if source.read(len(_END_OF_STREAM)) != _END_OF_STREAM:
        raise BadInput("the stream was cut: its end marker is missing")
    return _selected(source, reading, pa.ipc.open_stream)


def read_parquet(source: Any, reading: Reading, warn: Warn) -> pa.Table:
    """Read a Parquet file.  Raises `BadInput`, or an error of pyarrow.

    Times of the old 96-bit kind are read in nanoseconds, or, when one is too far away for that, in
    microseconds, with a warning.
    """
    from pyarrow import parquet  # here: every start would pay 30 ms for it

    file = parquet.ParquetFile(source)
    if not any(file.schema.column(n).physical_type == "INT96" for n in range(len(file.schema))):
        return _selected_parquet(file, reading)
    table = _selected_parquet(parquet.ParquetFile(source, coerce_int96_timestamp_unit="us"), reading)
    far = [name for name, column in zip(table.column_names, table.columns, strict=True) if _is_far(column)]
    if not far:
        return _selected_parquet(file, reading)
    warn("precision_lost", f"column {far[0]!r} holds 96-bit times beyond nanoseconds; they were cut to microseconds")
    return table


def write_arrow(table: pa.Table, file: Any) -> None:
    """Write an Arrow file, which has one dictionary for each column of categories."""
    with pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table.unify_dictionaries())


def write_arrow_stream(table: pa.Table, file: Any) -> None:
    """Write an Arrow stream."""
    with pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table)


def write_parquet(table: pa.Table, file: Any) -> None:
    """Write a Parquet file.  Raises `UnsupportedValue` naming the column that it cannot hold."""
    from pyarrow import parquet

    try:
        parquet.write_table(table, file)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        for name, column in zip(table.column_names, table.columns, strict=True):
            try:
                parquet.write_table(pa.table({name: column}), pa.MockOutputStream())
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as reason:
                raise UnsupportedValue(f"column {name!r} ({column.type}): Parquet cannot hold it: {reason}") from error
        raise


def _selected(source: Any, reading: Reading, opened: Callable[..., Any]) -> pa.Table:
    """Read the wanted columns.  All of them lie where the file is mapped; of a selection, Arrow makes a copy."""
    source.seek(0)
    reader = opened(source)
    names = fit_names(reader.schema.names)
    positions = chosen(names, reading)
    read = sorted(positions)
    if len(read) < len(names):
        source.seek(0)
        reader = opened(source, options=pa.ipc.IpcReadOptions(included_fields=read))
    return _in_order(reader.read_all(), [read.index(position) for position in positions], [names[n] for n in positions])


def _selected_parquet(file: Any, reading: Reading) -> pa.Table:
    """Read whole columns by name: Parquet's reader takes no positions, and no name that comes twice."""
    raw = file.schema_arrow.names
    names = fit_names(raw)
    positions = chosen(names, reading)
    whole = len(set(raw)) < len(raw) or len(positions) == len(raw)
    table = file.read(None if whole else [raw[position] for position in positions])
    # A name with a dot in it may bring a nested column along.
    there = list(range(len(raw))) if whole else [raw.index(name) for name in table.column_names]
    return _in_order(table, [there.index(position) for position in positions], [names[n] for n in positions])


def _in_order(table: pa.Table, positions: list[int], names: list[str]) -> pa.Table:
    fields = [table.schema.field(n).with_name(name) for n, name in zip(positions, names, strict=True)]
    return pa.Table.from_arrays([table.column(n) for n in positions], schema=pa.schema(fields))


def _is_far(column: pa.ChunkedArray) -> bool:
    if not kind.is_timestamp(column.type) or column.type.unit != "us":
        return False
    extremes = pc.min_max(column.cast(pa.int64())).as_py().values()
    return any(value is not None and abs(value) >= _NANOSECONDS for value in extremes)
