"""The formats that have types: Arrow file, Arrow stream and Parquet.  Only the wanted columns are read."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as kind

from runner.failure import BadInput, UnsupportedValue
from runner.job import Reading, Slice, Warn
from runner.output_file import Layout
from runner.selection import chosen, fit_names

_END_OF_STREAM = b"\xff\xff\xff\xff\x00\x00\x00\x00"
_FILE_MAGIC = b"ARROW1"
_NANOSECONDS = 2**63 // 1000  # so many microseconds from 1970 can be told in nanoseconds


def read_arrow(source: Any, reading: Reading, warn: Warn) -> pa.Table:
    """Read an Arrow file.  Raises `BadInput`, or an error of pyarrow."""
    del warn
    _expect_arrow_file(source)
    return _selected(source, reading, pa.ipc.open_file)


def read_arrow_rows(source: Any, reading: Reading, rows: Slice) -> pa.Table:
    """Read some rows of an Arrow file: one batch after the other, of which only those that have one are kept.

    Raises as `read_arrow` does.
    """
    _expect_arrow_file(source)
    positions, names, file = _selection(source, reading, pa.ipc.open_file)
    kept, passed, end = [], 0, rows.offset + rows.rows
    for number in range(file.num_record_batches):
        batch = file.get_batch(number)
        before, passed = passed, passed + batch.num_rows
        # The last one is kept in any case: categories have their levels in a batch, be it without a row.
        if passed > rows.offset or number == file.num_record_batches - 1:
            first = min(max(0, rows.offset - before), batch.num_rows)
            kept.append(batch.slice(first, end - max(before, rows.offset)))
        if passed >= end:
            break
    return _in_order(pa.Table.from_batches(kept, file.schema), positions, names)


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


class ArrowWriter:
    """Writes an Arrow file, which has one dictionary for each column of categories: all tables share it."""

    def __init__(self, file: Any, layout: Layout) -> None:
        self._writer = pa.ipc.new_file(file, layout.schema)

    def write_table(self, table: pa.Table) -> None:
        """Write rows."""
        self._writer.write_table(table.unify_dictionaries())

    def close(self) -> None:
        """Write the places of the batches."""
        self._writer.close()


def arrow_stream_writer(file: Any, layout: Layout) -> Any:
    """Write an Arrow stream."""
    return pa.ipc.new_stream(file, layout.schema)


class ParquetWriter:
    """Writes a Parquet file.  Raises `UnsupportedValue` naming the column that it cannot hold."""

    def __init__(self, file: Any, layout: Layout) -> None:
        from pyarrow import parquet

        with _naming_the_column(layout.schema.empty_table()):
            self._writer = parquet.ParquetWriter(file, layout.schema)

    def write_table(self, table: pa.Table) -> None:
        """Write rows."""
        with _naming_the_column(table):
            self._writer.write_table(table)

    def close(self) -> None:
        """Write what Parquet has at the end."""
        self._writer.close()


@contextmanager
def _naming_the_column(table: pa.Table) -> Iterator[None]:
    from pyarrow import parquet

    try:
        yield
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        for name, column in zip(table.column_names, table.columns, strict=True):
            try:
                parquet.write_table(pa.table({name: column}), pa.MockOutputStream())
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as reason:
                raise UnsupportedValue(f"column {name!r} ({column.type}): Parquet cannot hold it: {reason}") from error
        raise


def _expect_arrow_file(source: Any) -> None:
    if source.read(len(_FILE_MAGIC)) != _FILE_MAGIC:
        raise BadInput("it is not an Arrow file (a stream of Arrow batches is the format arrow_stream)")


def _selected(source: Any, reading: Reading, opened: Callable[..., Any]) -> pa.Table:
    positions, names, reader = _selection(source, reading, opened)
    return _in_order(reader.read_all(), positions, names)


def _selection(source: Any, reading: Reading, opened: Callable[..., Any]) -> tuple[list[int], list[str], Any]:
    """Give the wanted columns by their places among those that are read, their names, and what reads them."""
    source.seek(0)
    reader = opened(source)
    names = fit_names(reader.schema.names)
    positions = chosen(names, reading)
    read = sorted(positions)
    if len(read) < len(names):  # then Arrow copies what it reads; else a file that is mapped is read in place
        source.seek(0)
        reader = opened(source, options=pa.ipc.IpcReadOptions(included_fields=read))
    return _places(positions, read), [names[n] for n in positions], reader


def _selected_parquet(file: Any, reading: Reading) -> pa.Table:
    """Read whole columns by name: Parquet's reader takes no positions, and no name that comes twice."""
    raw = file.schema_arrow.names
    names = fit_names(raw)
    positions = chosen(names, reading)
    whole = len(set(raw)) < len(raw) or len(positions) == len(raw)
    table = file.read(None if whole else [raw[position] for position in positions])
    # A name with a dot in it may bring a nested column along.
    place = {name: n for n, name in enumerate(raw)}
    there = list(range(len(raw))) if whole else [place[name] for name in table.column_names]
    return _in_order(table, _places(positions, there), [names[n] for n in positions])


def _places(positions: list[int], read: list[int]) -> list[int]:
    """Give the place of each column among those that were read."""
    place = {position: n for n, position in enumerate(read)}
    return [place[position] for position in positions]


def _in_order(table: pa.Table, positions: list[int], names: list[str]) -> pa.Table:
    fields = [table.schema.field(n).with_name(name) for n, name in zip(positions, names, strict=True)]
    return pa.Table.from_arrays([table.column(n) for n in positions], schema=pa.schema(fields))


def _is_far(column: pa.ChunkedArray) -> bool:
    if not kind.is_timestamp(column.type) or column.type.unit != "us":
        return False
    extremes = pc.min_max(column.cast(pa.int64())).as_py().values()
    return any(value is not None and abs(value) >= _NANOSECONDS for value in extremes)
