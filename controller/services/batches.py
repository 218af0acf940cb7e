"""Batches: one script over many tables. A batch is accepted here, and asked about; services/pump.py executes it."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime

from controller.errors import Busy, Conflict, NotFound
from controller.model import Caller
from controller.services import pump
from controller.services.audit import entry
from controller.services.backend import LOOK_SECONDS, Backend, now, waiting
from controller.store.audit_store import Entry
from controller.store.batch_store import (
    Batch,
    BatchPage,
    BatchStatus,
    Counts,
    ItemPage,
    ItemStatus,
)

NO_BATCH = "there is no batch with this id"
_UNENDED = (ItemStatus.WAITING, ItemStatus.QUEUED, ItemStatus.RUNNING)


def get(backend: Backend, caller: Caller, batch_id: str) -> Batch:
    """The batch. NotFound for a missing one and for another tenant's, in the same words."""
    batch = backend.batches.batch(caller.tenant_id, batch_id)
    if batch is None:
        raise NotFound(NO_BATCH)
    return batch


def page(backend: Backend, caller: Caller, limit: int, before: tuple[datetime, str] | None) -> BatchPage:
    return backend.batches.page(caller.tenant_id, limit, before)


def counts(backend: Backend, batch: Batch) -> Counts:
    return backend.batches.counts(batch)


def items(
    backend: Backend, caller: Caller, batch_id: str, limit: int, after: int, status: ItemStatus | None
) -> ItemPage:
    return backend.batches.items(get(backend, caller, batch_id), limit, after, status)


def eta_seconds(batch: Batch, counts: Counts, moment: datetime) -> float | None:
    """How long it will go on at the rate so far; None while there is none, and when it has ended."""
    if batch.status is not BatchStatus.RUNNING or not counts.ended or batch.begun_at is None:
        return None
    left = sum(counts.items.get(status, 0) for status in _UNENDED)
    return max(0.0, (moment - batch.begun_at).total_seconds()) / counts.ended * left


def wait(
    backend: Backend, caller: Caller, batch_id: str, seconds: float, client_is_gone: Callable[[], bool]
) -> Batch:
    """The batch when it has ended, or as it is after this time. Where too many requests wait, as it is at once."""
    batch = get(backend, caller, batch_id)
    if batch.finished_at is not None or seconds <= 0:
        return batch
    deadline = time.monotonic() + seconds
    with suppress(Busy), waiting(backend, caller.tenant_id), backend.news.watch(batch_id) as watch:
        batch = get(backend, caller, batch_id)
        while batch.finished_at is None and (left := deadline - time.monotonic()) > 0:
            watch.wait(min(left, LOOK_SECONDS))
            if watch.changed():
                batch = get(backend, caller, batch_id)
            if backend.news.closed or client_is_gone():
                break
        return get(backend, caller, batch_id)
    return batch


def cancel(backend: Backend, caller: Caller, batch_id: str) -> Batch:
    """Stop what of it is under way, and begin nothing more. Conflict when it has ended."""
    batch = get(backend, caller, batch_id)
    if not backend.batches.request_cancel(caller.tenant_id, batch_id, entry(caller, "batch.cancel", batch_id)):
        raise Conflict(f"the batch has ended already: its status is {get(backend, caller, batch_id).status}")
    pump.advance(backend, batch.tenant_id, batch.id)
    return get(backend, caller, batch_id)


def retry(backend: Backend, caller: Caller, batch_id: str) -> Batch:
    """Begin the items again that failed or were cancelled. Conflict while it goes on, and when there are none."""
    batch = get(backend, caller, batch_id)
    if batch.status is BatchStatus.FAILED:
        raise Conflict("the batch could not be prepared, so it has no items: `error` says why; make another one")
    retried = backend.batches.retry(caller.tenant_id, batch_id, now(), entry(caller, "batch.retry", batch_id))
    if retried is None:
        raise Conflict("the batch has not ended: wait for it, or cancel it first")
    if not retried.items:
        raise Conflict("no item of the batch failed or was cancelled", code="nothing_to_retry")
    if retried.output_run_id is not None:
        backend.workspaces.of(retried.output_run_id).remove()
    pump.go_on(backend, batch.tenant_id, batch.id)
    return get(backend, caller, batch_id)


def delete(backend: Backend, caller: Caller, batch_id: str) -> None:
    """Forget the batch and all its runs. Conflict when it has not ended."""
    get(backend, caller, batch_id)
    if not forget(backend, caller.tenant_id, batch_id, entry(caller, "batch.delete", batch_id)):
        raise Conflict("the batch has not ended, or its output is being put together: cancel it, or wait")


def forget(backend: Backend, tenant_id: str, batch_id: str, done: Entry | None = None) -> bool:
    """Remove it, rows first; False when it may not be removed now."""
    deleted = backend.batches.delete(tenant_id, batch_id, done)
    for run_id in deleted.run_ids:
        backend.workspaces.of(run_id).remove()
    if deleted.done:
        backend.workspaces.of_batch(batch_id).remove()
    return deleted.done
