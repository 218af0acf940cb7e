"""One job on temporary directories, run by the real program: what the tests of the runner share."""

import io
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

SOURCES = Path(__file__).resolve().parents[3] / "sandbox_image"
GO = b'{"go": 1}\n'
LIMITS = {"output_bytes": 100_000_000, "images": 10, "images_bytes": 1_000_000, "inflated_bytes": 10_000_000}
READING = {"delimiter": None, "encoding": None, "missing": [], "dates": {}, "types": {}, "columns": None}


def environment(work: Path) -> dict[str, str]:
    """The environment that a container gives the runner, with other paths."""
    return {
        "PATH": "/usr/bin:/bin",
        "PYTHONPATH": str(SOURCES),
        "HOME": str(work),
        "TMPDIR": f"{work}/tmp",
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "MPLBACKEND": "Agg",
    }


OWN_FILES = {
    "ingest": ("preview.json", "statistics.json"),
    "compare": ("comparison.json",),
    "group": ("groups.json",),
}
"""What a task writes beside its tables."""


@dataclass
class Done:
    """A job after its end: exit code (negative: the signal), report, log, result table and images."""

    code: int
    log: str
    outputs: Path
    work: Path
    report: dict[str, Any] = field(default_factory=dict)

    @property
    def table(self) -> pa.Table:
        """The result."""
        return pa.ipc.open_file(pa.memory_map(str(self.outputs / "result"))).read_all()

    def json(self, name: str) -> Any:
        """What stands in a file of the task's own; it has no NaN in it, and as many bytes as the report says."""
        data = (self.outputs / name).read_bytes()
        assert self.report["files"][name] == len(data)
        return json.loads(data.decode("utf-8"), parse_constant=_refuse)

    @property
    def error(self) -> dict[str, Any]:
        """The report's error; the job must have failed."""
        assert self.report["outcome"] == "failed", self.report
        assert self.code == 1
        return self.report["error"]

    @property
    def warnings(self) -> list[str]:
        """The codes of the warnings."""
        return [warning["code"] for warning in self.report["warnings"]]

    def image(self, number: int) -> bytes:
        """The bytes of one image, cut out of the file of images."""
        entry = self.report["images"][number]
        data = (self.outputs / "images").read_bytes()
        return data[entry["offset"] : entry["offset"] + entry["bytes"]]


class Forker:
    """The process that forks one child per job."""

    def __init__(self, directory: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-B", "-s", "-P", str(Path(__file__).with_name("forking.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment(directory) | {"JE_ARROW_MALLOC_CONF": "background_thread:false"},
        )

    def run(self, arguments: Sequence[str], stdin: Path, log: Path) -> int:
        """Run one job; gives its exit code."""
        assert self._process.stdin
        assert self._process.stdout
        request = {"arguments": list(arguments), "stdin": str(stdin), "log": str(log)}
        self._process.stdin.write(json.dumps(request).encode() + b"\n")
        self._process.stdin.flush()
        return os.waitstatus_to_exitcode(int(self._process.stdout.readline()))

    def close(self) -> None:
        """End the process, which holds no children at this moment."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.wait(timeout=10)
        self._process.stdout.close()


@dataclass
class Room:
    """The directories of one job, and the means to run it."""

    base: Path
    forker: Forker
    job: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("in", "out", "work", "fonts"):
            (self.base / name).mkdir()
        self.job = {
            "version": 3, "task": "run", "profile": "classic", "dtypes": "numpy", "inputs": [], "bundle": None,
            "outputs": [{"port": 1, "file": "result", "format": "arrow"}], "parameters": {}, "limits": LIMITS,
            "group_by": None,
        }  # fmt: skip

    def give(self, port: int, data: bytes, form: str, compression: str | None = None, **reading: Any) -> None:
        """Connect a port; `reading` is what the author states about the table."""
        file = f"dataframe{port}"
        (self.base / "in" / file).write_bytes(data)
        self.job["inputs"].append({
            "port": port, "file": file, "format": form, "compression": compression, "reading": READING | reading,
            "slice": None,
        })  # fmt: skip

    def give_table(self, port: int, table: pa.Table | Mapping[str, Any]) -> None:
        """Connect a port to an Arrow table."""
        self.give(port, arrow_bytes(table if isinstance(table, pa.Table) else pa.table(dict(table))), "arrow")

    def give_part(self, number: int, table: pa.Table | bytes) -> None:
        """Hand in one of many tables, an Arrow file, on the first port."""
        data = table if isinstance(table, bytes) else arrow_bytes(table)
        file = f"part-{number:06}"
        (self.base / "in" / file).write_bytes(data)
        self.job["inputs"].append({
            "port": 1, "file": file, "format": "arrow", "compression": None, "reading": READING, "slice": None,
        })  # fmt: skip

    def give_bundle(self, files: Mapping[str, str | bytes]) -> None:
        """Connect a bundle of these files."""
        (self.base / "in" / "bundle.zip").write_bytes(zip_bytes(files))
        self.job["bundle"] = "bundle.zip"

    def also(self, form: str) -> None:
        """Ask for one more output format."""
        self.job["outputs"].append({"port": 1, "file": f"result.{form}", "format": form})

    def start(self, script: str | bytes = b"", go: bytes = GO) -> tuple[list[str], Path]:
        """Write the job down; gives the runner's arguments and the file for standard input."""
        (self.base / "in" / "job.json").write_text(json.dumps(self.job))
        (self.base / "in" / "script.py").write_bytes(script.encode() if isinstance(script, str) else script)
        files = (*(output["file"] for output in self.job["outputs"]), *OWN_FILES.get(self.job["task"], ()))
        for name in ("report.json", "images", *files):
            (self.base / "out" / name).write_bytes(b"")
        (self.base / "stdin").write_bytes(go)
        (self.base / "log").touch()
        return [str(self.base / name) for name in ("in", "out", "work", "fonts")], self.base / "stdin"

    def run(self, script: str | bytes = b"", go: bytes = GO) -> Done:
        """Run the job and collect what came of it."""
        arguments, stdin = self.start(script, go)
        return self.collect(self.forker.run(arguments, stdin, self.base / "log"))

    def collect(self, code: int) -> Done:
        """Read what a run left behind."""
        log = (self.base / "log").read_bytes().decode()
        done = Done(code, log, self.base / "out", self.base / "work")
        report = (self.base / "out" / "report.json").read_bytes()
        assert len(report) <= 1024 * 1024
        if report:
            done.report = json.loads(report.decode("utf-8"))
        return done


@dataclass
class Noted:
    """Takes warnings."""

    messages: list[tuple[str, str]] = field(default_factory=list)

    def __call__(self, code: str, message: str) -> None:
        self.messages.append((code, message))

    @property
    def codes(self) -> list[str]:
        """The codes that came, in order."""
        return [code for code, _ in self.messages]


def arrow_bytes(table: pa.Table, new: Callable[..., Any] = pa.ipc.new_file) -> bytes:
    """An Arrow file (or stream) of a table."""
    file = io.BytesIO()
    with new(file, table.schema) as writer:
        writer.write_table(table)
    return file.getvalue()


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


def zip_bytes(files: Mapping[str, str | bytes]) -> bytes:
    """A zip of these files."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return file.getvalue()


def records(table: pa.Table) -> list[dict[str, Any]]:
    """A table as rows."""
    return table.to_pylist()


def frame_of(*columns: "pd.Series[Any]") -> pd.DataFrame:
    """A frame of unnamed columns, called a, b, c."""
    return pd.DataFrame(dict(zip("abc", columns, strict=False)))
