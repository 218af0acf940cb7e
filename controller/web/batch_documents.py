"""The documents of /v1/batches."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import Field

from controller.model import Limits, Reason, ScriptError
from controller.services.backend import now
from controller.services.batches import eta_seconds
from controller.store.batch_store import Batch, BatchStatus, Counts, ItemState, ItemStatus
from controller.web.documents import (
    DatasetName,
    DatasetReference,
    Document,
    Options,
    ScriptReference,
    UsedScript,
    VersionNumber,
    WaitQuery,
)


class BatchSource(Document):
    """What the items are made of: `datasets`, one item for each; or `dataset`, cut into items of so many `rows`, or
    into one for each value of a `column`."""

    datasets: Annotated[list[DatasetName | DatasetReference], Field(fail_fast=True)] | None = None
    dataset: DatasetName | None = None
    version: VersionNumber | None = None
    rows: Annotated[int | None, Field(ge=1, lt=2**63)] = None
    column: Annotated[str | None, Field(min_length=1, max_length=1000)] = None
    parallel: Annotated[int, Field(description="items under way at once", lt=2**31)] = 4
    parameter: Annotated[
        str | None,
        Field(min_length=1, max_length=100, description="under which the script finds its item's number and label"),
    ] = None


class BatchBody(Document):
    """POST /v1/batches with a JSON body; a bundle goes in a multipart/form-data body instead."""

    script: Annotated[str | None, Field(description="Python source that defines azureml_main, or `script_ref`")] = None
    script_ref: ScriptReference | None = None
    batch: BatchSource
    dataframe2: Annotated[DatasetReference | None, Field(description="the second table of every item")] = None
    options: Options = Options()


class ItemCounts(Document):
    """How many items stand where."""

    waiting: int
    queued: int
    running: int
    succeeded: int
    failed: int
    cancelled: int
    removed: int


class BatchDocument(Document):
    """A batch."""

    id: str
    status: BatchStatus
    batch: Annotated[dict[str, Any], Field(description="the items that were asked for")]
    error: Annotated[ScriptError | None, Field(description="why it could not be prepared")]
    parallel: int
    total: Annotated[int | None, Field(description="items; null while they are not known")]
    counts: ItemCounts
    eta_seconds: Annotated[float | None, Field(description="at the rate so far; null until there is one")]
    environment: str
    limits: Limits
    script_sha256: str
    script: Annotated[UsedScript | None, Field(description="where it is a stored one")]
    at_most_once: bool
    created_at: datetime
    finished_at: datetime | None


def batch_document(batch: Batch, counts: Counts) -> dict[str, Any]:
    """A batch as the API shows it."""
    template = batch.template
    document = BatchDocument(
        id=batch.id,
        status=batch.status,
        batch=batch.source,
        error=batch.error,
        parallel=batch.parallel,
        total=batch.total,
        counts=ItemCounts(**{str(status): count for status, count in counts.items.items()}),
        eta_seconds=eta_seconds(batch, counts, now()),
        environment=template.environment,
        limits=template.limits,
        script_sha256=template.script_sha256,
        script=UsedScript(**template.script.model_dump()) if template.script else None,
        at_most_once=template.at_most_once,
        created_at=batch.created_at,
        finished_at=batch.finished_at,
    )
    return document.model_dump(mode="json")


class BatchList(Document):
    items: list[BatchDocument]
    next_cursor: str | None


class ItemError(Document):
    """Of a failed item's run, which has it whole."""

    code: str
    message: str


class ItemDocument(Document):
    """An item of a batch."""

    number: int
    label: Annotated[Any, Field(description="the group's value; the dataset's name and version; or the rows")]
    status: ItemStatus
    reason: Reason | None
    error: ItemError | None
    run_id: Annotated[str | None, Field(description="its present run; null before it has one")]
    retries: int


def item_document(state: ItemState) -> dict[str, Any]:
    """An item as the API shows it."""
    error = ItemError(code=state.error_code, message=state.error_message or "") if state.error_code else None
    document = ItemDocument(
        number=state.item.number,
        label=state.item.label,
        status=state.status,
        reason=state.reason,
        error=error,
        run_id=state.item.run_id,
        retries=state.item.retries,
    )
    return document.model_dump(mode="json")


class ItemList(Document):
    items: list[ItemDocument]
    next_cursor: str | None


class BatchPath(Document):
    batch_id: Annotated[str, Field(max_length=100)]


class BatchesQuery(Document):
    limit: Annotated[int, Field(ge=1, le=100)] = 50
    cursor: Annotated[str | None, Field(max_length=200, description="next_cursor of the page before")] = None


class ItemsQuery(Document):
    status: ItemStatus | None = None
    limit: Annotated[int, Field(ge=1, le=100)] = 50
    cursor: Annotated[
        str | None, Field(pattern="^[0-9]{1,9}$", description="next_cursor of the page before")
    ] = None


class OutputQuery(Document):
    partial: Annotated[bool, Field(description="1: of those items that succeeded")] = False


class BatchWaitQuery(WaitQuery):
    wait: Annotated[float, Field(ge=0, allow_inf_nan=False, description="seconds to wait for the batch's end")] = 0
