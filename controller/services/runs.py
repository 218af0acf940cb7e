"""The beginning of the corridor, and everything that is asked about a run afterwards."""

from __future__ import annotations

import hashlib
import itertools
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from controller.errors import AirlockError, Busy, Conflict, InvalidRequest, NotFound, TooLarge, TooManyRuns
from controller.model import Caller, Dtypes, Format, Image, Input, Job, Profile, Run, Status, Word
from controller.services import device
from controller.services.backend import LOOK_SECONDS, Backend, now, waiting
from controller.services.execution import convert
from controller.services.reuse import content_digest, reuse
from controller.services.tenants import new_id
from controller.store.base import Page
from controller.workspace import Staging

ENVIRONMENT = "default"
SCRIPT, BUNDLE = "script.py", "bundle.zip"
_NO_RUN = "there is no run with this id"


class Submission(Word):
    """What is asked for; the files lie in the staging beside it. A limit that is None is the default's."""

    profile: Profile = Profile.CLASSIC
    environment: str = ENVIRONMENT
    timeout_seconds: float | None = None
    memory_bytes: int | None = None
    cpus: float | None = None
    dtypes: Dtypes = Dtypes.NUMPY
    reuse: bool = False
    parameters: dict[str, Any] = {}
    output_format: Format = Format.ARROW
    inputs: tuple[Input, ...] = ()
    bundle: bool = False


def submit(backend: Backend, caller: Caller, staging: Staging, submission: Submission) -> Run:
    """Accept a run: when this returns, its row and its inputs are on the disk, and it will be executed.

    InvalidRequest, TooLarge, TooManyRuns, StorageFull: nothing was accepted, nothing is left.
    """
    settings = backend.settings
    script = _checked_script(staging, settings.max_script_bytes)
    if submission.environment != ENVIRONMENT:
        raise InvalidRequest(f"there is no environment {submission.environment!r}; there is {ENVIRONMENT!r}")
    if submission.bundle and staging.size(BUNDLE) > settings.max_bundle_bytes:
        size = staging.size(BUNDLE)
        raise TooLarge(
            f"the bundle has {size} bytes, the limit is {settings.max_bundle_bytes}",
            limit=settings.max_bundle_bytes,
            value=size,
        )
    formats = tuple(dict.fromkeys((Format.ARROW, submission.output_format)))
    job = Job(
        profile=submission.profile,
        dtypes=submission.dtypes,
        inputs=submission.inputs,
        bundle=submission.bundle,
        output_formats=formats,
        parameters=submission.parameters,
    )
    limits = settings.limits(submission.timeout_seconds, submission.memory_bytes, submission.cpus)
    run = Run(
        id=new_id("run"),
        tenant_id=caller.tenant_id,
        status=Status.QUEUED,
        attempt=0,
        job=job,
        limits=limits,
        environment=submission.environment,
        script_sha256=hashlib.sha256(script).hexdigest(),
        created_at=now(),
    )
    if submission.reuse:
        run = run.model_copy(update={"content_sha256": content_digest(run, staging)})
    workspace = backend.workspaces.of(run.id)
    staging.seal(workspace.root)
    run = reuse(backend, run) or run
    # The files first: a row without its files would be an accepted run that cannot be executed.
    accepted = False
    try:
        accepted = backend.store.add_run(run, settings.max_queued_runs)
    finally:
        if not accepted:
            workspace.remove()
    if not accepted:
        limit = settings.max_queued_runs
        raise TooManyRuns(f"{limit} runs of yours are waiting, which is the limit: try again later", limit=limit)
    if not run.status.final:
        backend.dispatcher.submit(run.id)
    return run


def _checked_script(staging: Staging, limit_bytes: int) -> bytes:
    size = staging.size(SCRIPT)
    if size > limit_bytes:
        detail = f"the script has {size} bytes, the limit is {limit_bytes}; put modules into the bundle"
        raise TooLarge(detail, code="script_too_large", limit=limit_bytes, value=size)
    script = staging.read(SCRIPT, limit_bytes)
    if not script.strip():
        raise InvalidRequest("the script is empty", errors=[{"where": "script", "message": "is empty"}])
    return script


def get(backend: Backend, caller: Caller, run_id: str) -> Run:
    """The run. NotFound for a missing one and for another tenant's, in the same words."""
    run = backend.store.run(caller.tenant_id, run_id)
    if run is None:
        raise NotFound(_NO_RUN)
    return run


def page(
    backend: Backend,
    caller: Caller,
    limit: int,
    status: Status | None,
    created_after: datetime | None,
    before: tuple[datetime, str] | None,
) -> Page:
    return backend.store.runs(caller.tenant_id, limit, status=status, created_after=created_after, before=before)


