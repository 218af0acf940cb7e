"""A user of its own for each run.

The kernel counts much per user and for the whole host (inotify watches, keys, signals, pipes): with one user for all,
a run could take them from the others, or talk to them.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager

FIRST_UID, UIDS = 200_000, 65_536


def root_uid(uid: int) -> int:
    """Who root of a container is on the host, where the container has a user namespace: nobody's user, nor a run's.

    Another one for each run: a container's keyring is of its root, and the kernel gives a user 200 keys.
    """
    return uid + UIDS


class UidPool:
    """A uid for each run, the same one not again before all others were used (65,536 runs)."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._next = random.randrange(UIDS)  # noqa: S311 - not a secret, only a place to begin
        self._taken: set[int] = set()

    @contextmanager
    def take(self) -> Iterator[int]:
        with self._lock:
            while (uid := FIRST_UID + self._next) in self._taken:
                self._next = (self._next + 1) % UIDS
            self._next = (self._next + 1) % UIDS
            self._taken.add(uid)
        try:
            yield uid
        finally:
            with self._lock:
                self._taken.discard(uid)
