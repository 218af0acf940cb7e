"""The file contract: where the files of a job lie, and what stands in job.json and report.json.

The controller writes ``job.json`` and reads ``report.json``; the runner does the opposite.  Both sides hold
their own copy of these shapes, because neither imports the other; `VERSION` tells when they disagree.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

VERSION = 3
TASKS = ("run", "convert", "ingest", "compare", "concatenate", "group")
MAX_PARTS = 10_000
"""So many tables can be put one after the other."""
DTYPES = ("numpy", "nullable", "arrow")
FORMATS = ("arrow", "arrow_stream", "parquet", "csv", "tsv", "json", "azure_json")
COMPRESSIONS = (None, "gzip", "zstd")

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
    def own(self) -> Path:
        """What the runner keeps in the working directory for itself: unpacked wheels, the script by its module name."""
        return self.work / ".airlock"

    @property
    def scratch(self) -> Path:
        """The directory for temporary files."""
        return self.work / "tmp"


@dataclass(frozen=True)
class Profile:
    """Where the generations of the module differ, one by one (docs/contract.md, Profiles)."""

    name: str
    by_port: bool = False
    """Every port is an argument, an unconnected one None; else the connected tables come one after the other."""
    values: bool = False
    """Numbers, texts, lists of them and bare arrays are taken as a table."""
    nested: bool = False
    """Cells of a result may hold lists and dicts."""
    two_tables: bool = False
    """The second item that is returned is the table of a second output port."""
    categories: bool = True
    """Categories arrive as categories; else as their values."""
    open_figures: bool = True
    """Figures that were left open, and never saved, are images too."""


PROFILES = {
    profile.name: profile
    for profile in (
        Profile("classic"),
        Profile("classic-strict", categories=False, open_figures=False),
        Profile("lenient", values=True),
        Profile("designer", by_port=True, values=True, nested=True, two_tables=True),
    )
}


@dataclass(frozen=True)
class Reading:
    """How the author wants a table to be read; what is not stated is detected, or a default."""

    delimiter: str | None = None
    encoding: str | None = None
    missing: tuple[str, ...] = ()
    """Texts of CSV cells that stand for missing values, beside the cell without anything in it."""
    dates: Mapping[str, str] = field(default_factory=dict)
    """The format (strptime) of the times in a column."""
    types: Mapping[str, str] = field(default_factory=dict)
    """The type that the cells of a column are to be converted to."""
    columns: tuple[str, ...] | None = None
    """The columns that are wanted, in this order; None is all."""


@dataclass(frozen=True)
class Slice:
    """Some rows of a table: so many from this one on, or as many as there are."""

    offset: int
    rows: int


@dataclass(frozen=True)
class Input:
    """One connected input port and the file that holds its table; of the table, `slice` or all of it."""

    port: int
    file: str
    format: str
    compression: str | None = None
    reading: Reading = Reading()
    slice: Slice | None = None


@dataclass(frozen=True)
class Output:
    """One file to write the table of one output port to."""

    port: int
    file: str
    format: str


@dataclass(frozen=True)
class Limits:
    """What a job may write: bytes in one output file, images, bytes in all images; and read: bytes inflated."""

    output_bytes: int
    images: int
    images_bytes: int
    inflated_bytes: int


@dataclass(frozen=True)
class Job:
    """One job as the controller describes it."""

    task: str
    profile: Profile
    dtypes: str
    inputs: tuple[Input, ...]
    bundle: str | None
    outputs: tuple[Output, ...]
    limits: Limits
    parameters: Mapping[str, Any] = field(default_factory=dict)
    group_by: str | None = None
    """The column whose values make the groups of the task ``group``."""


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
    type: str = "image/png"


@dataclass(frozen=True)
class TableShape:
    """How large a table is, and its columns."""

    rows: int
    columns: tuple[Column, ...]


@dataclass
class Report:
    """What came of a job; filled in while the job goes on."""

    failure: Failure | None = None
    notices: list[Notice] = field(default_factory=list)
    inputs: dict[int, TableShape] = field(default_factory=dict)
    outputs: dict[int, TableShape] = field(default_factory=dict)
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
