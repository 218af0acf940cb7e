"""A run's log for those who read it: as it is, or while it grows."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from controller.model import Caller, Part, Run, Status
from controller.runlog import START, LogReader, Piece, Position
from controller.services import runs
from controller.services.backend import LOOK_SECONDS, Backend, waiting

_ROW_SECONDS = 60.0
"""How often the row is read although nobody told that it has changed."""


@dataclass(frozen=True)
class Standing:
    """How the run stands, and the place in its log at which it does."""

    run: Run
    position: Position


def log(backend: Backend, run: Run) -> Iterator[Piece]:
    """The log so far. Gone when retention has removed it."""
    runs.require(run, Part.LOG)
    return LogReader(backend.workspaces.of(run.id).log).read()


def follow(
    backend: Backend, caller: Caller, run_id: str, client_is_gone: Callable[[], bool], after: Position = START
) -> Iterator[Piece | Standing | None]:
    """The log as it grows, how the run stands when it begins to run, and at last how it ended.

    None at first, and now and then: a moment in which nothing was written. Busy when too many requests wait. Ends
    early when the client is gone, the run is deleted, or the server stops.
    """
    reader = LogReader(backend.workspaces.of(run_id).log, after)
    with waiting(backend, caller.tenant_id), backend.news.watch(run_id) as watch:
        run: Run | None = runs.get(backend, caller, run_id)
        waited = run is not None and run.status is Status.QUEUED
        yield None
        row_read = time.monotonic()
        while run is not None:
            # Listen, then look: what is written after this wakes us.
            backend.news.listen(run_id, watch)
            began = time.monotonic()
            if watch.changed() or began - row_read > _ROW_SECONDS:
                run, row_read = backend.store.run(caller.tenant_id, run_id), began
                continue
            if waited and run.status is Status.RUNNING:
                yield Standing(run, reader.place)
            waited = run.status is Status.QUEUED
            if run.status.final or reader.is_behind():
                yield from reader.read()
            if run.status.final:
                yield Standing(run, reader.place)
                return
            if backend.news.closed or client_is_gone():
                return
            if watch.wait(LOOK_SECONDS):
                time.sleep(max(0.0, began + backend.news.pause_seconds() - time.monotonic()))
            else:
                yield None
