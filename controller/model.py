"""The words of the house: frozen values that every floor may hold, and that do nothing by themselves.

One definition serves the database's JSON columns, the API's documents and the engines.
Units are part of the names: `_seconds` (float), `_bytes` (int). Times are UTC.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

CONTRACT_VERSION = 3
"""The file contract between controller and container (docs/architecture.md) that this server speaks."""

MIN_MEMORY_BYTES = 96 << 20
"""Of a run: below this the runner's own imports do not fit."""


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


class Priority(StrEnum):
    """Which of a tenant's waiting runs begins first. It never sets one tenant before another."""

    INTERACTIVE = "interactive"
    NORMAL = "normal"
    BATCH = "batch"


class TaskKind(StrEnum):
    """What a sandbox is asked to do. Only RUN executes a script, and only these are seen as runs by tenants."""

    RUN = "run"
    CONVERT = "convert"
    INGEST = "ingest"
    COMPARE = "compare"
    CONCATENATE = "concatenate"
    GROUP = "group"

    @property
    def documents(self) -> tuple[str, ...]:
        """The JSON documents that the task writes beside its tables: they are bounded, and made in the sandbox."""
        return _DOCUMENTS.get(self, ())


_DOCUMENTS = {
    TaskKind.INGEST: ("preview.json", "statistics.json"),
    TaskKind.COMPARE: ("comparison.json",),
    TaskKind.GROUP: ("groups.json",),
}


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
    AZURE_JSON = "azure_json"

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
    Format.AZURE_JSON: "application/vnd.azureml.table+json",
}
_SUFFIXES = {
    Format.ARROW: ".arrow",
    Format.ARROW_STREAM: ".arrows",
    Format.PARQUET: ".parquet",
    Format.CSV: ".csv",
    Format.TSV: ".tsv",
    Format.JSON: ".json",
    Format.AZURE_JSON: ".azureml.json",
}


class Compression(StrEnum):
    """How a table's file is packed."""

    GZIP = "gzip"
    ZSTD = "zstd"


class Profile(StrEnum):
    """Which generation of the module a script is run as, and how strictly (docs/contract.md, Profiles)."""

    CLASSIC = "classic"
    CLASSIC_STRICT = "classic-strict"
    LENIENT = "lenient"
    DESIGNER = "designer"

    @property
    def output_ports(self) -> tuple[int, ...]:
        return (1, 2) if self is Profile.DESIGNER else (1,)


class Dtypes(StrEnum):
    """How tables arrive in pandas (docs/types.md)."""

    NUMPY = "numpy"
    NULLABLE = "nullable"
    ARROW = "arrow"


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
    inflated_bytes: int = 1 << 30


_Name = Annotated[str, Field(max_length=1000)]


class Reading(Word):
    """How a table is to be read. What is not stated is detected, or has a default (docs/formats.md)."""

    delimiter: Annotated[str | None, Field(pattern=r'^[^"\r\n]$')] = None
    encoding: Annotated[str | None, Field(pattern=r"^[A-Za-z0-9._-]{1,40}$")] = None
    missing: Annotated[tuple[_Name, ...], Field(max_length=100, fail_fast=True)] = ()
    dates: Annotated[dict[_Name, _Name], Field(max_length=1000)] = {}
    types: Annotated[dict[_Name, _Name], Field(max_length=10_000)] = {}
    columns: Annotated[tuple[_Name, ...], Field(min_length=1, max_length=10_000, fail_fast=True)] | None = None


class Slice(Word):
    """Some rows of a table, in a row."""

    offset: Annotated[int, Field(ge=0)]
    rows: Annotated[int, Field(ge=0)]


class DatasetUse(Word):
    """The version of a dataset that a run takes a table from."""

    id: str
    name: str
    version: int


class ScriptUse(Word):
    """The version of a stored script that a run executes."""

    name: str
    version: int


class Input(Word):
    """A table that a run is given: the port (1 or 2) it is connected to, and how it is written down."""

    port: int
    format: Format
    compression: Compression | None = None
    reading: Reading = Reading()
    slice: Slice | None = None
    part: str | None = None
    """The file's name, where a task has more tables than ports."""
    dataset: DatasetUse | None = None
    """Where the file is a dataset's, and not the run's own."""

    @property
    def file(self) -> str:
        return self.part or f"dataframe{self.port}"


class Job(Word):
    """What a run is asked to do, beside its files."""

    task: TaskKind = TaskKind.RUN
    profile: Profile = Profile.CLASSIC
    dtypes: Dtypes = Dtypes.NUMPY
    inputs: tuple[Input, ...] = ()
    bundle: bool = False
    output_formats: tuple[Format, ...] = (Format.ARROW,)
    parameters: dict[str, Any] = {}
    group_by: str | None = None
    """The column by whose values a table is cut (task GROUP)."""

    @property
    def wanted(self) -> tuple[tuple[int, Format], ...]:
        """Every table that is to be written: (output port, format)."""
        if self.task is TaskKind.COMPARE:
            return ()
        return tuple((port, format) for port in self.profile.output_ports for format in self.output_formats)


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


