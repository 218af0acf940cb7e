"""The formats at the edge: every one is read into, and written straight from, an Arrow table."""

import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa

from runner import arrow_files, azure, csv_writer, delimited, records
from runner.compressed import inflated
from runner.conversion import converted
from runner.failure import BadInput, EmptyInput, OutputLimit
from runner.frames import checked
from runner.job import Input, Reading, Warn

_WITH_TYPES = ("arrow", "arrow_stream", "parquet")


def read_table(path: Path, entry: Input, inflated_bytes: int, warn: Warn) -> pa.Table:
    """Read the table of an input port, the way its author wants it read.

    Raises `BadInput` naming the port, the format and the reason, or what of it has a code of its own: an empty
    file, a column that is not there, a cell that cannot be converted, a type that is not supported.
    """
    with blaming(entry.port, entry.format):
        _refuse_useless_options(entry)
        with _source(path, entry.compression, inflated_bytes) as source:
            table = checked(_READERS[entry.format](source, entry.reading, warn), warn)
        # The readers of text have done it already, from the text itself.
        return converted(table, entry.reading) if entry.format in _WITH_TYPES else table


@contextmanager
def blaming(port: int, form: str) -> Iterator[None]:
    """Name the port and the format in whatever goes wrong: nothing of the script has run yet."""
    where = f"the table on input port {port} (dataframe{port}) cannot be read as {form}"
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:
        why = getattr(error, "strerror", None) or str(error).strip() or type(error).__name__
        raised = type(error) if isinstance(error, BadInput) else BadInput
        raise raised(f"{where}: {why}") from error


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


@contextmanager
def _source(path: Path, compression: str | None, limit: int) -> Iterator[Any]:
    """Open the file, inflated if it is compressed; it is mapped, not read."""
    if path.stat().st_size == 0:
        raise EmptyInput("the file is empty")
    with pa.memory_map(str(path)) as file:
        if compression is None:
            yield file
            return
        data = inflated(file, compression, limit)
    if not data.size:
        raise EmptyInput("the file is empty once it is inflated")
    with pa.BufferReader(data) as file:
        del data  # else it would live as long as the whole table
        yield file


def _refuse_useless_options(entry: Input) -> None:
    """An option that a format has no use for is an error: the author expects something of it."""
    for option, formats in _OPTIONS.items():
        if getattr(entry.reading, option) and entry.format not in formats:
            raise BadInput(f"the option {option!r} does not apply to it; it is for {', '.join(formats)}")


_OPTIONS = {
    "delimiter": ("csv", "tsv"),
    "encoding": ("csv", "tsv", "json", "azure_json"),
    "missing": ("csv", "tsv", "json", "azure_json"),
}
_READERS: dict[str, Callable[[Any, Reading, Warn], pa.Table]] = {
    "arrow": arrow_files.read_arrow,
    "arrow_stream": arrow_files.read_arrow_stream,
    "parquet": arrow_files.read_parquet,
    "csv": delimited.read_csv,
    "tsv": delimited.read_tsv,
    "json": records.read_json,
    "azure_json": records.read_azure_json,
}
_WRITERS: dict[str, Callable[[pa.Table, Any], None]] = {
    "arrow": arrow_files.write_arrow,
    "arrow_stream": arrow_files.write_arrow_stream,
    "parquet": arrow_files.write_parquet,
    "csv": csv_writer.write_csv,
    "tsv": csv_writer.write_tsv,
    "json": records.write_json,
    "azure_json": azure.write,
}
