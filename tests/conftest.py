"""What all tests share: a server with the default settings, and servers with settings of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.running import RunningServer, start_server


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

    def make(name: str = "data", key: str | None = None, **env: str) -> RunningServer:
        running.append(start_server(tmp_path / name, env, key))
        return running[-1]

    yield make
    for one in running:
        one.stop()
