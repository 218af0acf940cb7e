"""Whose scripts crash too often for warm containers: each native crash costs all tenants the launcher they share."""

from __future__ import annotations

import threading
import time
from collections import deque

from controller.engines.base import NATIVE_FAULTS

CRASHES, WITHIN_SECONDS = 3, 60.0
"""A tenant with more of them in this time has plain starts until fewer are left in it."""


class Crashes:
    """Of the last minute, by tenant. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._of: dict[str, deque[float]] = {}

    def ended(self, tenant_id: str, exit_code: int) -> None:
        """A script of this tenant's has ended so."""
        if exit_code - 128 in NATIVE_FAULTS:
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
