"""What a server does for itself: take up what an earlier process left, say what it executes, remove what is too old."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator
from datetime import UTC, datetime, timedelta

import structlog

from controller.model import Part, Run, Waiting
from controller.services import administration, batches, mode, pump, receipts, tally
from controller.services.backend import Backend, now
from controller.services.execution import LONGEST_PAUSE_SECONDS
from controller.services.report import engine_failed
from controller.services.tidying import tidy
from controller.store.base import Which
from controller.store.state_store import State

_log = structlog.get_logger(__name__)
_LOST = engine_failed("the server was stopped while it ran, and it may not be begun again")
_AT_ONCE = 500
_JUMP_SECONDS = 600.0
_PAUSE_SECONDS = 86_400.0
_OFF_SECONDS = 7 * 86_400.0
"""A server that was off for longer may as well have a wrong clock; if it really was, it tidies a day later."""
_NOTE_SECONDS = 60.0
_UNSTARTED_SECONDS = 86_400.0
"""Until a job is forgotten that nobody starts: its places are few, and nobody may know its id any more."""
_CLOCK = "clock"


def look_after_tenants(backend: Backend) -> None:
    """What every second needs: places as the rows have them, what requests left to be written down, deletions."""
    if backend.places.refresh():
        backend.dispatcher.look_again()
    backend.uses.flush()
    backend.refusals.flush()
    administration.go_on_deleting(backend)


def take_up(backend: Backend) -> None:
    """At the start of the only server on this data directory: nothing is executed yet, so whatever says that it is was
    interrupted.

    Such a run is begun again, or ended when it may not be (Store.recover says which). Files that no row knows go.
    """
    mode.take_up(backend)
    backend.places.refresh()
    ended = backend.store.recover(backend.settings.max_attempts, _LOST, now(), all_owners=True)
    tally.given_up(backend, ended)
    strays = backend.workspaces.remove_strays(
        backend.store.known_runs, backend.batches.known, backend.scripts.known
    )
    backend.metrics.leaks("files", strays)
    queued = _submit_waiting(backend)
    pump.go_on_with_all(backend)
    _log.info("started", queued=queued, ended=len(ended), strays=strays)


def keep_leases(backend: Backend, at_work: Collection[str]) -> None:
    """Say of what is executed that it is; take up what nobody says it of, and what the dispatcher was not told."""
    backend.store.renew(at_work, backend.claim())
    ended = backend.store.recover(backend.settings.max_attempts, _LOST, now(), all_owners=False)
    tally.given_up(backend, ended)
    for run_id in ended:
        _log.warning("lease_ended", run_id=run_id)
        backend.news.changed(run_id)
    _submit_waiting(backend)
    backend.traffic.write(backend.endpoints)
    tidy(backend)
    pump.go_on_with_all(backend)


def _submit_waiting(backend: Backend) -> int:
    waiting = backend.store.waiting()
    moment = now()
    for run in waiting:
        backend.dispatcher.submit(run, _delay(run, moment))
    return len(waiting)


def _delay(run: Waiting, moment: datetime) -> float:
    """Bounded: a clock that was set back must not hold a run up for years."""
    if run.not_before is None:
        return 0.0
    return min(max(0.0, (run.not_before - moment).total_seconds()), LONGEST_PAUSE_SECONDS)


class Calendar:
    """The wall clock, watched: what is removed by age must not all be removed because the clock was set wrongly.

    It may be wrong already when the server starts. So what it showed last is kept, and what is left of a pause.
    """

    def __init__(self, state: State) -> None:
        self._state = state
        self._offset = time.time() - time.monotonic()
        self._doubtful_until = 0.0
        self._noted = float("-inf")
        if (kept := state.get(_CLOCK)) is not None:
            self._doubtful_until = time.monotonic() + min(kept["pause_seconds"], _PAUSE_SECONDS)
            ahead = time.time() - kept["seen"]
            if not -_JUMP_SECONDS <= ahead <= _OFF_SECONDS:
                self._doubt(ahead)

    def moment(self) -> datetime | None:
        """The time; None for a day after the clock has jumped. StoreError: what it shows could not be kept."""
        offset, moment = time.time() - time.monotonic(), time.monotonic()
        jump, self._offset = offset - self._offset, offset
        if abs(jump) > _JUMP_SECONDS:
            self._doubt(jump)
        if moment - self._noted >= _NOTE_SECONDS:
            left = max(0.0, self._doubtful_until - moment)
            self._state.note(_CLOCK, {"seen": time.time(), "pause_seconds": left}, now())
            self._noted = moment
        return None if moment < self._doubtful_until else datetime.now(UTC)

    def _doubt(self, seconds: float) -> None:
        _log.warning("clock_jumped", seconds=round(seconds), removal_paused_seconds=_PAUSE_SECONDS)
        self._doubtful_until = time.monotonic() + _PAUSE_SECONDS
        self._noted = float("-inf")  # a restart in the next minute must know of it


def remove_old(backend: Backend, calendar: Calendar) -> None:
    """Retention: by age, each part for its own time; then by bytes, of each tenant the longest ended first."""
    moment = calendar.moment()
    if moment is None:
        return
    settings, store = backend.settings, backend.store
    backend.endpoints.forget_unstarted(moment - timedelta(seconds=_UNSTARTED_SECONDS))
    store.forget_keys(moment - timedelta(seconds=settings.idempotency_seconds))
    ages = {
        Part.INPUTS: settings.keep_inputs_seconds,
        Part.OUTPUTS: settings.keep_outputs_seconds,
        Part.LOG: settings.keep_log_seconds,
    }
    for part, seconds in ages.items():
        if seconds is not None:
            while old := store.expired(part, moment - timedelta(seconds=seconds), _AT_ONCE):
                for run in _each(backend, old):
                    _remove_parts(backend, run, (part,))
    if settings.keep_runs_seconds is not None:
        while old := store.expired(None, moment - timedelta(seconds=settings.keep_runs_seconds), _AT_ONCE):
            for tenant_id, run_id in old:
                store.delete_run(tenant_id, run_id)
                backend.workspaces.of(run_id).remove()
        backend.endpoints.forget_jobs(moment - timedelta(seconds=settings.keep_runs_seconds))
        for tenant_id, batch_id in backend.batches.expired(
            moment - timedelta(seconds=settings.keep_runs_seconds), _AT_ONCE
        ):
            batches.forget(backend, tenant_id, batch_id)
    if settings.keep_bytes is not None:
        for tenant_id, total in store.stored_bytes().items():
            _shrink(backend, tenant_id, total - settings.keep_bytes)


def _shrink(backend: Backend, tenant_id: str, surplus: int) -> None:
    while surplus > 0 and (oldest := backend.store.oldest_stored(tenant_id, _AT_ONCE)):
        for _, run_id in oldest:
            if surplus <= 0:
                return
            run = backend.store.any_run(run_id)
            if run is None or not (freed := run.input_bytes + run.output_bytes + run.log_file_bytes):
                return  # somebody else removes some, too: the next look counts anew
            _remove_parts(backend, run, tuple(Part))
            surplus -= freed


def _each(backend: Backend, runs: Iterable[Which]) -> Iterator[Run]:
    """One after the other, as far as they are still there: together they may be gigabytes."""
    for _, run_id in runs:
        if (run := backend.store.any_run(run_id)) is not None:
            yield run


def _remove_parts(backend: Backend, run: Run, parts: tuple[Part, ...]) -> None:
    """The row first: a run that promises files it no longer has would fail whoever asks for them.

    And before that the receipt, which tells afterwards what they were.
    """
    receipts.make_ahead(backend, run)
    backend.store.mark_removed(run.id, parts)
    backend.workspaces.of(run.id).remove_parts(parts)
