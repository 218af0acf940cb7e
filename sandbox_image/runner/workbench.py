"""What every task does with tables: read those of its inputs, write those of its outputs, and report both."""

import os
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager

import pyarrow as pa

from runner import cells
from runner.formats import TEXTS, open_output, read_table
from runner.job import Column, Input, Job, Paths, Report, TableShape
from runner.output_file import Layout, OutputFile, write_bytes


class Workbench:
    """The tables of one job; whatever is read or written here is in its report."""

    def __init__(self, job: Job, paths: Paths, report: Report) -> None:
        self.job = job
        self.paths = paths
        self.report = report

    def read(self, entry: Input) -> pa.Table:
        """Read the table of an input port.  Raises `BadInput`."""
        limit = self.job.limits.inflated_bytes
        table = read_table(self.paths.inputs / entry.file, entry, limit, self.report.warn)
        self.report.inputs[entry.port] = _shape(table.num_rows, table.schema)
        return table

    def write(self, port: int, table: pa.Table) -> None:
        """Write every requested file of an output port; they hold the same table."""
        units = tuple(map(cells.unit, table.columns)) if self.writes_text else ()
        self.write_parts(port, Layout(table.schema, units), [table])

    @property
    def writes_text(self) -> bool:
        """Tell whether a layout needs its units."""
        return any(output.format in TEXTS for output in self.job.outputs)

    def write_parts(self, port: int, layout: Layout, parts: Iterable[pa.Table]) -> None:
        """Write every requested file of an output port: the rows of all parts, each of which is needed only once."""
        rows = 0
        written: list[tuple[str, OutputFile]] = []
        with ExitStack() as stack:
            for output in self.job.outputs:
                if output.port == port:
                    path = self.paths.outputs / output.file
                    file = open_output(path, output.format, self.job.limits.output_bytes, layout)
                    written.append((output.file, stack.enter_context(file)))
            for part in parts:
                rows += part.num_rows
                for _, file in written:
                    file.write_table(part)
        self.report.files |= {name: file.size for name, file in written}
        self.report.outputs[port] = _shape(rows, layout.schema)

    def write_json(self, name: str, data: bytes) -> None:
        """Write a file of the task's own.  Raises `OutputLimit` when it does not fit."""
        self.report.files[name] = write_bytes(self.paths.outputs / name, data, self.job.limits.output_bytes)

    def forget_outputs(self) -> None:
        """A failed job has no result: empty what was written of it."""
        for name in self.report.files:
            os.truncate(self.paths.outputs / name, 0)
        self.report.files.clear()
        self.report.outputs.clear()

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Report how long something took."""
        started = time.monotonic()
        try:
            yield
        finally:
            self.report.timings[name] = time.monotonic() - started


def _shape(rows: int, schema: pa.Schema) -> TableShape:
    return TableShape(rows, tuple(Column(field.name, str(field.type)) for field in schema))
