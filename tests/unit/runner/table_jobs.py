"""Tasks on tables, in this process: what the property tests share, which run thousands of them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from runner.job import PROFILES, Input, Job, Limits, Output, Paths, Report
from runner.table_tasks import perform
from runner.workbench import Workbench
from runner_jobs import OWN_FILES, arrow_bytes


def done(
    directory: Path, task: str, tables: Sequence[pa.Table | bytes], forms: Sequence[str] = (), **fields: Any
) -> Report:
    """Do a task with these tables, or Arrow files; every output is in the directory, under the name of its format."""
    ports = (1, 2) if task == "compare" else (1,) * len(tables)
    for number, table in enumerate(tables):
        (directory / f"part-{number}").write_bytes(table if isinstance(table, bytes) else arrow_bytes(table))
    for name in (*forms, *OWN_FILES.get(task, ())):
        (directory / name).write_bytes(b"")
    inputs = tuple(Input(port, f"part-{number}", "arrow") for number, port in enumerate(ports))
    outputs = tuple(Output(1, form, form) for form in forms)
    job = Job(task, PROFILES["classic"], "numpy", inputs, None, outputs, Limits(10**9, 0, 0, 10**9), **fields)
    report = Report()
    perform(Workbench(job, Paths(inputs=directory, outputs=directory), report))
    return report


def result(directory: Path) -> pa.Table:
    """The Arrow file of the outputs."""
    return pa.ipc.open_file((directory / "arrow").read_bytes()).read_all()
