"""The API's documents: what goes over the wire, as the OpenAPI document describes it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, field_validator, model_validator

from controller.model import (
    MIN_MEMORY_BYTES,
    Dtypes,
    Environment,
    Format,
    Image,
    InputTable,
    Limits,
    Output,
    Part,
    Priority,
    Profile,
    Reading,
    Reason,
    Run,
    RunWarning,
    ScriptError,
    Status,
    Timings,
    Usage,
)
from controller.services.datasets import NAME
from controller.services.scripts import REFERENCE

MAX_FIELDS = 100
"""That an object may have before anybody looks which: no document has so many."""


class Asked(BaseModel):
    """flask-openapi asks for the schema of a view's query and headers in every request: a millisecond each."""

    _schema: ClassVar[dict[str, Any] | None] = None

    @classmethod
    def model_json_schema(cls, *arguments: Any, **named: Any) -> dict[str, Any]:
        if arguments or named:
            return super().model_json_schema(*arguments, **named)
        if "_schema" not in vars(cls) or cls._schema is None:
            cls._schema = super().model_json_schema()
        return cls._schema


class Document(Asked):
    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _few_fields(cls, sent: Any) -> Any:
        """Each unknown field is an error of its own, and a body has room for hundreds of thousands."""
        if isinstance(sent, dict) and len(sent) > MAX_FIELDS:
            raise ValueError(f"has {len(sent)} fields, and there are fewer than {MAX_FIELDS}")
        return sent


Rows = Annotated[list[dict[str, Any]], Field(fail_fast=True)]
"""Of a table in a JSON body; the first one that is no object is told, and not each of a million."""


class Options(Document):
    """How a run is to be executed. Limits above the tenant's maximum are cut to it; the run says what it got."""

    language: Literal["python"] = "python"
    profile: Profile = Profile.CLASSIC
    dtypes: Dtypes = Dtypes.NUMPY
    dataframe1: Reading | None = None
    dataframe2: Reading | None = None
    reuse: bool = False
    at_most_once: Annotated[bool, Field(description="never begun a second time, whatever interrupts it")] = False
    priority: Annotated[
        Priority | None, Field(description="among your own; interactive with `wait`, else normal")
    ] = None
    environment: Annotated[str, Field(min_length=1, max_length=100)] = "default"
    timeout_seconds: Annotated[float | None, Field(gt=0, allow_inf_nan=False)] = None
    memory_bytes: Annotated[int | None, Field(ge=MIN_MEMORY_BYTES)] = None
    cpus: Annotated[float | None, Field(ge=0.05, allow_inf_nan=False)] = None
    parameters: Annotated[dict[str, Any], Field(max_length=1000)] = {}
    output_format: Format = Format.ARROW


ScriptReference = Annotated[
    str, Field(pattern=REFERENCE, description="a stored script: its name, and after an @ its version or a tag")
]
DatasetName = Annotated[str, Field(pattern=NAME, description="1 to 100 of A-Z a-z 0-9 . _ -, no dot ahead")]
VersionNumber = Annotated[int, Field(ge=1, lt=2**31)]


class DatasetReference(Document):
    """A table that is kept as a dataset: this version of it, or the newest that is ready."""

    dataset: DatasetName
    version: VersionNumber | None = None


class Table(Document):
    """A small table inside the JSON body (one object for each row), or a dataset."""

    records: Rows | None = None
    dataset: DatasetName | None = None
    version: VersionNumber | None = None

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if (self.records is None) == (self.dataset is None):
            raise ValueError("a table is either `records` or a `dataset`")
        if self.version is not None and self.dataset is None:
            raise ValueError("`version` goes with a `dataset`")
        return self


class SubmitBody(Document):
    """POST /v1/runs with a JSON body; files go in a multipart/form-data body instead."""

    script: Annotated[str | None, Field(description="Python source that defines azureml_main, or `script_ref`")] = None
    script_ref: ScriptReference | None = None
    dataframe1: Table | None = None
    dataframe2: Table | None = None
    options: Options = Options()


class UsedDataset(Document):
    """The version of a dataset that a port of a run is connected to."""

    port: int
    name: str
    version: int


class UsedScript(Document):
    """The version of a stored script that a run executes."""

    name: str
    version: int


class RunDocument(Document):
    """A run."""

    id: str
    status: Status
    reason: Reason | None
    error: ScriptError | None
    warnings: list[RunWarning]
    inputs: list[InputTable]
    datasets: Annotated[list[UsedDataset], Field(description="which of its inputs are datasets, from the start")]
    output: Output | None
    output2: Output | None
    images: list[Image]
    log_bytes: int
    log_truncated: bool
    environment: Environment
    limits: Limits
    usage: Usage
    timings: Timings
    attempt: int
    priority: Priority
    at_most_once: bool
    position: Annotated[int | None, Field(description="turns until it begins, of a queued run that is asked for alone")]
    script_sha256: str
    script: Annotated[UsedScript | None, Field(description="where it is a stored one")]
    reused_from: str | None
    rerun_of: str | None
    batch_id: str | None
    endpoint_id: str | None
    item: int | None
    removed: Annotated[list[Part], Field(description="what retention has removed of its files")]
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


