"""Files in /out: each exists already, is written as a whole or not at all, and has a limit."""

import contextlib
import io
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from runner.failure import OutputLimit


@dataclass(frozen=True)
class Layout:
    """What a writer has to know of a table before the first of its rows."""

    schema: pa.Schema
    units: tuple[str | None, ...] = ()
    """For the text formats: the unit that each column of times is written in, see `cells.unit`."""


class TableWriter(Protocol):
    """Writes the rows of tables of one schema, one after the other, and at the end what a format has there."""

    def write_table(self, table: pa.Table) -> None:
        """Write the rows of a table.  Raises `UnsupportedValue` naming a column that the format cannot hold."""

    def close(self) -> None:
        """Write the end."""


class OutputFile:
    """A file that tables are written to; with an error it ends empty.

    Raises `OutputLimit` when it does not fit.
    """

    def __init__(self, path: Path, form: str, limit: int, start: Callable[[Any], TableWriter]) -> None:
        """Open the file; `start` begins to write what comes before the first row."""
        self._path = path
        self._form = form
        self._limit = limit
        self._start = start
        self._sink = _Sink(path)

    @property
    def size(self) -> int:
        """How many bytes were written."""
        return self._sink.size

    def __enter__(self) -> "OutputFile":
        try:
            with self._bounded():
                self._writer = self._start(self._sink)
        except BaseException:
            self._give_up()
            raise
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is None:
            try:
                with self._bounded():
                    self._writer.close()
                self._sink.close()
                return
            except BaseException:
                self._give_up()
                raise
        with contextlib.suppress(Exception):  # the writers of Arrow must not try it later
            self._writer.close()
        self._give_up()

    def write_table(self, table: pa.Table) -> None:
        """Write the rows of a table.  Raises `UnsupportedValue` naming a column that the format cannot hold."""
        with self._bounded():
            self._writer.write_table(table)

    def _bounded(self) -> contextlib.AbstractContextManager[None]:
        return _bounded(self._path, self._form, self._limit)

    def _give_up(self) -> None:
        self._sink.close()
        os.truncate(self._path, 0)


def write_bytes(path: Path, data: bytes, limit: int) -> int:
    """Write a file that is no table, and give its size.  Raises `OutputLimit` when it does not fit."""
    try:
        with _Sink(path) as sink, _bounded(path, "JSON", limit):
            sink.write(data)
    except OutputLimit:
        os.truncate(path, 0)
        raise
    return len(data)


@contextlib.contextmanager
def _bounded(path: Path, form: str, limit: int) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputLimit(
            f"the output file {path.name!r} ({form}) does not fit: {error.strerror or error};"
            f" the limit is {limit} bytes in one file (output_bytes)"
        ) from error


class _Sink(io.RawIOBase):
    """What a file is written through.

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

    def close(self) -> None:
        # The writers of Arrow close what they write to, and so does the `with` statement.
        if not self.closed:
            super().close()
            os.close(self._descriptor)
