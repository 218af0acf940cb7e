"""Small jobs done for nothing, so that those which follow find made what is made by the first use.

Python rewrites code for the types that it meets; pandas, pyarrow and the C library make and look up things when they
are first needed.  A launcher has it done once; else each fork would do it, on pages that are copied for it first.
Nothing that a script could see is changed: no module is loaded that a table does not load in any start, no path or
handler is set, no file is left.
"""

import json
import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow as pa

from runner import report as report_file
from runner import shims
from runner.bundle import Bundle
from runner.device import collect_images
from runner.entry import entry_point, load_script
from runner.formats import open_output
from runner.frames import to_arrow, to_pandas
from runner.job import VERSION, Paths, Report
from runner.job_file import read_job
from runner.output_file import Layout
from runner.ports import plan_call
from runner.returned import result_tables
from runner.workbench import Workbench

_ROUNDS = 12
"""Python rewrites what has run eight times, and then looks at the types."""
_TABLE = {"a": [1, 2], "b": [0.5, None], "c": ["x", None]}
_SCRIPT = b"def azureml_main(frame, other):\n    frame['d'] = frame['a'] * 2\n    return frame,\n"
_FORMATS = ("arrow", "json")
_READING: dict[str, Any] = {
    "delimiter": None, "encoding": None, "missing": [], "dates": {}, "types": {}, "columns": None,
}  # fmt: skip
_JOB = {
    "version": VERSION,
    "task": "run",
    "profile": "classic",
    "dtypes": "numpy",
    "inputs": [
        {"port": port, "file": form, "format": form, "compression": None, "reading": _READING, "slice": None}
        for port, form in enumerate(_FORMATS, start=1)
    ],
    "bundle": None,
    "outputs": [{"port": 1, "file": form, "format": form} for form in _FORMATS],
    "parameters": {},
    "group_by": None,
    "limits": dict.fromkeys(("output_bytes", "images", "images_bytes", "inflated_bytes"), 1 << 20),
}


def rehearse(folder: Path) -> None:
    """Do the jobs in a folder, which is made and removed."""
    paths = Paths(folder / "in", folder / "out", folder / "work")
    for place in (folder, paths.inputs, paths.outputs, paths.work):
        place.mkdir()
    try:
        paths.job.write_text(json.dumps(_JOB))
        tables = [place / form for place in (paths.inputs, paths.outputs) for form in _FORMATS]
        for file in (*tables, paths.report, paths.images):
            file.touch()
        table = pa.table(_TABLE)
        layout = Layout(table.schema, (None,) * table.num_columns)
        for form in _FORMATS:
            with open_output(paths.inputs / form, form, 1 << 20, layout) as output:
                output.write_table(table)
        for _ in range(_ROUNDS):
            _do_one(paths)
    finally:
        shutil.rmtree(folder)


def _do_one(paths: Paths) -> None:
    """What `task.Task` does, but for what it does to the interpreter."""
    job, report, bundle = read_job(paths.job), Report(), Bundle(paths.bundle)
    bench = Workbench(job, paths, report)
    frames = {one.port: to_pandas(bench.read(one), job.dtypes, job.profile, report.warn) for one in job.inputs}
    shims.install(_SCRIPT, bundle, report.warn)
    module = ModuleType("rehearsal")
    load_script(_SCRIPT, module)
    function = entry_point(module)
    call = plan_call(function, frames, job.profile, job.parameters, report.warn)
    for table in result_tables(function(*call.positional), job.profile, report.warn):
        bench.write(1, to_arrow(table, job.profile, report.warn))
    report.images = collect_images(paths, bundle, None, job.limits, report.warn)
    report_file.write(report, paths.report)
