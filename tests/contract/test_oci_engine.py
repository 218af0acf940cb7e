"""The oci engine keeps the engines' contract, and a few promises of its own."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from engine_contract import GOOD, LIMITS, SLEEP, EngineContract, Sink, always

from controller.config import Settings
from controller.engines import cgroup, oci_children
from controller.engines.oci import OciEngine
from controller.engines.oci_host import read_host
from controller.engines.oci_runtime import STATE, Runtime
from controller.engines.walls import ORPHAN_SECONDS
from controller.engines.warm_start import WarmPolicy
from controller.errors import EngineError, EngineUnavailable
from controller.services.tenants import new_id
from tests.running import until
from tests.unpacked import unpacked_images

RUNTIME = os.environ.get("AIRLOCK_RUNTIME", "runc")


@pytest.fixture
def image():
    return Settings().image


@pytest.fixture(scope="session")
def images():
    return unpacked_images()


@pytest.fixture
def instance():
    return new_id("srv")


@pytest.fixture
def engine(instance, images):
    made = OciEngine(instance, images, RUNTIME)
    yield made
    made.close()
    assert traces(instance) == []


def traces(instance: str) -> list[str]:
    """The containers of a server that there are or may be, by what is kept of them."""
    found = Runtime(RUNTIME, read_host()).found()
    return [name for name, labels in found if labels["airlock.instance"] == instance]


@pytest.fixture
def left_behind(instance):
    return lambda: len(traces(instance))

SERVER = """
import json, sys, threading, time
from pathlib import Path
from controller.config import Settings
from controller.engines.base import SandboxSpec
from controller.engines.oci import OciEngine
from controller.engines.warm_start import WarmPolicy
from controller.model import Limits

given = json.loads(sys.argv[1])
limits = Limits.model_validate(given["limits"])
policy = WarmPolicy(1, Path(given["warm"]), given["image"], limits, 3600) if given["warm"] else None
state = Path(given["state"])
engine = OciEngine(given["instance"], Path(given["images"]), given["runtime"], warm=policy, state=state)
while policy and not engine.check(given["image"]).warm.ready:
    time.sleep(0.02)
spec = SandboxSpec(given["run_id"], 1, given["image"], Path(given["in"]), Path(given["out"]), limits)
result = engine.run(spec, lambda stream, data: print(data.decode(), end="", flush=True), lambda: True)
print(result.exit_code, flush=True)
"""


def another_server(instance, images, spec, *, warm=False, runtime=RUNTIME, state=STATE):
    """A process that runs a script in an engine of its own, and prints its words and its exit code."""
    given = {
        "instance": instance, "images": str(images), "runtime": str(runtime), "image": spec.image, "limits":
        spec.limits.model_dump(), "run_id": spec.run_id, "in": str(spec.input_dir), "out": str(spec.output_dir),
        "warm": str(spec.input_dir.parent / "warm") if warm else None, "state": str(state),
    }  # fmt: skip
    return subprocess.Popen([sys.executable, "-c", SERVER, json.dumps(given)], stdout=subprocess.PIPE)


def killed_server(instance, images, spec, *, warm, runtime=RUNTIME, when=None):
    """Such a process, killed in the middle: when the script prints, or when told."""
    server = another_server(instance, images, spec, warm=warm, runtime=runtime)
    if when is None:
        assert server.stdout.readline() == b"asleep\n"
    else:
        assert until(when)
    server.kill()
    server.communicate()
    return server


def members(name: str) -> set[int]:
    """The processes of a container, by its cgroups."""
    return cgroup._members(cgroup._existing(f"airlock-runs/{name}"))


def remains(name: str) -> list[str]:
    """All that may be left of a container, besides processes."""
    kept = [STATE / Path(RUNTIME).name / place / name for place in ("bundles", "root")]
    return [str(path) for path in (*cgroup._existing(f"airlock-runs/{name}"), *kept) if path.exists()]


def lives(pid: int) -> bool:
    """Whether it runs; one that only waits to be collected does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def own_children() -> list[int]:
    """Of this process. Tests that kill servers inherit what these leave."""
    return oci_children._children()


@pytest.fixture
def runtime_with(tmp_path):
    """A runtime with something added: a shell script around the true one."""
    numbers = itertools.count()

    def make(script):
        path = tmp_path / f"runtime-{next(numbers)}" / Path(RUNTIME).name
        path.parent.mkdir()
        path.write_text("#!/bin/sh\n" + script.replace("{runtime}", shutil.which(RUNTIME)) + "\n")
        path.chmod(0o755)
        return path

    return make


