"""The oci engine keeps the engines' contract, and a few promises of its own."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from engine_contract import GOOD, LIMITS, SLEEP, EngineContract, Sink, always

from controller.config import Settings
from controller.doctor.examination import Level
from controller.doctor.oci import _containers
from controller.engines import cgroup, oci_children
from controller.engines.oci import OciEngine
from controller.engines.oci_host import read_host
from controller.engines.oci_images import Images
from controller.engines.oci_runtime import STATE, Runtime, _being_made
from controller.engines.oci_stage import on_stage
from controller.engines.uids import root_uid
from controller.engines.walls import DEADLINE_LABEL, ORPHAN_SECONDS, OWNER_LABEL, RUN_LABEL
from controller.engines.warm_start import WarmPolicy
from controller.errors import EngineError, EngineUnavailable
from controller.services.tenants import new_id
from tests.containers import cgroups_at
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


USERS = "print(*open('/proc/self/uid_map').read().split())\ndef azureml_main(): pass\n"


def words_of(engine, spec) -> list[str]:
    """The first line that a script has printed."""
    sink = Sink()
    assert engine.run(spec, sink, always).exit_code == 0, sink.text
    return sink.text[1].decode().splitlines()[0].split()


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
    return cgroup._members(cgroups_at(Runtime(RUNTIME, read_host()).place(name)))


def remains(name: str) -> list[str]:
    """All that may be left of a container, besides processes."""
    kept = [STATE / Path(RUNTIME).name / place / name for place in ("bundles", "root")]
    cgroups = cgroups_at(Runtime(RUNTIME, read_host()).place(name))
    return [str(path) for path in (*cgroups, *kept) if Path(path).exists()]


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

        assert (removed >= len(names), left_behind()) == (True, 0)  # one may just have been in the making
        assert [left for name in names for left in remains(name)] == []
        # What a runtime was just making is killed as well, and ends a moment later.
        assert until(lambda: not any(lives(pid) for pid in pids), 5)

    def test_a_sweep_does_not_count_what_goes_meanwhile(self, engine, instance, monkeypatch):
        """A container that was listed while a run had it, and that its run has removed, is no leak."""
        gone = ("airlock-run_0-1", {OWNER_LABEL: instance, RUN_LABEL: "run_0", DEADLINE_LABEL: "1"})
        monkeypatch.setattr(Runtime, "found", lambda *_: [gone])

        assert engine.sweep() == 0

    def test_two_sweeps_that_find_the_same_both_succeed(self, tmp_path):
        """The one that comes second waits for the first, and finds it done."""
        runtime = Runtime(RUNTIME, read_host(), tmp_path)
        bundle = runtime.new_bundle("airlock-run_0-1", {"annotations": {}})
        answers = []
        second = threading.Thread(target=lambda: answers.append(runtime.remove("airlock-run_0-1")))

        with _being_made(bundle):
            second.start()
            second.join(0.2)
            shutil.rmtree(bundle)
        second.join(20)

        assert answers == [True]

    def test_a_sweep_removes_what_was_being_made(self, engine, make_spec, instance, images, runtime_with):
        """The server is killed while the runtime makes a container: the sweep waits for that to end, and removes it."""
        spec, _ = make_spec(SLEEP)
        begin = 'echo $$ > "$0.pid"; sleep 1'
        slow = runtime_with(f'case "$*" in *" run "*airlock-run_*) {begin} ;; esac; exec {{runtime}} "$@"')
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
                f'case "$*" in *" run "*airlock-run_*) {{runtime}} "$@" & sleep {seconds}; kill -9 $!; exit 9 ;; esac\n'
                'exec {runtime} "$@"'
            )

            with pytest.raises(EngineError, match="did not start"):
                OciEngine(instance, images, str(dying)).run(spec, Sink(), always)

            assert remains(spec.name) == []

    def test_runcs_containers_go_without_its_help(self, engine, make_spec, instance, images, runtime_with):
        """What `runc delete` would do is done before: nothing is left where it does nothing, and it is asked only for
        containers whose cgroups are not there."""
        if Path(RUNTIME).name != "runc" or read_host().cgroup_driver == "systemd":
            pytest.skip("asked for each container")
        spec, _ = make_spec(GOOD)
        idle = runtime_with('case "$*" in *" delete "*) echo asked >> "$0.asked"; exit 1 ;; esac; exec {runtime} "$@"')
        asked = Path(f"{idle}.asked")

        OciEngine(instance, images, str(idle)).run(spec, Sink(), always)

        assert remains(spec.name) == []
        assert not asked.exists()
        bundle = STATE / Path(RUNTIME).name / "bundles" / spec.name
        bundle.mkdir()
        (bundle / "config.json").write_text("{}")
        assert Runtime(str(idle), read_host()).remove(spec.name)
        assert asked.exists()
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

        with pytest.raises(EngineError, match="(?i)no such file or directory"):
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

    def test_no_descriptor_and_no_child_is_left(self, engine, make_spec, monkeypatch):
        """Five runs later this process holds what it held, and has no child to collect; nor after a refused start."""
        held, before = [], set(own_children())
        for _ in range(5):
            spec, _ = make_spec("import os; os._exit(3)")
            assert engine.run(spec, Sink(), always).exit_code == 3
            held.append(len(os.listdir("/proc/self/fd")) - 3 * len(held))  # a spec's outputs are three files, kept open

        assert len(set(held)) == 1
        with pytest.raises(EngineError):
            engine.run(replace(spec, input_dir=Path("/no/such/folder")), Sink(), always)
        monkeypatch.setattr(oci_children, "STRAY_SECONDS", 0.0)
        engine.sweep()  # of what a runtime has left that gave up
        assert set(own_children()) - before == set()


REFUSING = """
case "$*" in *" run "*)
    exec unshare --mount sh -c 'mount -t tmpfs none /proc/irq && exec {runtime} "$@"' sh "$@"
