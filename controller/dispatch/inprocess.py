"""The embedded dispatcher: threads of the server's own process, first come, first served."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable

import structlog

from controller.errors import AirlockError

RETRY_SECONDS = 5.0
_log = structlog.get_logger(__name__)


class InProcessDispatcher:
    """See dispatch.base.Dispatcher. `execute` runs one run to its end; `kill` ends one that is running."""

    def __init__(self, workers: int, execute: Callable[[str], None], kill: Callable[[str], bool]) -> None:
        self._execute = execute
        self._kill = kill
        self._queue: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._idle = workers
        self._lock = threading.Lock()
        self._threads = [
            threading.Thread(target=self._work, name=f"worker-{n}", daemon=True) for n in range(workers)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, run_id: str) -> None:
        self._queue.put(run_id)

    def cancel(self, run_id: str) -> None:
        self._kill(run_id)

    def capacity(self) -> int:
        with self._lock:
            return max(0, self._idle - self._queue.qsize())

    def drain(self, seconds: float) -> bool:
        """Begin no more runs, and give the running ones this long. False when some are still at it."""
        self._stopping.set()
        for _ in self._threads:
            self._queue.put(None)
        deadline = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def _work(self) -> None:
        while (run_id := self._queue.get()) is not None:
            if self._stopping.is_set():
                return  # what is queued stays queued in the store, for the next start
            self._count(-1)
            try:
                self._execute(run_id)
            except (AirlockError, OSError) as e:
                # It is still queued, or again: another try, when the engine, the disk or the database may be back.
                _log.warning("run_not_begun", run_id=run_id, error=str(e))
                if not self._stopping.wait(RETRY_SECONDS):
                    self._queue.put(run_id)
            finally:
                self._count(1)

    def _count(self, change: int) -> None:
        with self._lock:
            self._idle += change
