"""What the promises share: servers, one with limits so small that a script meets them within a second."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.running import RunningServer, start_server

MIB = 1 << 20
SMALL = {
    "AIRLOCK_OUTPUT_BYTES": str(8 * MIB),
    "AIRLOCK_WORK_BYTES": str(24 * MIB),
    "AIRLOCK_WORK_INODES": "500",
    "AIRLOCK_LOG_BYTES": str(64 * 1024),
    "AIRLOCK_PROCESSES": "48",
    "AIRLOCK_IMAGES": "5",
    "AIRLOCK_IMAGES_BYTES": str(1 * MIB),
}


STARTS = {"warm": "4", "plain": "0"}
"""Every promise holds for both ways in which a runner comes into its container."""


@pytest.fixture(scope="session", params=STARTS)
def start(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, start: str) -> Iterator[RunningServer]:
    yield from serving(tmp_path_factory.mktemp("server") / "data", start, {})


@pytest.fixture(scope="session")
def small_server(tmp_path_factory: pytest.TempPathFactory, start: str) -> Iterator[RunningServer]:
    yield from serving(tmp_path_factory.mktemp("small") / "data", start, SMALL)


def serving(data_dir: Path, start: str, env: dict[str, str]) -> Iterator[RunningServer]:
    """A server whose runs all have this start."""
    running = start_server(data_dir, env | {"AIRLOCK_WARM_CONTAINERS": STARTS[start]})
    if start == "warm":
        running.warm_up()
    yield running
    running.stop()
    # After a native crash a new launcher is started, and runs of that time do without.
    assert running.plain_starts(excused=("no launcher is ready",)) == set()
    assert running.all_containers() == []