LARGEST = 2**63 - 1
"""Of a number that a document shows: a script's own has as many digits as it likes, and clients count in 64 bits."""


class TableShape(Word):
    """How large a table is, and its columns."""

    rows: Annotated[int, Field(ge=0, le=LARGEST)]
    columns: Annotated[tuple[Column, ...], Field(fail_fast=True)]


class InputTable(TableShape):
    """A table as the script got it, before it became a frame; as the sandbox says."""

    port: Literal[1, 2]


class Output(TableShape):
    """A result table. `bytes` is the size of its Arrow file."""

    bytes: Annotated[int, Field(ge=0)]


class Image(Word):
    """A picture that the script left."""

    name: str
    bytes: int
    type: Literal["image/png", "image/svg+xml"] = "image/png"


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


class Part(StrEnum):
    """What a run's files are divided into: each is kept for a time of its own."""

    INPUTS = "inputs"
    OUTPUTS = "outputs"
    LOG = "log"


class Outcome(Word):
    """How a run ended: everything about it that is not known before."""

    status: Status
    reason: Reason | None = None
    error: ScriptError | None = None
    warnings: tuple[RunWarning, ...] = ()
    inputs: tuple[InputTable, ...] = ()
    output: Output | None = None
    output2: Output | None = None
    images: tuple[StoredImage, ...] = ()
    log_bytes: int = 0
    log_truncated: bool = False
    digest: str | None = None
    usage: Usage = Usage()
    timings: Timings = Timings()
    reused_from: str | None = None


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
    script: ScriptUse | None = None
    """Where it is a stored one."""
    content_sha256: str | None = None
    """Of all that decides the result; only of runs that may be reused."""
    priority: Priority = Priority.NORMAL
    at_most_once: bool = False
    """Never begun a second time: what interrupts it ends it."""
    failures: int = 0
    """How often it was begun and interrupted through no fault of the script."""
    rerun_of: str | None = None
    batch_id: str | None = None
    endpoint_id: str | None = None
    """Of a call, or a job."""
    item: int | None = None
    """Its number in the batch, from 1; None for what a batch needs beside its items, and once the item has another run.
    """
    input_bytes: int = 0
    output_bytes: int = 0
    """Of its results and images."""
    log_file_bytes: int = 0
    removed: tuple[Part, ...] = ()
    """The parts whose files retention has removed."""
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    outcome: Outcome | None = None


class DatasetStatus(StrEnum):
    """Where a version of a dataset stands, as its ingest run says."""

    INGESTING = "ingesting"
    READY = "ready"
    FAILED = "failed"


class DatasetVersion(Word):
    """A table that is kept under a name: what was sent, and the run that made an Arrow file of it.

    How that went, and what came of it, stands in the run and nowhere else.
    """

    id: str
    tenant_id: str
    name: str
    version: int
    """Counted from 1 for each name; never given twice, not even after a deletion."""
    run_id: str
    format: Format
    compression: Compression | None
    source_bytes: int
    source_sha256: str
    content_sha256: str
    """Of the source and of how it is read: versions that have the same one are the same."""
    created_at: datetime


class Stored(Word):
    """The bytes of a finished run's files on the disk."""

    output_bytes: int = 0
    log_bytes: int = 0


class Waiting(Word):
    """A queued run, as far as whoever decides its turn must know it."""

    run_id: str
    tenant_id: str
    priority: Priority
    not_before: datetime | None = None


class Quotas(Word):
    """A tenant's share of the server; None: no bound of its own. What is not set is the server's default."""

    concurrent_runs: Annotated[int | None, Field(ge=1)] = None
    """Runs at work at once; the others wait for their turn."""
    queued_runs: Annotated[int | None, Field(ge=1)] = None
    run_seconds_per_day: Annotated[float | None, Field(gt=0, allow_inf_nan=False)] = None
    """Wall seconds of all its runs in one day, UTC."""
    memory_bytes: Annotated[int | None, Field(ge=MIN_MEMORY_BYTES)] = None
    cpus: Annotated[float | None, Field(ge=0.05, allow_inf_nan=False)] = None
    timeout_seconds: Annotated[float | None, Field(gt=0, allow_inf_nan=False)] = None
    output_bytes: Annotated[int | None, Field(gt=0)] = None
    """These four: the largest limits of one run."""
    stored_bytes: Annotated[int | None, Field(gt=0)] = None
    """Of its runs and datasets together."""
    requests_per_second: Annotated[float | None, Field(gt=0, allow_inf_nan=False)] = None

    def over(self, defaults: Quotas) -> Quotas:
        """These where they are set, and else the defaults; one that is set to None is no bound."""
        return defaults.model_copy(update={name: getattr(self, name) for name in self.model_fields_set})


class Caller(Word):
    """Who is asking: a tenant, by one of its API keys, within the key's scopes; and from where."""

    tenant_id: str
    key_id: str
    scopes: frozenset[str]
    suspended: bool = False
    quotas: Quotas | None = None
    """Of its tenant, when the request was let in; None where nobody asked."""
    address: str = ""
    request_id: str = ""


SCOPES = ("run", "publish", "tenant_admin", "admin")
