"""What the store is told, and asked, about a run that this server has claimed: until it answers.

What is over must not stay `running`; and a database or a disk that is away for a while is no reason to run a script
again, or to give up its result.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from typing import TypeVar

import structlog

from controller.errors import Unavailable
from controller.model import Outcome, Run
from controller.services.backend import Backend, now

LONGEST_PAUSE_SECONDS = 5.0
_Answer = TypeVar("_Answer")
_log = structlog.get_logger(__name__)


def finish(backend: Backend, run: Run, outcome: Outcome) -> Run | None:
    """Write the outcome down: the run as it ended. None when it is no longer ours."""

    def write() -> Run | None:
        stored, moment = backend.workspaces.of(run.id).stored(), now()
        if not backend.store.finish(run.id, run.attempt, outcome, moment, stored):
            return None
        kept = {"output_bytes": stored.output_bytes, "log_file_bytes": stored.log_bytes}
        return run.model_copy(
            update=kept | {"status": outcome.status, "outcome": outcome, "finished_at": moment}
        )

    return _until_stored(run, write)


def release(
    backend: Backend, run: Run, not_before: datetime | None = None, *, failed: bool = False, begun: bool = True
) -> bool:
    """Store.release; whoever watches the run is told."""

    def write() -> bool:
        return backend.store.release(run.id, run.attempt, not_before, failed=failed, begun=begun)

    released = _until_stored(run, write)
    if released:
        backend.news.changed(run.id)
    return released


def cancelled(backend: Backend, run: Run) -> bool:
    """Whether its end was asked for."""
    return _until_stored(run, lambda: backend.store.cancel_requested(run.id))


def failure(error: Unavailable | OSError) -> str:
    """In words for the run's error and the log."""
    if isinstance(error, Unavailable):
        return error.detail
    return f"the server could not write the run's files: {error.strerror or error}"


def _until_stored(run: Run, ask: Callable[[], _Answer]) -> _Answer:
    pause = 0.5
    while True:
        try:
            return ask()
        except (Unavailable, OSError) as e:
            _log.error("outcome_not_stored", run_id=run.id, error=failure(e), next_try_seconds=pause)
            time.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
