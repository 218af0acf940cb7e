"""Places at which a test may end this process, as a power cut would: named, and without any effect otherwise.

AIRLOCK_FAILPOINT names them (config.py reads it): `name`, or `name:N` for the N-th time that it is passed, several with
commas between. Each kills once, counted over all processes of one server: the process that comes after a killed one
goes on counting. It exists for `make test-crash`, which shows that whatever is killed, nothing accepted is lost.
"""

from __future__ import annotations

import mmap
import os
import signal
import struct
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

_COUNT = struct.Struct("=Q")
_lock = threading.Lock()
_places: dict[str, int] = {}
"""Each armed name's place in the counters."""
_left = mmap.mmap(-1, len(NAMES) * _COUNT.size)
"""How often each must still be passed, in memory that the processes share which this one forks."""


def arm(text: str | None) -> None:
    """Have the process killed at the places that the text names. ValueError for a name that is none."""
    for item in (text or "").split(","):
        name, _, count = item.strip().partition(":")
        if not name:
            continue
        if name not in NAMES:
            raise ValueError(f"AIRLOCK_FAILPOINT: there is no {name!r}; there are {', '.join(NAMES)}")
        _places[name] = NAMES.index(name) * _COUNT.size
        _COUNT.pack_into(_left, _places[name], int(count or 1))


def failpoint(name: str) -> None:
    """This place is passed."""
    place = _places.get(name)
    if place is None:
        return
    with _lock:
        (left,) = _COUNT.unpack_from(_left, place)
        if left == 0:
            return
        _COUNT.pack_into(_left, place, left - 1)
        if left == 1:
            os.write(2, f'{{"event": "failpoint", "name": "{name}"}}\n'.encode())
            os.kill(os.getpid(), signal.SIGKILL)
