"""The private daemon of the crash tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.crash.daemon import PrivateDocker


@pytest.fixture(scope="session")
def private_docker() -> Iterator[PrivateDocker]:
    """A daemon that may be killed, with the sandbox image in it."""
    daemon = PrivateDocker()
    try:
        daemon.start()
        print(f"image there after {daemon.load_image():.1f} s")
        yield daemon
    finally:
        daemon.close()
