"""What the promises share: servers, one with limits so small that a script meets them within a second."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sandbox import STARTS, serving

from tests.running import RunningServer

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


@pytest.fixture(scope="session", params=STARTS)
def start(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, start: str) -> Iterator[RunningServer]:
    yield from serving(tmp_path_factory.mktemp("server") / "data", start, {})


@pytest.fixture(scope="session")
def small_server(tmp_path_factory: pytest.TempPathFactory, start: str) -> Iterator[RunningServer]:
    yield from serving(tmp_path_factory.mktemp("small") / "data", start, SMALL)
