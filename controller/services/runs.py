"""Everything that is asked about a run after it was accepted."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from controller.errors import AirlockError, Busy, Conflict, Gone, NotFound
from controller.failpoints import failpoint
from controller.model import Caller, Format, Image, Input, Part, Run, Status, TaskKind
from controller.services import device, pump
from controller.services.audit import entry
from controller.services.backend import LOOK_SECONDS, Backend, waiting
from controller.services.execution import convert
from controller.services.tally import request_cancel
from controller.store.audit_store import Entry
from controller.store.base import Page, RunFilter

NO_RUN = "there is no run with this id"


def get(backend: Backend, caller: Caller, run_id: str) -> Run:
    """The run of a script. NotFound for a missing one and for another tenant's, in the same words."""
    run = backend.store.run(caller.tenant_id, run_id)
    if run is None or run.job.task is not TaskKind.RUN:
        raise NotFound(NO_RUN)
    return run


def page(
    backend: Backend, caller: Caller, limit: int, wanted: RunFilter, before: tuple[datetime, str] | None
) -> Page:
    return backend.store.runs(caller.tenant_id, limit, wanted, before)


def position(backend: Backend, run: Run) -> int | None:
    """How many turns until a queued run begins, 1 when it is next; None when it does not wait for a turn."""
    return backend.dispatcher.position(run.id) if run.status is Status.QUEUED else None


def wait(
    backend: Backend,
    caller: Caller,
    run_id: str,
    seconds: float,
    client_is_gone: Callable[[], bool],
    known: tuple[int, Run] | None = None,
) -> Run:
    """The run when it has ended, or as it is after this time, or when waiting makes no sense any more."""
    return wait_for(backend, caller, run_id, lambda: get(backend, caller, run_id), seconds, client_is_gone, known)


def wait_for(
    backend: Backend,
    caller: Caller,
    run_id: str,
    look: Callable[[], Run],
    seconds: float,
    client_is_gone: Callable[[], bool],
    known: tuple[int, Run] | None = None,
) -> Run:
    """Wait for a run's end; `look` gives the run as it is, and may raise when it is gone. `known` is the run as it was
    found or made after so many changes had been told: it need not be looked up as long as none was since.

    Where too many requests wait already, it is answered at once: a wait is a wish.
    """
    if seconds <= 0:
        return look()
    deadline = time.monotonic() + seconds
    with suppress(Busy), waiting(backend, caller.tenant_id), backend.news.watch(run_id, end_only=True) as watch:
        run = known[1] if known is not None and known[0] == backend.news.told else look()
        while not run.status.final and (left := deadline - time.monotonic()) > 0:
            watch.wait(min(left, LOOK_SECONDS))
            if watch.changed():
                run = watch.ended or look()
            if backend.news.closed or client_is_gone():
                break
        if run.status.final:
            return run
    return look()


def cancel(backend: Backend, caller: Caller, run_id: str) -> Run:
    """Stop the run, queued or running. Conflict when it has ended already."""
    before = get(backend, caller, run_id)
    if before.status.final:
        raise Conflict(f"the run has ended already: its status is {before.status}")
    after = request_cancel(backend, caller.tenant_id, run_id, entry(caller, "run.cancel", run_id))
    if after is not None and after.status.final:
        backend.news.changed(run_id)
        pump.go_on(backend, caller.tenant_id, after.batch_id)
    return get(backend, caller, run_id)


def delete(backend: Backend, caller: Caller, run_id: str) -> None:
    """Forget everything of a run that has ended: its row first, then its files."""
    get(backend, caller, run_id)
    if not forget(backend, caller.tenant_id, run_id, entry(caller, "run.delete", run_id)):
        raise Conflict("the run has not ended: cancel it first")


def forget(backend: Backend, tenant_id: str, run_id: str, done: Entry | None = None) -> bool:
    """As `delete`; False when the run has not ended, or is not there."""
    if not backend.store.delete_run(tenant_id, run_id, done):
        return False
    failpoint("row_deleted")
    backend.workspaces.of(run_id).remove()
    backend.news.changed(run_id)
    return True


def output(backend: Backend, run: Run, port: int, format: Format) -> Path:
    """The file of the run's result, or second table, in this format; made in a sandbox if it is not there yet.

    Conflict when the run has none; ConversionFailed, EngineError, StorageFull, Busy. NotFound when it was deleted
    meanwhile.
    """
    if run.status is not Status.SUCCEEDED:
        raise Conflict(f"the run has no output: its status is {run.status}", code="no_output")
    if port not in run.job.profile.output_ports:
        raise Conflict("the run has no second table: only the profile `designer` gives one", code="no_output")
    require(run, Part.OUTPUTS)
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
        with waiting(backend, run.tenant_id):
            return convert(backend, run, source, data, format, path)
    except (AirlockError, FileNotFoundError):
        if backend.store.run(run.tenant_id, run.id) is None:
            raise NotFound(NO_RUN) from None
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
        raise NotFound(NO_RUN) from None


def device_page(backend: Backend, run: Run) -> Iterator[bytes]:
    """The device port as an HTML page; of a run that goes on, as far as it is."""
    require(run, Part.LOG)
    require(run, Part.OUTPUTS)
    return device.page(backend, run)


def _require_end(run: Run) -> None:
    if not run.status.final:
        raise Conflict(f"the device port is a table when the run has ended: its status is {run.status}")
    require(run, Part.LOG)
    require(run, Part.OUTPUTS)


def image(backend: Backend, run: Run, name: str) -> tuple[Image, Iterator[bytes]]:
    """The image of this name, and its bytes in pieces. NotFound."""
    for stored in run.outcome.images if run.outcome else ():
        if stored.name == name:
            require(run, Part.OUTPUTS)
            try:
                return stored, backend.workspaces.of(run.id).open_image(stored.offset, stored.bytes)
            except FileNotFoundError:
                raise NotFound(NO_RUN) from None
    raise NotFound("the run has no image of this name")


def require(run: Run, part: Part) -> None:
    """Gone when retention has removed this part of a run's files."""
    if part in run.removed:
        raise Gone(f"the {part} of this run were removed: the server keeps them for a time (`removed` says which)")
