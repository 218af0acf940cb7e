"""Places at which a test may end this process, as a power cut would: named, and without any effect otherwise.

AIRLOCK_FAILPOINT names one of them (config.py reads it), with `:N` for the N-th time that it is passed. It exists for
`make test-crash`, which shows that whatever is killed, nothing accepted is lost.
"""

from __future__ import annotations

import os
import signal
import threading

NAMES = (
    "inputs_received",
    "inputs_sealed",
    "run_added",
    "run_dispatched",
    "run_claimed",
    "run_described",
    "container_created",
    "container_started",
    "go_sent",
    "container_ended",
    "container_removed",
    "outputs_kept",
    "run_finished",
    "row_deleted",
)
"""The steps of the corridor, in their order; and one of a run's removal."""

_lock = threading.Lock()
_armed: dict[str, int] = {}


def arm(text: str | None) -> None:
    """Have the process killed at the place that the text names. ValueError for a name that is none."""
    if not text:
        return
    name, _, count = text.partition(":")
    if name not in NAMES:
        raise ValueError(f"AIRLOCK_FAILPOINT: there is no {name!r}; there are {', '.join(NAMES)}")
    _armed[name] = int(count or 1)


def failpoint(name: str) -> None:
    """This place is passed."""
    if not _armed:
        return
    with _lock:
        if name not in _armed:
            return
        _armed[name] -= 1
        if _armed[name] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
