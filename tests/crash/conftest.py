"""The private daemon of the crash tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.crash.daemon import PrivateDocker


@pytest.fixture(scope="session")
def private_docker() -> Iterator[PrivateDocker]:
    """A daemon that may be killed, with the sandbox image in it."""
    bridge = Path("/sys/class/net/docker0")
    before, daemon = bridge.exists(), PrivateDocker()
    try:
        daemon.start()
        print(f"image there after {daemon.load_image():.1f} s")
        yield daemon
        assert bridge.exists() == before  # the host's daemon's own
    finally:
        daemon.close()
