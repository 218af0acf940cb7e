"""Fixtures of the runner's tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from runner_jobs import Forker, Noted, Room


@pytest.fixture(scope="session")
def forker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forker]:
    """A process with the runner's imports done."""
    process = Forker(tmp_path_factory.mktemp("forker"))
    yield process
    process.close()


@pytest.fixture
def room(tmp_path: Path, forker: Forker) -> Room:
    """Empty directories for one job."""
    return Room(tmp_path, forker)


@pytest.fixture
def noted() -> "Noted":
    """Something to warn, which remembers."""
    return Noted()