esac
exec {runtime} "$@"
"""
"""A host like a container: where a part of /proc is hidden, the kernel mounts no other one in a user namespace."""
FORGETTING = r"""
for word; do case $word in */bundles/*NAME*/pid)
    sed -i 's/, {"type": "user"}//; s/"uidMappings": [^]]*], "gidMappings": [^]]*]/"other": []/' \
        "${word%/pid}/config.json"
esac; done
exec {runtime} "$@"
"""
"""A container without one is made where one with it was asked for."""


class TestUserNamespaces:
    """What the engine does where there are some, where there are none, and where a runtime says so and does not."""

    make_spec = EngineContract.make_spec

    def test_a_container_has_one_or_the_engine_does_not_say_so(self, engine, make_spec, image):
        """The script's own map, and the control in force."""
        spec, _ = make_spec(USERS)

        root, nobody, one, inside, outside, alone = words_of(engine, spec)

        assert engine.check(image).controls["user_namespaces"]
        assert (root, one, alone) == ("0", "1", "1")
        assert (inside, nobody) == (outside, str(root_uid(int(outside))))

    @pytest.mark.parametrize("wanted", ["auto", "off"])
    def test_without_them_runs_go_on_and_the_engine_says_so(
        self, instance, images, image, make_spec, runtime_with, wanted
    ):
        """The kernel refuses; or nobody asks it."""
        made = OciEngine(instance, images, str(runtime_with(REFUSING)), user_namespaces=wanted)

        assert made.check(image).controls["user_namespaces"] is False
        assert words_of(made, make_spec(USERS)[0]) == ["0", "0", "4294967295"]

    def test_where_they_are_required_no_run_begins_without(self, instance, images, image, make_spec, runtime_with):
        """Nor is the server ready: EngineUnavailable, with the setting and the runtime's own words."""
        made = OciEngine(instance, images, str(runtime_with(REFUSING)), user_namespaces="on")
        spec, _ = make_spec(GOOD)

        for attempt in (lambda: made.check(image), lambda: made.run(spec, Sink(), always)):
            with pytest.raises(EngineUnavailable, match="AIRLOCK_OCI_USER_NAMESPACES is on.*proc"):
                attempt()
        assert traces(instance) == []

    def test_the_doctor_says_it_when_no_container_starts_at_all(self, images, image, runtime_with):
        """Then nobody can tell whether there are any: it is the container that is complained of."""
        runtime = Runtime(str(runtime_with("echo it is broken >&2; exit 1")), read_host())
        rootfs = Images(images).rootfs(Images(images).digest(image))

        found = list(_containers(Settings(oci_user_namespaces="auto"), runtime, rootfs))

        assert [(finding.name, finding.level) for finding in found] == [("sandbox", Level.ERROR)]

    def test_one_failure_takes_no_wall_away(self, instance, images, image, runtime_with):
        """The first container does not start, for whatever reason; the kernel has nothing against them."""
        fail = '[ -e "$0.once" ] || { touch "$0.once"; exit 9; }'
        once = runtime_with(f'case "$*" in *" run "*) {fail} ;; esac; exec {{runtime}} "$@"')

        made = OciEngine(instance, images, str(once))

        assert made.check(image).controls["user_namespaces"]
        assert Path(f"{once}.once").exists()

    def test_while_no_container_starts_nobody_can_tell(self, instance, images, image, runtime_with):
        """The wall is not given up for that: EngineUnavailable, and the next one who asks has it tried again."""
        mended = runtime_with('case "$*" in *" run "*) [ -e "$0.mended" ] || exit 9 ;; esac; exec {runtime} "$@"')
        made = OciEngine(instance, images, str(mended))

        with pytest.raises(EngineUnavailable, match="did not start"):
            made.check(image)
        Path(f"{mended}.mended").touch()

        assert made.check(image).controls["user_namespaces"]

    def test_a_runtime_that_forgets_it_is_found_out(self, instance, images, image, make_spec, runtime_with):
        """In the trial: then there are none. In a run, later: it is killed before its script has begun."""
        never = OciEngine(instance, images, str(runtime_with(FORGETTING.replace("NAME", ""))))
        later = OciEngine(instance, images, str(runtime_with(FORGETTING.replace("NAME", "airlock-run_"))))
        spec, _ = make_spec(GOOD)
        sink = Sink()

        assert never.check(image).controls["user_namespaces"] is False
        assert later.check(image).controls["user_namespaces"] is True
        with pytest.raises(EngineError, match="did not give the container the user namespace"):
            later.run(spec, sink, always)

        assert sink.text[1] == b""
        assert remains(spec.name) == []
        assert traces(instance) == []

    def test_what_is_laid_out_for_a_runtime_ends_with_it(self, tmp_path):
        """The image from behind a private directory, devices, all read-only; outside there is nothing of it."""
        image = tmp_path / "private" / "rootfs"
        image.mkdir(parents=True)
        image.parent.chmod(0o700)
        (image / "file").touch()
        look = "ls /dev /dev/rootfs; touch /dev/null /dev/rootfs/a /dev/rootfs/file; echo >/dev/null && echo written"

        seen = on_stage(image, lambda: subprocess.run(["sh", "-c", look], capture_output=True, text=True, check=False))

        assert seen.stdout.split() == [
            "/dev:", "full", "null", "random", "rootfs", "tty", "urandom", "zero", "/dev/rootfs:", "file", "written",
        ]  # fmt: skip
        assert seen.stderr.count("Read-only file system") == 3
        assert " /dev/rootfs " not in Path("/proc/self/mountinfo").read_text()
        assert not Path("/dev/rootfs").exists()

    def test_a_stage_that_cannot_be_laid_out_is_no_stage(self, tmp_path):
        """Without the image nothing is done; and what is done and fails, fails for whoever asked for it."""
        done = []
        with pytest.raises(EngineUnavailable, match="mount /dev/rootfs"):
            on_stage(tmp_path / "none", lambda: done.append(1))
        with pytest.raises(subprocess.TimeoutExpired):
            on_stage(tmp_path, lambda: subprocess.run(["sleep", "9"], timeout=0.01, check=False))

        assert done == []


class TestWarmOci(EngineContract):
    """The same promises with warm containers: every run of the contract must have had one."""

    BY = "runtime"

    @pytest.fixture
    def engine(self, instance, images, image, tmp_path):
        before = set(own_children())
        policy = WarmPolicy(2, tmp_path / "warm", image, LIMITS, 3600)
        made = OciEngine(instance, images, RUNTIME, warm=policy, warm_maker=self.BY)
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


class TestMadeOci(TestWarmOci):
    """And with those that forks have made for themselves."""

    BY = "launcher"

    def test_the_engine_says_who_makes_its_containers(self, engine, image):
        """So a receipt does not call a container the runtime's that is not."""
        assert engine.check(image).runtime == f"{RUNTIME}+launcher"