def wait(backend: Backend, caller: Caller, run_id: str, seconds: float, client_is_gone: Callable[[], bool]) -> Run:
    """The run when it has ended, or as it is after this time, or when waiting makes no sense any more.

    Where too many requests wait already, it is answered at once: a wait is a wish.
    """
    run = get(backend, caller, run_id)
    if run.status.final or seconds <= 0:
        return run
    deadline = time.monotonic() + seconds
    with suppress(Busy), waiting(backend), backend.news.watch(run_id) as watch:
        run = get(backend, caller, run_id)
        while not run.status.final and (left := deadline - time.monotonic()) > 0:
            watch.wait(min(left, LOOK_SECONDS))
            if watch.changed():
                run = get(backend, caller, run_id)
            if backend.news.closed or client_is_gone():
                break
        return get(backend, caller, run_id)
    return run


def cancel(backend: Backend, caller: Caller, run_id: str) -> Run:
    """Stop the run, queued or running. Conflict when it has ended already."""
    before = get(backend, caller, run_id)
    if before.status.final:
        raise Conflict(f"the run has ended already: its status is {before.status}")
    after = backend.store.request_cancel(caller.tenant_id, run_id, now())
    backend.dispatcher.cancel(run_id)
    if after is not None and after.status.final:
        backend.news.changed(run_id)
    return get(backend, caller, run_id)


def delete(backend: Backend, caller: Caller, run_id: str) -> None:
    """Forget everything of a run that has ended: its row first, then its files."""
    get(backend, caller, run_id)
    if not backend.store.delete_run(caller.tenant_id, run_id):
        raise Conflict("the run has not ended: cancel it first")
    backend.workspaces.of(run_id).remove()
    backend.news.changed(run_id)


def output(backend: Backend, run: Run, port: int, format: Format) -> Path:
    """The file of the run's result, or second table, in this format; made in a sandbox if it is not there yet.

    Conflict when the run has none; ConversionFailed, EngineError, StorageFull, Busy. NotFound when it was deleted
    meanwhile.
    """
    if run.status is not Status.SUCCEEDED:
        raise Conflict(f"the run has no output: its status is {run.status}", code="no_output")
    if port not in run.job.profile.output_ports:
        raise Conflict("the run has no second table: only the profile `designer` gives one", code="no_output")
    workspace = backend.workspaces.of(run.id)
    source = Input(port=1, format=Format.ARROW)
    data = workspace.result(port, Format.ARROW)
    return _converted(backend, run, source, data, format, workspace.result(port, format))


def _converted(
    backend: Backend, run: Run, source: Input, data: Path | Iterable[bytes], format: Format, path: Path
) -> Path:
    try:
        if path.exists():
            return path
        with waiting(backend):
            return convert(backend, run, source, data, format, path)
    except (AirlockError, FileNotFoundError):
        if backend.store.run(run.tenant_id, run.id) is None:
            raise NotFound(_NO_RUN) from None
        raise


def device_table(backend: Backend, run: Run, format: Format) -> Path:
    """The device port as a table in this format, made in a sandbox if it is not there yet. Errors as of `output`."""
    _require_end(run)
    source = Input(port=1, format=Format.AZURE_JSON)
    path = backend.workspaces.of(run.id).device(format)
    return _converted(backend, run, source, device.azure_table(backend, run), format, path)


def device_records(backend: Backend, run: Run) -> Iterator[bytes]:
    """The device port as JSON records. Conflict while the run has not ended, NotFound when it is gone."""
    _require_end(run)
    pieces = device.records(backend, run)
    try:
        return itertools.chain([next(pieces)], pieces)
    except FileNotFoundError:
        raise NotFound(_NO_RUN) from None


def device_page(backend: Backend, run: Run) -> Iterator[bytes]:
    """The device port as an HTML page; of a run that goes on, as far as it is."""
    return device.page(backend, run)


def _require_end(run: Run) -> None:
    if not run.status.final:
        raise Conflict(f"the device port is a table when the run has ended: its status is {run.status}")


def image(backend: Backend, run: Run, name: str) -> tuple[Image, Iterator[bytes]]:
    """The image of this name, and its bytes in pieces. NotFound."""
    for stored in run.outcome.images if run.outcome else ():
        if stored.name == name:
            try:
                return stored, backend.workspaces.of(run.id).open_image(stored.offset, stored.bytes)
            except FileNotFoundError:
                raise NotFound(_NO_RUN) from None
    raise NotFound("the run has no image of this name")
