"""The private daemon of the crash tests: one for all of them, and there at the beginning of each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.crash.daemon import PrivateDocker


@pytest.fixture
def private_docker(_one_daemon: PrivateDocker) -> PrivateDocker:
    """A daemon that may be killed, with the sandbox image in it. A test that failed may have left it stopped."""
    _one_daemon.options = []
    _one_daemon.start()
    return _one_daemon


@pytest.fixture(scope="session")
def _one_daemon() -> Iterator[PrivateDocker]:
    bridge = Path("/sys/class/net/docker0")
    before, daemon = bridge.exists(), PrivateDocker()
    try:
        daemon.start()
        print(f"image there after {daemon.load_image():.1f} s")
        yield daemon
        assert bridge.exists() == before  # the host's daemon's own
    finally:
        daemon.close()
