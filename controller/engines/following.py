"""From the go signal to the death of a sandbox: the log is drained, and the clock and the kills are watched."""

from __future__ import annotations

import os
import threading
import time
from contextlib import suppress
from typing import Protocol

from controller.engines.base import GO_SIGNAL, Ended, LogSink
from controller.engines.cgroup import CgroupReader
from controller.errors import EngineError
from controller.failpoints import failpoint

TICK_SECONDS = 0.1
"""How often a kill is looked for while nothing arrives, and how often counters are read, however much does."""
_GRACE_SECONDS = 15
"""For the end of a sandbox that was killed."""


_CHUNK = 1 << 16


def read_some(pipe: int) -> bytes | None:
    """What is in a log's pipe that was seen ready; b"" at its end, None when there is nothing after all.

    The script may open its log for reading and be faster. Without O_NONBLOCK, which is this end's alone, it would have
    us wait for it, and look at no clock meanwhile.
    """
    try:
        return os.read(pipe, _CHUNK)
    except BlockingIOError:
        return None


class Job(Protocol):
    """A runner in its sandbox, waiting for the go signal or at work."""

    def send(self, data: bytes) -> None:
        """Write to its standard input. OSError when it does not read any more."""

    def read(self, timeout_seconds: float) -> list[tuple[int, bytes]] | None:
        """What it writes within the time, as (STDOUT or STDERR, bytes) in order; None after the end of both.

        It never takes longer, whatever the script does with its end of the streams.
        """

    def alive(self) -> bool:
        """Whether anything of the sandbox still runs."""

    def kill(self) -> None:
        """End all of it now; no harm when it has ended."""


def follow(
    job: Job, counters: CgroupReader, sink: LogSink, killed: threading.Event, *, deadline: float
) -> Ended:
    """Send the go signal; drain the log and watch the clock until the sandbox is dead. What ended it.

    The end of a run is the runner's death, not the end of its output: a script may close that and run on. And the log
    is drained to its end even after a kill: Docker does not call a container dead while it holds output.
    """
    with suppress(OSError):  # it may have died before it read; its exit code tells
        job.send(GO_SIGNAL)
    failpoint("go_sent")
    ended, give_up, streaming, pause = Ended.EXITED, float("inf"), True, 0.004
    due = 0.0 if counters.last.cpu_seconds is None else time.monotonic() + TICK_SECONDS  # were they read just now?
    while True:
        now = time.monotonic()
        if ended is Ended.EXITED and (killed.is_set() or now >= deadline):
            ended = Ended.KILLED if killed.is_set() else Ended.DEADLINE
            job.kill()
            give_up = now + _GRACE_SECONDS
        if now >= give_up:
            raise EngineError(f"the sandbox did not end within {_GRACE_SECONDS} s of its kill")
        if streaming:
            arrived = job.read(min(TICK_SECONDS, deadline - now) if ended is Ended.EXITED else TICK_SECONDS)
            if not arrived or now >= due or counters.rings():
                counters.sample()
                due = now + TICK_SECONDS
            for stream, data in arrived or ():
                sink(stream, data)
            streaming = arrived is not None
            if arrived or (streaming and ended is Ended.EXITED):
                continue
        if not job.alive():
            break
        if not streaming:
            counters.rest(pause)
            counters.sample()
            pause = min(pause * 1.5, TICK_SECONDS)
    return Ended.KILLED if killed.is_set() else ended