class TestOciEngine(EngineContract):
    def test_a_sweep_removes_what_a_killed_server_left(self, engine, make_spec, instance, images, left_behind):
        """The container of a run at work: its processes, its cgroups, what the runtime and we have of it."""
        spec, _ = make_spec(SLEEP)
        server = killed_server(instance, images, spec, warm=False)
        pids = members(spec.name)
        assert (len(pids), left_behind()) == (1, 1)

        removed = engine.sweep()

        assert removed == 1
        assert remains(spec.name) == []
        assert [pid for pid in pids if lives(pid)] == []
        assert server.returncode == -signal.SIGKILL

    def test_a_sweep_removes_warm_containers_and_launchers(self, engine, make_spec, instance, images, left_behind):
        """Of a killed server, with whatever was forked into them."""
        spec, _ = make_spec(SLEEP)
        killed_server(instance, images, spec, warm=True)
        names = traces(instance)
        pids = [pid for name in names for pid in members(name)]
        assert {name.split("-")[1] for name in names} == {"warm", "launcher"}

        removed = engine.sweep()

        assert (removed, left_behind()) == (len(names), 0)
        assert [left for name in names for left in remains(name)] == []
        assert not any(lives(pid) for pid in pids)

    def test_a_sweep_removes_what_was_being_made(self, engine, make_spec, instance, images, runtime_with):
        """The server is killed while the runtime makes a container: the sweep waits for that to end, and removes it."""
        spec, _ = make_spec(SLEEP)
        slow = runtime_with('case "$*" in *" run "*) echo $$ > "$0.pid"; sleep 1 ;; esac; exec {runtime} "$@"')
        killed_server(instance, images, spec, warm=False, runtime=slow, when=Path(f"{slow}.pid").exists)
        maker = int(Path(f"{slow}.pid").read_text())
        assert lives(maker)

        removed = engine.sweep()

        assert removed == 1
        assert not lives(maker)
        assert remains(spec.name) == []

    def test_a_sweep_touches_no_other_server(self, make_spec, instance, images, tmp_path, monkeypatch):
        """Another live server's container stays; one long past its deadline goes."""
        # In a place of their own: by the clock of this test, the containers of other tests are past theirs as well.
        state, (spec, _) = tmp_path / "state", make_spec(SLEEP)
        engine = OciEngine(instance, images, RUNTIME, state=state)
        other = another_server(new_id("srv"), images, spec, state=state)
        assert other.stdout.readline() == b"asleep\n"

        assert engine.sweep() == 0
        monkeypatch.setattr(engine, "_clock", lambda: time.time() + LIMITS.timeout_seconds + ORPHAN_SECONDS + 5)
        assert engine.sweep(spec.run_id) == 0
        assert engine.sweep() == 1

        assert other.communicate(timeout=30)[0].splitlines()[-1] == b"137"
        engine.close()

    def test_a_runtime_that_dies_leaves_nothing(self, engine, make_spec, instance, images, runtime_with):
        """At each of its moments: an EngineError, and no process, cgroup or file."""
        for seconds in (0.002, 0.006, 0.01, 0.015, 0.02, 0.03):
            spec, _ = make_spec(SLEEP)
            dying = runtime_with(
                f'case "$*" in *" run "*) {{runtime}} "$@" & sleep {seconds}; kill -9 $!; exit 9 ;; esac\n'
                'exec {runtime} "$@"'
            )

            with pytest.raises(EngineError, match="did not start"):
                OciEngine(instance, images, str(dying)).run(spec, Sink(), always)

            assert remains(spec.name) == []

    def test_a_runtime_that_is_not_there_has_a_name(self, images, make_spec, image):
        """EngineUnavailable: nothing was made, the run may wait."""
        engine = OciEngine("srv_none", images, "/no/such/runtime")
        spec, _ = make_spec(GOOD)

        with pytest.raises(EngineUnavailable, match="not installed"):
            engine.check(image)
        with pytest.raises(EngineUnavailable, match="not installed"):
            engine.run(spec, Sink(), always)

    def test_a_start_that_is_refused_says_why(self, engine, make_spec):
        """In the runtime's own words."""
        spec, _ = make_spec(GOOD)

        with pytest.raises(EngineError, match="no such file or directory"):
            engine.run(replace(spec, input_dir=Path("/no/such/folder")), Sink(), always)

    def test_a_stray_child_is_collected_late(self, engine, monkeypatch):
        """One that nobody waits for; not at once, since somebody might."""
        left = subprocess.Popen(["sh", "-c", "sleep 0.1 & echo $!"], stdout=subprocess.PIPE)
        stray = int(left.stdout.readline())
        left.communicate()
        assert until(lambda: Path(f"/proc/{stray}/stat").read_text().split()[2] == "Z")

        engine.sweep()
        assert stray in own_children()
        monkeypatch.setattr(oci_children, "STRAY_SECONDS", 0.0)
        engine.sweep()

        assert stray not in own_children()

    def test_no_descriptor_and_no_child_is_left(self, engine, make_spec):
        """Five runs later this process holds what it held, and has no child to collect; nor after a refused start."""
        held, before = [], set(own_children())
        for _ in range(5):
            spec, _ = make_spec("import os; os._exit(3)")
            assert engine.run(spec, Sink(), always).exit_code == 3
            held.append(len(os.listdir("/proc/self/fd")) - 3 * len(held))  # a spec's outputs are three files, kept open

        assert len(set(held)) == 1
        with pytest.raises(EngineError):
            engine.run(replace(spec, input_dir=Path("/no/such/folder")), Sink(), always)
        assert set(own_children()) - before == set()


class TestWarmOci(EngineContract):
    """The same promises with warm containers: every run of the contract must have had one."""

    @pytest.fixture
    def engine(self, instance, images, image, tmp_path):
        before = set(own_children())
        made = OciEngine(instance, images, RUNTIME, warm=WarmPolicy(2, tmp_path / "warm", image, LIMITS, 3600))
        deadline = time.monotonic() + 30
        while not made.check(image).warm.ready and time.monotonic() < deadline:
            time.sleep(0.05)
        yield made
        plain = made.check(image).warm.plain
        made.close()
        assert plain == 0
        assert traces(instance) == []
        assert set(own_children()) - before == set()

    @pytest.fixture
    def left_behind(self, engine, image, instance):
        """What is neither ready nor made for later: it goes behind the run's back, within moments."""

        def count():
            deadline = time.monotonic() + 10
            while (in_use := engine.check(image).warm.in_use) and time.monotonic() < deadline:
                time.sleep(0.05)
            return in_use + len([name for name in traces(instance) if "-run_" in name])

        return count
