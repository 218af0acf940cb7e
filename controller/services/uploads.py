"""How a file becomes a version of a dataset: its rows and its source durable, then an ingest run in a sandbox."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Literal

from controller.errors import ConditionFailed, Conflict, InvalidRequest
from controller.failpoints import failpoint
from controller.model import (
    Caller,
    Compression,
    DatasetVersion,
    Format,
    Input,
    Job,
    Priority,
    Reading,
    Run,
    Status,
    TaskKind,
    Word,
)
from controller.services import quotas, runs
from controller.services.acceptance import keep
from controller.services.backend import Backend, now
from controller.services.datasets import get
from controller.services.mode import require_open
from controller.services.submission import ENVIRONMENT, first_of
from controller.services.tenants import new_id
from controller.store.base import Added, Idempotent
from controller.store.dataset_store import Dataset, Expected, Put
from controller.workspace import Staging

SOURCE = "dataframe1"
"""The file that was sent, in the staging and among the ingest run's inputs."""


class Upload(Word):
    """What was received; the file lies in the staging beside it."""

    name: str
    format: Format
    compression: Compression | None = None
    reading: Reading = Reading()
    bytes: int
    sha256: str


def check(backend: Backend, caller: Caller, name: str, expected: Expected) -> None:
    """ConditionFailed when what is expected does not hold now: asked before a body is received, and again after."""
    newest = backend.datasets.newest(caller.tenant_id, name)
    if not expected.holds(newest):
        raise _unexpected(name)


def put(
    backend: Backend,
    caller: Caller,
    staging: Staging,
    upload: Upload,
    expected: Expected,
    *,
    key: str | None = None,
    waits: bool = False,
) -> tuple[Dataset, Literal["new", "same", "replayed"]]:
    """Accept a version: when this returns, the rows of it and of its run and its source are on the disk.

    `same`: it is the newest version, which had the same content. `replayed`: the one that the first request of this
    idempotency key made. InvalidRequest, ConditionFailed, Conflict, TooManyRuns, StorageFull: nothing was accepted.
    """
    failpoint("inputs_received")
    if upload.bytes == 0:
        message = "is empty: a dataset is a table, and the shortest has a line of names"
        raise InvalidRequest(f"the file {message}", errors=[{"where": "file", "message": message}])
    version, run = _new(backend, caller, upload, waits)
    idempotent = _idempotent(version, key, expected)
    if idempotent is not None and (earlier := first_of(backend, idempotent)) is not None:
        return _first(backend, caller, earlier), "replayed"
    newest = backend.datasets.newest(caller.tenant_id, upload.name)
    if expected.holds(newest) and newest is not None and newest.has(version.content_sha256):
        return newest, "same"
    said, stored, refused, share = Put.UNEXPECTED, None, run, quotas.of_caller(backend, caller)

    def add(run: Run) -> Run | None:
        nonlocal said, stored, refused
        refused, most = run, backend.settings.max_queued_runs
        said, stored = backend.datasets.add(version, run, most, expected, idempotent, share)
        return run if said is Put.ADDED else None

    require_open(backend)
    keep(backend, staging, run, add)
    if said is Put.KEY_TAKEN and idempotent is not None:  # by a request of the same moment
        return _first(backend, caller, first_of(backend, idempotent)), "replayed"
    if said is Put.UNEXPECTED:
        raise _unexpected(upload.name)
    if stored is None:
        raise quotas.refusal(backend, refused, share, Added(said))
    return get(backend, caller, upload.name, stored.version), "new" if said is Put.ADDED else "same"


def _new(backend: Backend, caller: Caller, upload: Upload, waits: bool) -> tuple[DatasetVersion, Run]:
    """Limits are the largest there are: what is executed is no tenant's script, and what is read may be large."""
    moment, settings, share = now(), backend.settings, quotas.of_caller(backend, caller)
    source = Input(port=1, format=upload.format, compression=upload.compression, reading=upload.reading)
    run = Run(
        id=new_id("run"),
        tenant_id=caller.tenant_id,
        status=Status.QUEUED,
        attempt=0,
        job=Job(task=TaskKind.INGEST, inputs=(source,)),
        limits=settings.limits(settings.max_timeout_seconds, settings.max_memory_bytes, quotas=share),
        environment=ENVIRONMENT,
        script_sha256="",
        priority=Priority.INTERACTIVE if waits else Priority.NORMAL,
        created_at=moment,
    )
    version = DatasetVersion(
        id=new_id("dsv"),
        tenant_id=caller.tenant_id,
        name=upload.name,
        version=0,  # the store gives it
        run_id=run.id,
        format=upload.format,
        compression=upload.compression,
        source_bytes=upload.bytes,
        source_sha256=upload.sha256,
        content_sha256=_digest(upload.sha256, source.model_dump(mode="json")),
        created_at=moment,
    )
    return version, run


def _idempotent(version: DatasetVersion, key: str | None, expected: Expected) -> Idempotent | None:
    if key is None:
        return None
    return Idempotent(
        tenant_id=version.tenant_id,
        key=key,
        payload_sha256=_digest("dataset", version.name, version.content_sha256, expected.model_dump(mode="json")),
        resource_id=version.id,
        created_at=version.created_at,
    )


def _digest(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _first(backend: Backend, caller: Caller, version_id: str | None) -> Dataset:
    """The version that the first request of an idempotency key made."""
    found = backend.datasets.by_id(caller.tenant_id, version_id) if version_id else None
    if found is None:
        raise Conflict("the version that this Idempotency-Key made was just deleted: try again", code="key_in_use")
    return found


def _unexpected(name: str) -> ConditionFailed:
    return ConditionFailed(f"the dataset {name} is not as If-Match or If-None-Match expect it: look at it first")


def wait(
    backend: Backend, caller: Caller, dataset: Dataset, seconds: float, client_is_gone: Callable[[], bool]
) -> Dataset:
    """The version when its ingest has ended, or as it is after this time. NotFound when it is deleted meanwhile."""
    version = dataset.version

    def look() -> Run:
        return get(backend, caller, version.name, version.version).run

    runs.wait_for(backend, caller, version.run_id, look, seconds, client_is_gone)
    return get(backend, caller, version.name, version.version)
