"""What the promises share: servers, one with limits so small that a script meets them within a second."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sandbox import STARTS, serving, with_engine

from tests.containers import ENGINE
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


WALLS = ("test_files", "test_from_the_host", "test_network", "test_surroundings", "test_syscalls")
"""The core of the promises: what a script can reach. `make test` shows these for the oci engine too, with warm
containers, whoever makes them; `AIRLOCK_ENGINE=oci pytest tests/sandbox` shows all of them for it, with every start.
"""
MADE_BY = [f"{ENGINE}-{start}" for start in STARTS if ENGINE == "oci" or start != "made"]
"""Which engine makes the containers, and how runners come into them."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "made_by" in metafunc.fixturenames:
        of_walls = metafunc.module.__name__.rpartition(".")[2] in WALLS
        more = ["oci-warm", "oci-made"] if of_walls and ENGINE != "oci" else []
        metafunc.parametrize("made_by", [*MADE_BY, *more], indirect=True, scope="session")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if ENGINE == "oci" and item.get_closest_marker("docker"):
            item.add_marker(pytest.mark.skip(reason="it needs Docker"))


@pytest.fixture(scope="session")
def made_by(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def start(made_by: str) -> str:
    return made_by.partition("-")[2]


@pytest.fixture(scope="session")
def engine_settings(made_by: str) -> dict[str, str]:
    return with_engine(made_by.partition("-")[0])


@pytest.fixture(scope="session")
def server(
    tmp_path_factory: pytest.TempPathFactory, start: str, engine_settings: dict[str, str]
) -> Iterator[RunningServer]:
    yield from serving(tmp_path_factory.mktemp("server") / "data", start, engine_settings)


@pytest.fixture(scope="session")
def small_server(
    tmp_path_factory: pytest.TempPathFactory, start: str, engine_settings: dict[str, str]
) -> Iterator[RunningServer]:
    yield from serving(tmp_path_factory.mktemp("small") / "data", start, SMALL | engine_settings)
