"""A pool of warm containers where none can be made: it tries again, less and less often, and says so to who asks."""

import os
import socket
import struct
import time
from contextlib import ExitStack
from types import SimpleNamespace

import pytest

from controller.config import Settings
from controller.engines import warm_pool
from controller.engines.launcher import NoFork
from controller.engines.uids import UidPool
from controller.engines.warm import FORKS, LIFE_SECONDS, Generation, Kind
from controller.engines.warm_pool import WarmPool
from controller.errors import EngineError, EngineUnavailable
from tests.running import until

LIMITS = Settings().limits()


class Broken:
    """An engine that makes no launcher. That it fails for ten minutes is a fault that no real one can be asked for."""

    def __init__(self):
        self.attempts = []

    def launcher(self, name, digest, directory):
        self.attempts.append(time.monotonic())
        raise EngineError("no room")

    def container(self, name, kind, uid, slot):
        raise AssertionError("there is no launcher that could fork into it")

    def remove(self, name):
        return True


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(warm_pool, "REST_SECONDS", 0.1)


def test_failures_are_repeated_less_and_less_often(tmp_path, quick):
    """Each pause is longer than the one before it, and nothing is left of what was tried."""
    broken = Broken()
    pool = WarmPool(broken, tmp_path / "warm", 4, UidPool(), lambda: Kind.of("sha256:x", LIMITS))

    deadline = time.monotonic() + 20
    while len(broken.attempts) < 4 and time.monotonic() < deadline:
        time.sleep(0.02)
    with pytest.raises(NoFork):
        pool.take("sha256:x", LIMITS)
    assert until(lambda: pool.names() == set(), 5)  # the last attempt has been told as begun, and has yet to fail
    state = pool.state()
    pool.close()

    pauses = [after - before for before, after in zip(broken.attempts, broken.attempts[1:], strict=False)]
    assert len(pauses) == 3
    assert pauses[2] >= 0.4
    assert (state.ready, state.in_use) == (0, 0)
    assert list((tmp_path / "warm").iterdir()) == []


def test_an_engine_that_is_away_is_no_fault_of_the_pools(tmp_path, quick):
    """Who asks is told to do without; the threads live on, and end when they are asked to."""

    def away():
        raise EngineUnavailable("Docker does not answer")

    pool = WarmPool(Broken(), tmp_path / "warm", 4, UidPool(), away)

    with pytest.raises(NoFork):
        pool.take("sha256:x", LIMITS)
    began = time.monotonic()
    pool.close()

    assert time.monotonic() - began < 5


class Refusing(Broken):
    """An engine with a launcher, which refuses a container once, as Docker may."""

    def launcher(self, name, digest, directory):
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as control:
            here = os.open(directory, os.O_PATH)
            control.connect(f"/proc/self/fd/{here}/launcher.sock")
            os.close(here)
            control.send(struct.pack("<Qi", 0, os.getpid()))
            self.control = control.dup()
        return SimpleNamespace(remove=self.control.close, last_words=str)

    def container(self, name, kind, uid, slot, launcher):
        self.attempts.append(name)
        raise EngineError("Docker refused")


def test_a_container_that_is_refused_is_a_plain_start_for_who_asks(tmp_path, quick):
    """Nothing has been begun: the run is not to be a failure of the engine; and the pool rests."""
    refusing = Refusing()
    pool = WarmPool(refusing, tmp_path / "warm", 4, UidPool(), lambda: Kind.of("sha256:x", LIMITS))
    assert until(lambda: pool.state().launchers == 1, 10)

    with pytest.raises(NoFork, match="refused|just now"):
        pool.take("sha256:x", LIMITS)
    with pytest.raises(NoFork, match="just now"):
        pool.take("sha256:x", LIMITS)
    pool.close()

    assert refusing.attempts


def test_a_launcher_that_cannot_be_replaced_forks_no_more_at_twice_its_age():
    """Who shares addresses with whom is bounded, whatever becomes of the next launcher."""

    def generation(age, forks):
        launcher = SimpleNamespace(born=time.monotonic() - age, forks=forks, usable=lambda: True)
        return Generation("x", launcher, None, ExitStack())

    old, much_asked = generation(LIFE_SECONDS + 1, 0), generation(0, FORKS)

    assert (old.worn(), old.worn(2), much_asked.worn(), much_asked.worn(2)) == (True, False, True, False)
    assert generation(2 * LIFE_SECONDS + 1, 0).worn(2)
    assert generation(0, 2 * FORKS).worn(2)


def test_runs_that_differ_in_what_a_container_is_made_with_are_of_different_kinds():
    """Memory, CPUs, processes, /work, the largest file: but not what only the server counts."""
    kind = Kind.of("sha256:x", LIMITS)

    def other(**limits):
        return Kind.of("sha256:x", LIMITS.model_copy(update=limits))

    assert kind == other(timeout_seconds=3.0) == other(log_bytes=5) == other(images=1) == other(inflated_bytes=9)
    for name in ("memory_bytes", "cpus", "processes", "work_bytes", "work_inodes", "output_bytes"):
        assert kind != other(**{name: getattr(LIMITS, name) * 2}), name
    assert kind != Kind.of("sha256:y", LIMITS)
