"""The words of the house: frozen values that every floor may hold, and that do nothing by themselves.

One definition serves the database's JSON columns, the API's documents and the engines.
Units are part of the names: `_seconds` (float), `_bytes` (int). Times are UTC.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

CONTRACT_VERSION = 1
"""The file contract between controller and container (docs/architecture.md) that this server speaks."""


class Word(BaseModel):
    """A frozen value; a field that is not declared is refused, never ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Status(StrEnum):
    """Where a run stands. The last three are final: a run reaches exactly one of them, once."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        return self not in (Status.QUEUED, Status.RUNNING)


class Reason(StrEnum):
    """Why a run failed, as the controller judged it."""

    SCRIPT_ERROR = "script_error"
    BAD_INPUT = "bad_input"
    TIMEOUT = "timeout"
    OUT_OF_MEMORY = "out_of_memory"
    OUTPUT_LIMIT = "output_limit"
    CRASHED = "crashed"
    ENGINE_ERROR = "engine_error"


class Format(StrEnum):
    """How a table is written down at the edge. Airlock itself keeps results as ARROW, the Arrow file format."""

    ARROW = "arrow"
    ARROW_STREAM = "arrow_stream"
    PARQUET = "parquet"
    CSV = "csv"
    TSV = "tsv"
    JSON = "json"

    @property
    def media_type(self) -> str:
        return _MEDIA_TYPES[self]

    @property
    def suffix(self) -> str:
        return _SUFFIXES[self]


_MEDIA_TYPES = {
    Format.ARROW: "application/vnd.apache.arrow.file",
    Format.ARROW_STREAM: "application/vnd.apache.arrow.stream",
    Format.PARQUET: "application/vnd.apache.parquet",
    Format.CSV: "text/csv",
    Format.TSV: "text/tab-separated-values",
    Format.JSON: "application/json",
}
_SUFFIXES = {
    Format.ARROW: ".arrow",
    Format.ARROW_STREAM: ".arrows",
    Format.PARQUET: ".parquet",
    Format.CSV: ".csv",
    Format.TSV: ".tsv",
    Format.JSON: ".json",
}
OUTPUT_FORMATS = (Format.ARROW, Format.ARROW_STREAM, Format.PARQUET, Format.CSV, Format.JSON)


class Profile(StrEnum):
    """Which generation of the module a script is run as (spec: module contract, 1.7-1.9)."""

    CLASSIC = "classic"
    DESIGNER = "designer"


class Limits(Word):
    """What one sandbox may use. The run's document shows the limits that it really got."""

    timeout_seconds: float
    memory_bytes: int
    cpus: float
    processes: int
    work_bytes: int
    work_inodes: int
    output_bytes: int
    log_bytes: int
    images: int
    images_bytes: int


class Input(Word):
    """A table that a run is given: the port (1 or 2) it is connected to, and how it is written down."""

    port: int
    format: Format

    @property
    def file(self) -> str:
        return f"dataframe{self.port}"


class Job(Word):
    """What a run is asked to do, beside its files."""

    profile: Profile = Profile.CLASSIC
    inputs: tuple[Input, ...] = ()
    bundle: bool = False
    output_formats: tuple[Format, ...] = (Format.ARROW,)
    parameters: dict[str, Any] = {}


class ScriptError(Word):
    """What went wrong, in the script's terms. `code` is Azure ML Studio's (0085 for a failing script)."""

    code: Annotated[str, Field(max_length=64)]
    type: Annotated[str, Field(max_length=1024)]
    message: Annotated[str, Field(max_length=1 << 20)]
    traceback: Annotated[str, Field(max_length=1 << 20)] = ""
    line: int | None = None


class RunWarning(Word):
    """Something the author should know although the run went on."""

    code: Annotated[str, Field(max_length=128)]
    message: Annotated[str, Field(max_length=1 << 20)]


class Column(Word):
    """A column of the result: its name and its Arrow type, as Arrow writes it."""

    name: str
    type: str


class Output(Word):
    """The result table. `bytes` is the size of its Arrow file."""

    rows: Annotated[int, Field(ge=0)]
    bytes: Annotated[int, Field(ge=0)]
    columns: tuple[Column, ...]


class Image(Word):
    """A PNG that the script left."""

    name: str
    bytes: int


class StoredImage(Image):
    """An image with its place in the run's images file."""

    offset: int


class Environment(Word):
    """The named image a run was executed in; the digest is the engine's id of it."""

    name: str
    digest: str | None = None


class Usage(Word):
    """What a run used, by the controller's clock and the cgroup's counters; None where the host hides them."""

    wall_seconds: float | None = None
    cpu_seconds: float | None = None
    peak_memory_bytes: int | None = None


class Timings(Word):
    """Where a run's time went, by the controller's clock."""

    queue_seconds: float | None = None
    start_seconds: float | None = None
    script_seconds: float | None = None
    collect_seconds: float | None = None


class Outcome(Word):
    """How a run ended: everything about it that is not known before."""

    status: Status
    reason: Reason | None = None
    error: ScriptError | None = None
    warnings: tuple[RunWarning, ...] = ()
    output: Output | None = None
    images: tuple[StoredImage, ...] = ()
    log_bytes: int = 0
    log_truncated: bool = False
    digest: str | None = None
    usage: Usage = Usage()
    timings: Timings = Timings()


class Run(Word):
    """One execution of one script: a row of the store."""

    id: str
    tenant_id: str
    status: Status
    attempt: int
    job: Job
    limits: Limits
    environment: str
    script_sha256: str
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    outcome: Outcome | None = None


class Caller(Word):
    """Who is asking: a tenant, by one of its API keys, within the key's scopes."""

    tenant_id: str
    key_id: str
    scopes: frozenset[str]


SCOPES = ("run", "publish", "tenant_admin", "admin")
