"""The formats at the edge: every one is read into, and written straight from, an Arrow table."""

import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from runner import delimited, records
from runner.failure import BadInput, OutputLimit
from runner.frames import checked, to_pandas
from runner.job import Warn

_END_OF_STREAM = b"\xff\xff\xff\xff\x00\x00\x00\x00"
_FILE_MAGIC = b"ARROW1"


def read_table(path: Path, form: str, port: int, warn: Warn) -> pa.Table:
    """Read the table of an input port.  Raises `BadInput` naming the port, the format and the reason."""
    with _blaming(port, form), _source(path) as source:
        return checked(_READERS[form](source, warn))


def read_frame(path: Path, form: str, port: int, warn: Warn) -> pd.DataFrame:
    """Read the table of an input port as the frame that the script gets.  Raises `BadInput`, as above."""
    table = read_table(path, form, port, warn)
    with _blaming(port, form):
        return to_pandas(table, warn)


@contextmanager
def _blaming(port: int, form: str) -> Iterator[None]:
    """Name the port and the format in whatever goes wrong: nothing of the script has run yet."""
    where = f"the table on input port {port} (dataframe{port}) cannot be read as {form}"
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:
        why = getattr(error, "strerror", None) or str(error).strip() or type(error).__name__
        raise BadInput(f"{where}: {why}") from error


def write_table(table: pa.Table, path: Path, form: str, limit: int) -> int:
    """Write a table to a file that exists already, and give its size in bytes.

    Raises `OutputLimit` when it does not fit; the file is then empty.  Raises `UnsupportedValue` when the
    format cannot hold one of the columns.
    """
    with _Sink(path) as sink:
        try:
            _WRITERS[form](table, sink)
        except OSError as error:
            sink.empty()
            raise OutputLimit(
                f"the output file {path.name!r} ({form}) does not fit: {error.strerror or error};"
                f" the limit is {limit} bytes in one file (output_bytes)"
            ) from error
        return sink.size


class _Sink(io.RawIOBase):
    """A file that is written as a whole or not at all.

    Nothing is buffered: at the size limit of a file a write stops short, the next one gives the error, and
    a buffer would try once more when it is closed.
    """

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC)
        self.size = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        rest = memoryview(data).cast("B")
        length = len(rest)
        while rest:
            written = os.write(self._descriptor, rest)
            self.size += written
            rest = rest[written:]
        return length

    def tell(self) -> int:
        return self.size

    def empty(self) -> None:
        os.ftruncate(self._descriptor, 0)

    def close(self) -> None:
        # The writers of Arrow close what they write to, and so does the `with` statement.
        if not self.closed:
            super().close()
            os.close(self._descriptor)


def _source(path: Path) -> Any:
    if path.stat().st_size == 0:
        raise BadInput("the file is empty")
    return pa.memory_map(str(path))


def _read_arrow(source: Any, warn: Warn) -> pa.Table:
    del warn
    if source.read(len(_FILE_MAGIC)) != _FILE_MAGIC:
        raise BadInput("it is not an Arrow file (a stream of Arrow batches is the format arrow_stream)")
    return pa.ipc.open_file(source).read_all()


def _read_arrow_stream(source: Any, warn: Warn) -> pa.Table:
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
    source.seek(0)
    return pa.ipc.open_stream(source).read_all()


def _read_parquet(source: Any, warn: Warn) -> pa.Table:
    from pyarrow import parquet

    del warn
    return parquet.ParquetFile(source).read()


def _write_arrow(table: pa.Table, file: Any) -> None:
    with pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)


def _write_arrow_stream(table: pa.Table, file: Any) -> None:
    with pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table)


def _write_parquet(table: pa.Table, file: Any) -> None:
    from pyarrow import parquet

    parquet.write_table(table, file)


_READERS: dict[str, Callable[[Any, Warn], pa.Table]] = {
    "arrow": _read_arrow,
    "arrow_stream": _read_arrow_stream,
    "parquet": _read_parquet,
    "csv": delimited.read_csv,
    "tsv": delimited.read_tsv,
    "json": records.read_json,
}
_WRITERS: dict[str, Callable[[pa.Table, Any], None]] = {
    "arrow": _write_arrow,
    "arrow_stream": _write_arrow_stream,
    "parquet": _write_parquet,
    "csv": delimited.write_csv,
    "json": records.write_json,
}
