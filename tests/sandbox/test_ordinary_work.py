"""The walls are not felt by honest work: what data scientists' scripts use all day works inside them."""

from __future__ import annotations

from typing import Any

import pytest
from sandbox import findings

from tests.running import RunningServer

WORK = [
    *("tables", "linear algebra with threads", "a pool of forked processes", "a pool of spawned processes"),
    *("a pool from a fork server", "executors", "queues and locks", "a manager", "shared memory", "other programs"),
    *("asyncio", "sqlite", "matplotlib", "scikit-learn with n_jobs=2", "joblib", "temporary files"),
    *("threads, timers, socket pairs", "numba", "memory maps"),
]


@pytest.fixture(scope="module")
def done(server: RunningServer) -> dict[str, Any]:
    return findings(server, "ordinary", cpus=2, memory_bytes=2 << 30, timeout_seconds=120)


@pytest.mark.parametrize("work", WORK)
def test_ordinary_work_is_not_hindered(done: dict[str, Any], work: str) -> None:
    """A piece of ordinary work gives its right result under all the walls at once."""

    assert done[work] is True, done[work]


def test_no_piece_of_work_is_forgotten(done: dict[str, Any]) -> None:
    """Each piece of work that the script does is judged here."""

    assert set(done) == set(WORK)
