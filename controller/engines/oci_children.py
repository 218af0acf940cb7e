"""Containers' first processes as this process' children.

A runtime ends as soon as a container runs. Whom it leaves behind the kernel gives to the nearest ancestor that wants
such children, which this process says it is: so it is told how a container ended, by nobody between.
"""

from __future__ import annotations

import ctypes
import os
import time
from contextlib import suppress
from pathlib import Path

from controller.engines.cgroup import names
from controller.engines.launcher import Init
from controller.engines.uids import FIRST_UID, UIDS
from controller.errors import EngineError

_PR_SET_CHILD_SUBREAPER = 36
_LOOK_SECONDS = 0.05
_END_SECONDS = 10.0
STRAY_SECONDS = 20.0
"""Whoever waits for a child collects it sooner."""
_held: set[int] = set()
"""Containers' first processes that somebody will collect."""


def adopt(*, wanted: bool = True) -> None:
    """From now on orphans among this process' descendants become its children, or do no more. EngineError."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, ctypes.c_ulong(wanted), 0, 0, 0):
        raise EngineError(f"this process cannot adopt: {os.strerror(ctypes.get_errno())}")


class ChildInit(Init):
    """The first process of a container, which is our child."""

    @classmethod
    def of_child(cls, pid: int) -> ChildInit:
        """EngineError when it is not our child: nobody would tell how it ended."""
        try:
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            init = cls(pid, os.pidfd_open(pid))
            _held.add(pid)
            return init
        except OSError as e:
            raise EngineError(f"the container's first process is not this server's child: {e}") from e

    @classmethod
    def end(cls, pid: int, mark: str) -> None:
        """Kill a container's first process whoever's child it is, and collect it if it is ours. OSError.

        Only if it still is the one: it is in a cgroup of this name.
        """
        with suppress(ProcessLookupError):
            init = cls(pid, os.pidfd_open(pid))
            try:
                if names(Path(f"/proc/{pid}/cgroup").read_text(), mark):
                    init.kill()
                    init.wait(_END_SECONDS)
                    init.collect()
            finally:
                init.close()

    def wait(self, seconds: float) -> bool:
        """See Init. A fork whose launcher died is our child by now: until we collect it, this one cannot end."""
        deadline = time.monotonic() + seconds
        while not super().wait(min(_LOOK_SECONDS, max(0.0, deadline - time.monotonic()))):
            if time.monotonic() >= deadline:
                return False
            collect_forks()
        return True

    def collect(self) -> int | None:
        """How it ended, once: its exit code, or 128 + N for signal N. None when it has not, or was collected before."""
        with suppress(ChildProcessError):
            found = os.waitid(os.P_PIDFD, self.pidfd, os.WEXITED | os.WNOHANG)
            if found is not None:
                _held.discard(self.pid)
                return found.si_status if found.si_code == os.CLD_EXITED else 128 + found.si_status
        return None

    def close(self) -> None:
        _held.discard(self.pid)
        super().close()


class Strays:
    """Children that nobody waits for: gVisor's helpers, what a killed runtime left. They are collected late."""

    def __init__(self) -> None:
        self._seen: dict[int, float] = {}
        """Since when each of them waits."""

    def collect(self) -> None:
        now = time.monotonic()
        ended = {pid for pid in _ended() if _status(pid).get("State", [""])[0] == "Z"} - _held
        self._seen = {pid: self._seen.get(pid, now) for pid in ended}
        for pid, since in self._seen.items():
            if now - since >= STRAY_SECONDS:
                with suppress(ChildProcessError):
                    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG)


def collect_forks() -> None:
    """Collect the runners that had a launcher for a parent, and ended without one.

    They are told from all other children by their user, which is a run's, and by not being a container's first process.
    """
    for pid in _ended():
        if _is_ended_fork(_status(pid)):
            with suppress(ChildProcessError):
                os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG)


def _is_ended_fork(status: dict[str, list[str]]) -> bool:
    with suppress(LookupError):
        of_a_run = FIRST_UID <= int(status["Uid"][0]) < FIRST_UID + UIDS
        return of_a_run and status["State"][0] == "Z" and status["NSpid"][-1] != "1"
    return False


def _ended() -> list[int]:
    """Children among which are those that have ended. Mostly there is none, which the kernel says in one word."""
    with suppress(ChildProcessError):
        if os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
            return _children()
    return []


def _children() -> list[int]:
    """Of this process, by whichever thread."""
    found: list[int] = []
    for task in Path("/proc/self/task").iterdir():
        with suppress(OSError):
            found += map(int, (task / "children").read_text().split())
    return found


def _status(pid: int) -> dict[str, list[str]]:
    """/proc/PID/status, in words; nothing when it has gone."""
    with suppress(OSError):
        lines = (line.partition(":") for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        return {name: value.split() for name, _, value in lines}
    return {}