def run_document(run: Run, position: int | None = None) -> dict[str, Any]:
    """A run as the API shows it."""
    outcome = run.outcome
    document = RunDocument(
        id=run.id,
        status=run.status,
        reason=outcome.reason if outcome else None,
        error=outcome.error if outcome else None,
        warnings=list(outcome.warnings) if outcome else [],
        inputs=list(outcome.inputs) if outcome else [],
        datasets=[
            UsedDataset(port=input.port, name=input.dataset.name, version=input.dataset.version)
            for input in run.job.inputs
            if input.dataset is not None
        ],
        output=outcome.output if outcome else None,
        output2=outcome.output2 if outcome else None,
        images=[Image(**image.model_dump(exclude={"offset"})) for image in outcome.images] if outcome else [],
        log_bytes=outcome.log_bytes if outcome else 0,
        log_truncated=outcome.log_truncated if outcome else False,
        environment=Environment(name=run.environment, digest=outcome.digest if outcome else None),
        limits=run.limits,
        usage=outcome.usage if outcome else Usage(),
        timings=outcome.timings if outcome else Timings(),
        attempt=run.attempt,
        priority=run.priority,
        at_most_once=run.at_most_once,
        position=position,
        script_sha256=run.script_sha256,
        script=UsedScript(**run.script.model_dump()) if run.script else None,
        reused_from=outcome.reused_from if outcome else None,
        rerun_of=run.rerun_of,
        batch_id=run.batch_id,
        endpoint_id=run.endpoint_id,
        item=run.item,
        removed=list(run.removed),
        created_at=run.created_at,
        started_at=run.started_at,
        finished_at=run.finished_at,
    )
    return document.model_dump(mode="json")


class RunList(Document):
    items: list[RunDocument]
    next_cursor: str | None


class ImageList(Document):
    items: list[Image]
    next_cursor: str | None


class ProblemPlace(Document):
    where: str
    message: str


class Problem(BaseModel):
    """RFC 9457 problem details; `code` is stable, docs/errors.md lists them all."""

    type: str
    title: str
    status: int
    detail: str
    instance: str | None = None
    code: str
    errors: list[ProblemPlace] | None = None
    quota: Annotated[str | None, Field(description="of which quota `limit` is the limit")] = None
    limit: float | None = None
    value: Annotated[float | None, Field(description="what was asked for")] = None
    used: Annotated[float | None, Field(description="what there was of it already")] = None
    error: ScriptError | None = None
    run_id: str | None = None


class WaitQuery(Document):
    wait: Annotated[float, Field(ge=0, allow_inf_nan=False, description="seconds to wait for the run's end")] = 0


class CreateHeader(Asked):
    """Of a request that makes something."""

    idempotency_key: Annotated[
        str | None,
        Field(alias="Idempotency-Key", description="sending a request again with the same key does it once"),
    ] = None


class ListQuery(Document):
    status: Status | None = None
    script: Annotated[
        str | None, Field(pattern="^[0-9a-f]{64}$", description="SHA-256 of the script, as `script_sha256`")
    ] = None
    batch: Annotated[str | None, Field(max_length=100, description="id of the batch that the runs belong to")] = None
    endpoint: Annotated[str | None, Field(max_length=100, description="id of the endpoint whose calls they are")] = None
    created_after: Annotated[AwareDatetime | None, Field(description="RFC 3339, with its offset from UTC")] = None
    created_before: Annotated[AwareDatetime | None, Field(description="RFC 3339, with its offset from UTC")] = None
    # A run may carry a mebibyte of its script's words: the page bounds what one answer costs the server.
    limit: Annotated[int, Field(ge=1, le=100)] = 50
    cursor: Annotated[str | None, Field(max_length=200, description="next_cursor of the page before")] = None

    @field_validator("created_after", "created_before")
    @classmethod
    def _in_utc(cls, value: datetime | None) -> datetime | None:
        try:
            return value.astimezone(UTC) if value else None
        except OverflowError as e:
            raise ValueError("must lie in the years 1 to 9999, in UTC") from e


class LogQuery(Document):
    follow: Annotated[Literal["0", "1"], Field(description="1: stay connected until the run ends")] = "0"
    stream: Annotated[Literal["stdout", "stderr"] | None, Field(description="only what came on this one")] = None
    style: Annotated[
        Literal["plain", "module"], Field(description="module: as the Execute Python Script module wrote its log")
    ] = "plain"


class LogHeader(Asked):
    """Other headers may come with it."""

    last_event_id: Annotated[
        str | None,
        Field(
            alias="Last-Event-ID",
            pattern=r"^[0-9]{1,9}-[0-9]{1,15}$",
            description="for events: the id of the last one that arrived; the stream goes on after it",
        ),
    ] = None


class ComparisonQuery(Document):
    other: Annotated[
        str, Field(alias="with", max_length=100, description="the run to compare with: it is on the right")
    ]


class NoQuery(Document):
    """No query parameter is known here, so any is refused."""


class RunPath(Document):
    run_id: Annotated[str, Field(max_length=100)]


class ImagePath(RunPath):
    name: Annotated[str, Field(max_length=255)]
