"""What a dispatcher is: the thing that sees to it that accepted runs are executed, somewhere, soon.

The store's row is the truth; a dispatcher only carries "look at run X". Told twice, it may look twice: `execute`
claims the row, so the second finds nothing to do.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from controller.model import Waiting


class Dispatcher(Protocol):
    """Three verbs, and a question."""

    def submit(self, run: Waiting, seconds: float = 0.0) -> None:
        """Have the run executed when its turn comes, and not before so many seconds. Returns at once.

        Told again of a run that waits already, or is being executed, it does nothing new.
        """

    def cancel(self, run_id: str) -> None:
        """The run is marked as cancelled in the store: end it, wherever it runs."""

    def capacity(self) -> int:
        """How many more runs could begin right now."""

    def position(self, run_id: str) -> int | None:
        """How many turns until the run begins (1: it is next), if all runs took equally long; None: it does not wait.
        """


class Finished:
    """Lets threads wait for a run's end without asking the store again and again."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: defaultdict[str, list[threading.Event]] = defaultdict(list)
        self.closed = False

    @contextmanager
    def watch(self, run_id: str) -> Iterator[threading.Event]:
        """An event set at the run's end, or when nobody may wait any longer.

        Begin to watch, then read the row: no end is missed.
        """
        event = threading.Event()
        with self._lock:
            self._waiting[run_id].append(event)
            if self.closed:
                event.set()
        try:
            yield event
        finally:
            with self._lock:
                self._waiting[run_id].remove(event)
                if not self._waiting[run_id]:
                    del self._waiting[run_id]

    def notify(self, run_id: str) -> None:
        with self._lock:
            for event in self._waiting.get(run_id, ()):
                event.set()

    def close(self) -> None:
        """The server is stopping: wake everybody, and let nobody wait again."""
        with self._lock:
            self.closed = True
            for events in self._waiting.values():
                for event in events:
                    event.set()
