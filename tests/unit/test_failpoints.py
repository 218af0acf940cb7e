"""Failpoints: named places at which a process is killed, once each for all processes of a server."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from controller import failpoints

CHILDREN = """
import os, sys
from controller import failpoints

failpoints.arm(sys.argv[1])
for passing in sys.argv[2].split():
    child = os.fork()
    if child == 0:
        failpoints.failpoint(passing)
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
KILLED = -signal.SIGKILL


@pytest.mark.parametrize(
    ("armed", "passed", "ends"),
    [
        ("run_added", "run_added", [KILLED]),
        ("run_added:3", "run_added run_added run_added run_added", [0, 0, KILLED, 0]),
        ("run_added,go_sent:2", "go_sent run_added go_sent run_claimed", [0, KILLED, KILLED, 0]),
        ("", "run_added", [0]),
    ],
)
def test_each_kills_once_counted_over_processes(armed: str, passed: str, ends: list[int]) -> None:
    """Each passing is in a process of its own, as after a kill."""
    done = subprocess.run([sys.executable, "-c", CHILDREN, armed, passed], capture_output=True, text=True, check=True)

    assert [int(line) for line in done.stdout.split()] == ends


def test_an_unknown_name_is_refused() -> None:
    """A test that armed nothing would show nothing."""
    with pytest.raises(ValueError, match="there is no 'run_ended'"):
        failpoints.arm("run_ended")
