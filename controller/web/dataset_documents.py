"""The documents of /v1/datasets."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import Field

from controller.model import Column, Compression, DatasetStatus, Format, Reading, Reason, RunWarning, ScriptError
from controller.store.dataset_store import Dataset
from controller.web.documents import DatasetName, Document, VersionNumber, WaitQuery


class DatasetDocument(Document):
    """A version of a dataset."""

    id: str
    name: str
    version: int
    status: DatasetStatus
    reason: Annotated[Reason | None, Field(description="why it failed, as of a run")]
    error: ScriptError | None
    warnings: list[RunWarning]
    rows: int | None
    columns: list[Column] | None
    bytes: Annotated[int | None, Field(description="of its Arrow file")]
    format: Format
    compression: Compression | None
    options: Annotated[Reading, Field(description="how what was sent is read")]
    source_bytes: int
    source_sha256: str
    created_at: datetime
    finished_at: Annotated[datetime | None, Field(description="when its ingest ended")]


def dataset_document(dataset: Dataset) -> dict[str, Any]:
    """A version as the API shows it."""
    version, run = dataset.version, dataset.run
    outcome = run.outcome
    table = outcome.output if outcome else None
    document = DatasetDocument(
        id=version.id,
        name=version.name,
        version=version.version,
        status=dataset.status,
        reason=outcome.reason if outcome else None,
        error=outcome.error if outcome else None,
        warnings=list(outcome.warnings) if outcome else [],
        rows=table.rows if table else None,
        columns=list(table.columns) if table else None,
        bytes=table.bytes if table else None,
        format=version.format,
        compression=version.compression,
        options=run.job.inputs[0].reading,
        source_bytes=version.source_bytes,
        source_sha256=version.source_sha256,
        created_at=version.created_at,
        finished_at=run.finished_at,
    )
    return document.model_dump(mode="json")


class DatasetList(Document):
    items: list[DatasetDocument]
    next_cursor: str | None


class DatasetPath(Document):
    name: DatasetName


class VersionQuery(Document):
    version: Annotated[VersionNumber | None, Field(description="without it, the newest that is ready")] = None


class OneQuery(VersionQuery, WaitQuery):
    pass


class DeleteQuery(Document):
    version: Annotated[VersionNumber | None, Field(description="without it, all of them")] = None


class PutQuery(WaitQuery):
    format: Annotated[Format | None, Field(description="of the file, whatever its Content-Type says")] = None
    compression: Annotated[Compression | None, Field(description="of the file, likewise")] = None


class DatasetsQuery(Document):
    prefix: Annotated[str, Field(pattern="^[A-Za-z0-9._-]{0,100}$", description="of the names")] = ""
    limit: Annotated[int, Field(ge=1, le=100)] = 50
    cursor: Annotated[str | None, Field(max_length=200, description="next_cursor of the page before")] = None


class VersionsQuery(Document):
    limit: Annotated[int, Field(ge=1, le=100)] = 50
    cursor: Annotated[
        str | None, Field(pattern="^[0-9]{1,9}$", description="next_cursor of the page before")
    ] = None
