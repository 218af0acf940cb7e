"""What happens to runs, and to batches, told to the threads that wait for it.

Three things are told: a run's row is another one (`changed`), and whoever waits for its end may sleep on as it has only
begun (`begun`); and its log is longer (`grown`). The last comes as often as a script prints, so it costs nothing where
nobody listens: a follower is woken once, and again only after it has asked to be.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

from controller.model import Run

_PAUSE_SECONDS = 0.02
_READS_PER_SECOND = 3000
"""Of all followers together: a script that prints without end must not keep the server busy with telling it."""


class Watch:
    """One thread's ear for one run. Listen, then look; what happens after that is not missed."""

    def __init__(self, *, end_only: bool = False) -> None:
        self.end_only = end_only
        self.ended: Run | None = None
        """As the last change made it, where that was its end and who told of it had the row."""
        self._woken = threading.Event()
        self._changed = False

    def wait(self, seconds: float) -> bool:
        """Whether something happened within this time."""
        return self._woken.wait(seconds)

    def changed(self) -> bool:
        """Whether the run's row has changed since this was asked."""
        self._woken.clear()
        if not self._changed:
            return False
        self._changed = False
        return True

    def tell_change(self, ended: Run | None = None) -> None:
        self.ended = ended
        self._changed = True
        self._woken.set()

    def tell_growth(self) -> None:
        self._woken.set()


class News:
    """Lets threads wait for what happens to a run, without asking the store or the disk again and again."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._watches: defaultdict[str, set[Watch]] = defaultdict(set)
        self._listening: dict[str, set[Watch]] = {}
        self._count = 0
        self.told = 0
        """How many changes, of whatever: where it is still the same, none was missed."""
        self.closed = False

    @contextmanager
    def watch(self, run_id: str, *, end_only: bool = False) -> Iterator[Watch]:
        """A watch that is told of changes of this run, and when nobody may wait any longer. `end_only`: not that it
        has begun.

        Begin to watch, then read the row: no change is missed.
        """
        watch = Watch(end_only=end_only)
        with self._lock:
            self._watches[run_id].add(watch)
            self._count += 1
            if self.closed:
                watch.tell_change()
        try:
            yield watch
        finally:
            with self._lock:
                self._count -= 1
                for watches in (self._watches, self._listening):
                    if run_id in watches:
                        watches[run_id].discard(watch)
                        if not watches[run_id]:
                            del watches[run_id]

    def listen(self, run_id: str, watch: Watch) -> None:
        """Have this watch told when the log grows: the next time only."""
        with self._lock:
            self._listening.setdefault(run_id, set()).add(watch)

    def pause_seconds(self) -> float:
        """How long a follower rests between two looks at a log."""
        return max(_PAUSE_SECONDS, self._count / _READS_PER_SECOND)

    def changed(self, run_id: str, ended: Run | None = None) -> None:
        """The run's row is another one; `ended` is what it says now, where the caller knows."""
        with self._lock:
            self.told += 1
            for watch in self._watches.get(run_id, ()):
                watch.tell_change(ended)

    def begun(self, run_id: str) -> None:
        """The run's row is another one, but it has not ended."""
        with self._lock:
            for watch in self._watches.get(run_id, ()):
                if not watch.end_only:
                    watch.tell_change()

    def grown(self, run_id: str) -> None:
        """The run's log is longer. Called for every print, by the thread that keeps the script's pipe empty."""
        if run_id not in self._listening:
            return
        with self._lock:
            listening = self._listening.pop(run_id, ())
        for watch in listening:
            watch.tell_growth()

    def close(self) -> None:
        """The server is stopping: wake everybody, and let nobody wait again."""
        with self._lock:
            self.closed = True
            for watches in self._watches.values():
                for watch in watches:
                    watch.tell_change()
