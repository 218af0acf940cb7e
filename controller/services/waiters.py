"""Requests that wait for something: so many in all, the last ones for tenants that have less than half of them."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from controller.errors import Busy


class Waiters:
    """Who waits. One tenant's requests leave the others places: their calls would be refused for nothing they did."""

    def __init__(self, places: int) -> None:
        self._free = places
        self._most = max(1, places // 2)
        self._kept = max(1, places // 8)
        self._of: Counter[str] = Counter()
        self._lock = threading.Lock()

    @contextmanager
    def place(self, tenant_id: str) -> Iterator[None]:
        """One of the places, at once or not at all: Busy."""
        self._enter(tenant_id)
        try:
            yield
        finally:
            self._leave(tenant_id)

    def _enter(self, tenant_id: str) -> None:
        with self._lock:
            if self._of[tenant_id] >= self._most and self._free <= self._kept:
                raise Busy("as many of your requests as may are waiting for something already: try again later")
            if self._free <= 0:
                raise Busy("as many requests as may are waiting for something on this server: try again later")
            self._free -= 1
            self._of[tenant_id] += 1

    def _leave(self, tenant_id: str) -> None:
        with self._lock:
            self._free += 1
            self._of[tenant_id] -= 1
            if not self._of[tenant_id]:
                del self._of[tenant_id]
