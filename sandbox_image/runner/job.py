"""The file contract: where the files of a job lie, and what stands in job.json and report.json.

The controller writes ``job.json`` and reads ``report.json``; the runner does the opposite.  Both sides hold
their own copy of these shapes, because neither imports the other; `VERSION` tells when they disagree.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

VERSION = 1
TASKS = ("run", "convert")
PROFILES = ("classic", "designer")
INPUT_FORMATS = ("arrow", "arrow_stream", "parquet", "csv", "tsv", "json")
OUTPUT_FORMATS = ("arrow", "arrow_stream", "parquet", "csv", "json")

Warn = Callable[[str, str], None]
"""Takes the code and the text of a warning, for the report and for the end of the log."""


class InvalidJob(ValueError):
    """job.json is not what this runner understands: a fault of the controller, not of the script."""


@dataclass(frozen=True)
class Paths:
    """The directories of one job; the defaults are the ones inside the container."""

    inputs: Path = Path("/in")
    outputs: Path = Path("/out")
    work: Path = Path("/work")
    fonts: Path = Path("/opt/airlock/matplotlib")

    @property
    def job(self) -> Path:
        """The job itself."""
        return self.inputs / "job.json"

    @property
    def script(self) -> Path:
        """The tenant's script, UTF-8 unless it declares otherwise."""
        return self.inputs / "script.py"

    @property
    def report(self) -> Path:
        """Where the report goes."""
        return self.outputs / "report.json"

    @property
    def images(self) -> Path:
        """Where the images go, one after the other."""
        return self.outputs / "images"

    @property
    def bundle(self) -> Path:
        """Where the script bundle is unpacked."""
        return self.work / "Script Bundle"

    @property
    def scratch(self) -> Path:
        """The directory for temporary files."""
        return self.work / "tmp"


@dataclass(frozen=True)
class Input:
    """One connected input port and the file that holds its table."""

    port: int
    file: str
    format: str


@dataclass(frozen=True)
class Output:
    """One file to write the resulting table to."""

    file: str
    format: str


@dataclass(frozen=True)
class Limits:
    """What a job may write: bytes in one output file, images, and bytes in all images together."""

    output_bytes: int
    images: int
    images_bytes: int


@dataclass(frozen=True)
class Job:
    """One job as the controller describes it."""

    task: str
    profile: str
    inputs: tuple[Input, ...]
    bundle: str | None
    outputs: tuple[Output, ...]
    limits: Limits
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Failure:
    """Why a job failed: the report's ``reason`` and ``error``.  `line` counts in script.py, from 1."""

    reason: str
    code: str
    type: str
    message: str
    traceback: str = ""
    line: int | None = None


@dataclass(frozen=True)
class Notice:
    """One warning of the report."""

    code: str
    message: str


@dataclass(frozen=True)
class Column:
    """Name and Arrow type of one column of the result."""

    name: str
    type: str


@dataclass(frozen=True)
class Image:
    """One image: its name, and where it lies in the file of images."""

    name: str
    offset: int
    size: int


@dataclass
class Report:
    """What came of a job; filled in while the job goes on."""

    failure: Failure | None = None
    notices: list[Notice] = field(default_factory=list)
    rows: int = 0
    columns: tuple[Column, ...] | None = None
    files: dict[str, int] = field(default_factory=dict)
    images: list[Image] = field(default_factory=list)
    timings: dict[str, float] = field(
        default_factory=lambda: dict.fromkeys(
            ("import_seconds", "read_seconds", "script_seconds", "write_seconds"), 0.0
        )
    )

    def warn(self, code: str, message: str) -> None:
        """Add a warning."""
        self.notices.append(Notice(code, message))


def read_job(path: Path) -> Job:
    """Read job.json.  Raises `InvalidJob` that says which field is wrong, and how."""
    try:
        data = json.loads(path.read_bytes())
        if data["version"] != VERSION:
            raise InvalidJob(f"job.json has version {data['version']!r}; this runner understands {VERSION}")
        return Job(
            task=_one_of(TASKS, data["task"], "task"),
            profile=_one_of(PROFILES, data["profile"], "profile"),
            inputs=tuple(
                Input(
                    _one_of((1, 2), entry["port"], "port"),
                    _file_name(entry["file"]),
                    _one_of(INPUT_FORMATS, entry["format"], "input format"),
                )
                for entry in data["inputs"]
            ),
            bundle=None if data["bundle"] is None else _file_name(data["bundle"]),
            outputs=tuple(
                Output(_file_name(entry["file"]), _one_of(OUTPUT_FORMATS, entry["format"], "output format"))
                for entry in data["outputs"]
            ),
            limits=Limits(
                int(data["limits"]["output_bytes"]),
                int(data["limits"]["images"]),
                int(data["limits"]["images_bytes"]),
            ),
            parameters=dict(data["parameters"]),
        )
    except InvalidJob:
        raise
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InvalidJob(f"job.json cannot be read: {type(error).__name__}: {error}") from error


def _one_of(allowed: tuple[Any, ...], value: Any, what: str) -> Any:
    if value not in allowed:
        raise InvalidJob(f"job.json: {what} is {value!r}; it must be one of {', '.join(map(str, allowed))}")
    return value


def _file_name(value: Any) -> str:
    if not isinstance(value, str) or value in ("", ".", "..") or "/" in value or "\0" in value:
        raise InvalidJob(f"job.json: {value!r} is not a plain file name")
    return value
