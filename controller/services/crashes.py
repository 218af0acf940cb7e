"""Whose scripts crash too often for warm containers: each native crash costs all tenants the launcher they share."""

from __future__ import annotations

import signal
import threading
import time
from collections import deque

CRASHES, WITHIN_SECONDS = 3, 60.0
"""A tenant with more of them in this time has plain starts until fewer are left in it."""
_FAULTS = {128 + number for number in (signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGABRT)}


class Crashes:
    """Of the last minute, by tenant. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._of: dict[str, deque[float]] = {}

    def ended(self, tenant_id: str, exit_code: int) -> None:
        """A script of this tenant's has ended so."""
        if exit_code in _FAULTS:
            with self._lock:
                self._of.setdefault(tenant_id, deque(maxlen=CRASHES + 1)).append(time.monotonic())

    def often(self, tenant_id: str) -> bool:
        """Whether its next run is to touch nothing that others use."""
        with self._lock:
            times = self._of.get(tenant_id)
            while times and time.monotonic() - times[0] > WITHIN_SECONDS:
                times.popleft()
            if not times:
                self._of.pop(tenant_id, None)
                return False
            return len(times) > CRASHES
