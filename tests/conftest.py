"""What all tests share: a server with the default settings, and servers with settings of their own."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import pytest

from controller.engines.oci_children import adopt
from tests.containers import ENGINE
from tests.running import RunningServer, start_server
from tests.unpacked import unpacked_images

os.environ["AIRLOCK_ENGINE"] = ENGINE  # of commands that tests type, too


@pytest.fixture(scope="module", autouse=True)
def adopts_nobody_for_ever() -> Iterator[None]:
    """An oci engine in a test's own process makes it a reaper. In the next file it must be none: there, who is killed
    leaves children behind that process 1 has to collect."""
    yield
    adopt(wanted=False)


@pytest.fixture(scope="session", autouse=True)
def image_of_the_engine() -> None:
    """Docker's is built by `make image`; for the oci engine it is taken from there."""
    if ENGINE == "oci":
        unpacked_images()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """One server with the default settings, for every test that leaves it as it was."""
    running = start_server(tmp_path_factory.mktemp("server") / "data")
    assert running.get("/readyz").json()["ready"], running.get("/readyz").text
    yield running
    running.stop()


@pytest.fixture
def make_server(tmp_path: Path) -> Iterator[Callable[..., RunningServer]]:
    """Servers with settings of their own; the same name again means the same data directory."""
    running: list[RunningServer] = []

    def make(
        name: str = "data", key: str | None = None, output: IO[bytes] | None = None, **env: str
    ) -> RunningServer:
        running.append(start_server(tmp_path / name, env, key, output))
        return running[-1]

    yield make
    for one in running:
        one.stop()
