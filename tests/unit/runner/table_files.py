"""Tables to and from files, as the runner reads and writes them: what the tests of the formats share."""

import gzip
import io
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet
from runner import cells
from runner.formats import TEXTS, open_output, read_table
from runner.job import Input, Reading
from runner.output_file import Layout
from runner_jobs import Noted

ROOM = 10**9


def read(
    directory: Path, data: bytes, form: str, noted: Noted | None = None, compression: str | None = None,
    inflated_bytes: int = ROOM, **reading: Any,
) -> pa.Table:  # fmt: skip
    """The table of a file with these bytes; `reading` is what its author states."""
    path = directory / "dataframe1"
    path.write_bytes(data)
    entry = Input(1, path.name, form, compression, Reading(**reading))
    return read_table(path, entry, inflated_bytes, noted or Noted())


def write_table(table: pa.Table, path: Path, form: str, limit: int) -> int:
    """Write a table to a file that exists; gives its size."""
    units = tuple(map(cells.unit, table.columns)) if form in TEXTS else ()
    with open_output(path, form, limit, Layout(table.schema, units)) as file:
        file.write_table(table)
    return file.size


def written(directory: Path, table: pa.Table, form: str) -> bytes:
    """The bytes of a file with this table."""
    path = directory / "result"
    path.touch()
    size = write_table(table, path, form, ROOM)
    data = path.read_bytes()
    assert size == len(data)
    return data


def parquet_bytes(table: pa.Table, **options: Any) -> bytes:
    """A Parquet file of a table."""
    file = io.BytesIO()
    parquet.write_table(table, file, **options)
    return file.getvalue()


def compressed(data: bytes, compression: str) -> bytes:
    """One member, or frame, of compressed data."""
    if compression == "gzip":
        return gzip.compress(data, mtime=0)
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, compression) as stream:
        stream.write(data)
    return sink.getvalue().to_pybytes()
