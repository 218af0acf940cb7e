"""Runs as they come to their end, and what stands in between, told to the metrics. What the server does for itself
(ingesting a dataset, say) is no run: Prometheus sees what tenants see.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import suppress
from datetime import datetime

from controller.errors import AirlockError
from controller.metrics import Measurement
from controller.model import Outcome, Priority, Run, Status, TaskKind
from controller.services.backend import Backend, now
from controller.store.audit_store import Entry


def executed(backend: Backend, run: Run, outcome: Outcome) -> None:
    """It was begun, and has ended so."""
    backend.tracing.executed(run.id, outcome.timings, attempt=run.attempt, status=outcome.status)
    if run.job.task is TaskKind.RUN:
        backend.metrics.run_ended(run.priority, outcome.status, outcome.reason)
        backend.metrics.run_timed(run.priority, outcome.timings)


def ended(backend: Backend, run: Run) -> None:
    """It has ended without being executed now: its result is an earlier one's, or it was cancelled, or given up."""
    if run.job.task is TaskKind.RUN:
        backend.metrics.run_ended(run.priority, run.status, run.outcome.reason if run.outcome else None)


def given_up(backend: Backend, run_ids: Collection[str]) -> None:
    """The store ended these when it put right what was abandoned."""
    with suppress(AirlockError):  # a count is no reason to keep the server from its work
        for run in backend.store.named(run_ids):
            ended(backend, run)


def request_cancel(backend: Backend, tenant_id: str, run_id: str, entry: Entry | None = None) -> Run | None:
    """Mark the run as unwanted, and see to it. The run afterwards; None when there is none."""
    moment = now()
    after = backend.store.request_cancel(tenant_id, run_id, moment, entry)
    backend.dispatcher.cancel(run_id)
    if after is not None and after.status is Status.CANCELLED and after.finished_at == moment:
        ended(backend, after)  # it waited, and was ended by this call and no other
    return after


def measurements(backend: Backend) -> Iterator[Measurement]:
    """What stands in the queue, and what stands ready. Of a database that does not answer, nothing is said."""
    with suppress(AirlockError):
        yield from _queue(backend, now())
    yield Measurement("airlock_runs_at_work", (), backend.dispatcher.count_at_work())
    warm = backend.engine.warm()
    if warm is not None:
        yield Measurement("airlock_warm_containers", ("ready",), warm.ready)
        yield Measurement("airlock_warm_containers", ("in_use",), warm.in_use)
        yield Measurement("airlock_warm_launchers", (), warm.launchers)
        yield Measurement("airlock_starts", ("warm",), warm.taken)
        yield Measurement("airlock_starts", ("made_at_once",), warm.made_at_once)
        yield Measurement("airlock_starts", ("plain",), warm.plain)


def _queue(backend: Backend, moment: datetime) -> Iterator[Measurement]:
    found = {one.priority: one for one in backend.store.backlog()}
    for priority in Priority:
        one = found.get(priority)
        seconds = max(0.0, (moment - one.oldest).total_seconds()) if one else 0.0
        yield Measurement("airlock_queue_depth", (priority,), one.count if one else 0)
        yield Measurement("airlock_queue_oldest_seconds", (priority,), seconds)
