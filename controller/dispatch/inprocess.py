"""The embedded dispatcher: threads of the server's own process, and a fair order among what waits."""

from __future__ import annotations

import heapq
import threading
import time
from collections.abc import Callable

import structlog

from controller.dispatch.fair import FairQueue
from controller.errors import AirlockError
from controller.model import Priority, Waiting

RETRY_SECONDS = 5.0
_log = structlog.get_logger(__name__)


class InProcessDispatcher:
    """See dispatch.base.Dispatcher. `execute` runs one run to its end, or says in how many seconds it is to be looked
    at again; `kill` ends one that is running. `places`: how many runs of a tenant may be at work, None: any number.
    """

    def __init__(
        self,
        workers: int,
        execute: Callable[[str], float | None],
        kill: Callable[[str], bool],
        places: Callable[[str], int | None] = lambda _: None,
    ) -> None:
        self._places = places
        self._held = False
        self._execute = execute
        self._kill = kill
        self._queue = FairQueue()
        self._later: list[tuple[float, str, Waiting]] = []
        self._at_work: dict[str, Waiting] = {}
        self._changed = threading.Condition()
        self._stopping = False
        self._workers = workers
        # One place is always left to those who wait for an answer: a batch may hold the others for hours.
        self._batch_places = max(1, workers - 1)
        self._threads = [
            threading.Thread(target=self._work, name=f"worker-{n}", daemon=True) for n in range(workers)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, run: Waiting, seconds: float = 0.0) -> None:
        with self._changed:
            if run.run_id in self._queue or any(run.run_id == later[1] for later in self._later):
                return
            if seconds > 0:
                heapq.heappush(self._later, (time.monotonic() + seconds, run.run_id, run))
            else:
                self._queue.add(run)
            self._changed.notify()

    def cancel(self, run_id: str) -> None:
        with self._changed:
            self._queue.remove(run_id)
        self._kill(run_id)

    def hold(self, held: bool) -> None:
        with self._changed:
            self._held = held
            self._changed.notify_all()

    def look_again(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def capacity(self) -> int:
        with self._changed:
            return max(0, self._workers - len(self._at_work) - len(self._queue))

    def count_at_work(self) -> int:
        with self._changed:
            return len(self._at_work)

    def position(self, run_id: str) -> int | None:
        with self._changed:
            return self._queue.position(run_id)

    def at_work(self) -> list[str]:
        """The runs that are being executed."""
        with self._changed:
            return list(self._at_work)

    def drain(self, seconds: float) -> bool:
        """Begin no more runs, and give the running ones this long. False when some are still at it."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        deadline = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def _work(self) -> None:
        while (run := self._next()) is not None:
            began = time.monotonic()
            again: float | None
            try:
                again = self._execute(run.run_id)
            except (AirlockError, OSError) as e:
                # It is still queued, or again: another try, when the disk or the database may be back.
                _log.warning("run_not_begun", run_id=run.run_id, error=str(e))
                again = RETRY_SECONDS
            except Exception:  # noqa: BLE001 - a fault of ours must not end the thread with its queue
                _log.exception("unforeseen_error", run_id=run.run_id)
                again = RETRY_SECONDS
            finally:
                with self._changed:
                    del self._at_work[run.run_id]
                    self._queue.done(run.tenant_id, time.monotonic() - began)
                    self._changed.notify()  # a place for a batch may have become free
            if again is not None:
                self.submit(run, max(again, 0.001))

    def _next(self) -> Waiting | None:
        """The run that this thread executes next; None when the server stops: what is queued stays in the store."""
        with self._changed:
            while not self._stopping:
                now = time.monotonic()
                while self._later and self._later[0][0] <= now:
                    self._queue.add(heapq.heappop(self._later)[2])
                batches = sum(run.priority is Priority.BATCH for run in self._at_work.values())
                run = None
                if not self._held:
                    run = self._queue.take(batch_too=batches < self._batch_places, places=self._places)
                if run is not None:
                    if run.run_id in self._at_work:  # told of it again while it is at its end: its turn comes later
                        self._queue.done(run.tenant_id, 0.0)
                        heapq.heappush(self._later, (now + RETRY_SECONDS, run.run_id, run))
                        continue
                    self._at_work[run.run_id] = run
                    return run
                self._changed.wait(self._later[0][0] - now if self._later else None)
            return None
