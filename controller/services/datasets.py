"""Datasets: tables that are kept under a name, in versions. A version is made by an ingest run, from whatever was
sent, and IS that run's Arrow file; runs use it by a link, never by a copy (docs/datasets.md).
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from controller.errors import Conflict, NotFound
from controller.model import Caller, Column, DatasetStatus, DatasetUse, Format, Run
from controller.services import runs
from controller.services.audit import entry
from controller.services.backend import Backend, now
from controller.store.dataset_store import Dataset, DatasetPage, VersionPage
from controller.workspace import Staging

NAME = r"^[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}$"
NO_DATASET = "there is no dataset, or no version of it, with this name"


class DatasetFile(NamedTuple):
    """A version that can be used, and its table in the Arrow file format. The path is for links only: whoever wants to
    keep the file must link it, for it goes when the version is deleted."""

    id: str
    name: str
    version: int
    path: Path
    rows: int
    columns: tuple[Column, ...]
    bytes: int

    @property
    def use(self) -> DatasetUse:
        """How a run's input names it."""
        return DatasetUse(id=self.id, name=self.name, version=self.version)


def resolve(backend: Backend, caller: Caller, name: str, version: int | None = None) -> DatasetFile:
    """The version of this number, or the newest that is ready.

    NotFound. Conflict `dataset_not_ready` while it is being ingested, `dataset_failed` when that failed.
    """
    found = _ready(backend, caller, name, version)
    output = found.run.outcome.output if found.run.outcome else None
    return DatasetFile(
        id=found.version.id,
        name=name,
        version=found.version.version,
        path=backend.workspaces.of(found.run.id).result(1, Format.ARROW),
        rows=output.rows if output else 0,
        columns=output.columns if output else (),
        bytes=output.bytes if output else 0,
    )


def link(staging: Staging, name: str, dataset: DatasetFile) -> None:
    """Take the table into the inputs of a run, under this name: the same file. NotFound when it is deleted meanwhile.
    """
    try:
        staging.link(name, dataset.path)
    except FileNotFoundError:
        raise NotFound(NO_DATASET) from None


def get(backend: Backend, caller: Caller, name: str, version: int | None = None) -> Dataset:
    """The version of this number; else the newest that is ready, or when none is, the newest. NotFound."""
    store = backend.datasets
    if version is not None:
        found = store.version(caller.tenant_id, name, version)
    else:
        found = store.newest(caller.tenant_id, name, ready=True) or store.newest(caller.tenant_id, name)
    if found is None:
        raise NotFound(NO_DATASET)
    return found


def _ready(backend: Backend, caller: Caller, name: str, version: int | None) -> Dataset:
    found = get(backend, caller, name, version)
    called = f"version {found.version.version} of the dataset {name}"
    if found.status is DatasetStatus.INGESTING:
        raise Conflict(f"{called} is still being ingested: wait until its status is ready", code="dataset_not_ready")
    if found.status is DatasetStatus.FAILED:
        raise Conflict(f"{called} could not be ingested: {_reason(found.run)}", code="dataset_failed")
    return found


def _reason(run: Run) -> str:
    if run.outcome is not None and run.outcome.error is not None:
        return run.outcome.error.message
    return "the ingest was cancelled"


def page(
    backend: Backend, caller: Caller, limit: int, prefix: str, before: tuple[datetime, str] | None
) -> DatasetPage:
    return backend.datasets.page(caller.tenant_id, limit, prefix, before)


def versions(backend: Backend, caller: Caller, name: str, limit: int, below: int | None) -> VersionPage:
    """NotFound when there is none at all."""
    found = backend.datasets.versions(caller.tenant_id, name, limit, below)
    if not found.datasets and below is None:
        raise NotFound(NO_DATASET)
    return found


# -- reading -----------------------------------------------------------------------------------------------------


def table(backend: Backend, caller: Caller, name: str, version: int | None, format: Format) -> tuple[Dataset, Path]:
    """A version's table in this format; made in a sandbox if it is not there yet. Errors as of `resolve`, and
    ConversionFailed, EngineError, StorageFull, Busy."""
    found = _ready(backend, caller, name, version)
    try:
        return found, runs.output(backend, found.run, 1, format)
    except NotFound:
        raise NotFound(NO_DATASET) from None


def document(backend: Backend, caller: Caller, name: str, version: int | None, file: str) -> tuple[Dataset, Path]:
    """One of the JSON documents that the sandbox wrote beside the table. Errors as of `resolve`."""
    found = _ready(backend, caller, name, version)
    return found, backend.workspaces.of(found.run.id).document(file)


# -- removing ----------------------------------------------------------------------------------------------------


def delete(backend: Backend, caller: Caller, name: str, version: int | None) -> None:
    """Delete a version, or all of a name; an ingest at work is stopped. Runs that took the file keep it.

    NotFound; Conflict `dataset_in_use` while a batch goes on that takes its items from it.
    """
    done = entry(caller, "dataset.delete", name=name, version=version)
    removed = backend.datasets.delete(caller.tenant_id, name, version, now(), done)
    if removed is None:
        raise NotFound(NO_DATASET)
    if removed.users:
        detail = f"the dataset {name} is in use by {', '.join(removed.users[:10])}: wait for it, or cancel it"
        raise Conflict(detail, code="dataset_in_use")
    for run_id in removed.forgotten:
        backend.workspaces.of(run_id).remove()
    for run_id in (*removed.forgotten, *removed.stopping):
        backend.dispatcher.cancel(run_id)
        backend.news.changed(run_id)
