"""The formats at the edge: every one is read into, and written straight from, an Arrow table."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa

from runner import arrow_files, azure, csv_writer, delimited, records
from runner.compressed import inflated
from runner.conversion import converted
from runner.failure import BadInput, EmptyInput
from runner.frames import checked
from runner.job import Input, Reading, Warn
from runner.output_file import Layout, OutputFile, TableWriter

TEXTS = ("csv", "tsv", "json", "azure_json")
"""The formats without types of their own."""
_SMALL_BYTES = 256 * 1024
"""From a file, Arrow reads with threads, which cost more than to read so much; from memory, without."""


def read_table(path: Path, entry: Input, inflated_bytes: int, warn: Warn, called: str | None = None) -> pa.Table:
    """Read the table of an input port, the way its author wants it read.

    Raises `BadInput` naming the port, or what the table is `called`, the format and the reason; or what of it has a
    code of its own: an empty file, a column that is not there, a cell that cannot be converted, a type that is not
    supported.
    """
    with blaming(entry.port, entry.format, called):
        _refuse_useless_options(entry)
        with _source(path, entry.compression, inflated_bytes) as source:
            table = checked(_rows(source, entry, warn), warn)
        # The readers of text have done it already, from the text itself.
        return converted(table, entry.reading) if entry.format not in TEXTS else table


@contextmanager
def blaming(port: int, form: str, called: str | None = None) -> Iterator[None]:
    """Name the port and the format in whatever goes wrong: nothing of the script has run yet."""
    table = called or f"the table on input port {port} (dataframe{port})"
    with refusing(f"{table} cannot be read as {form}"):
        yield


@contextmanager
def refusing(what: str) -> Iterator[None]:
    """Put `what` before the reason of whatever goes wrong, which becomes `BadInput` unless it has a code of its own."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:
        why = getattr(error, "strerror", None) or str(error).strip() or type(error).__name__
        raised = type(error) if isinstance(error, BadInput) else BadInput
        raise raised(f"{what}: {why}") from error


def open_output(path: Path, form: str, limit: int, layout: Layout) -> OutputFile:
    """Give what tables of one layout, one after the other, are written to; the file exists already.

    With an error it is left empty: `OutputLimit` when it does not fit, `UnsupportedValue` when the format cannot
    hold one of the columns.
    """
    return OutputFile(path, form, limit, lambda sink: _WRITERS[form](sink, layout))


def _rows(source: Any, entry: Input, warn: Warn) -> pa.Table:
    """Read a table, or the rows of it that are wanted; it is not verified yet."""
    wanted = entry.slice
    if wanted is not None and entry.format == "arrow":
        return arrow_files.read_arrow_rows(source, entry.reading, wanted)
    table = _READERS[entry.format](source, entry.reading, warn)
    return table if wanted is None else table.slice(wanted.offset, wanted.rows)


@contextmanager
def _source(path: Path, compression: str | None, limit: int) -> Iterator[Any]:
    """Open the file, inflated if it is compressed; it is mapped, not read, unless it is small."""
    size = path.stat().st_size
    if size == 0:
        raise EmptyInput("the file is empty")
    with pa.memory_map(str(path)) if size > _SMALL_BYTES else pa.BufferReader(path.read_bytes()) as file:
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
    "encoding": TEXTS,
    "missing": TEXTS,
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
_WRITERS: dict[str, Callable[[Any, Layout], TableWriter]] = {
    "arrow": arrow_files.ArrowWriter,
    "arrow_stream": arrow_files.arrow_stream_writer,
    "parquet": arrow_files.ParquetWriter,
    "csv": csv_writer.CsvWriter,
    "tsv": csv_writer.tsv_writer,
    "json": records.JsonWriter,
    "azure_json": azure.AzureWriter,
}
