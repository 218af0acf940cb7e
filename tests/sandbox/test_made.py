"""Containers that forks of the launcher make for themselves: the same as a runtime's, or none.

docs/security.md, Containers that forks make, has a row for each; the walls of the page are shown for them as well
(`made` in conftest.py), and so are the engine's contract (tests/contract/test_oci_engine.py) and the kills of a server
(tests/acceptance/test_oci_recovery.py).
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sandbox import SLEEPER, container_of, ended, lives, serving, status_of, submit, table, wait_for_log, with_engine
from test_parity import from_outside, within
from test_warm_fork import CANARY_HUNT, identities

from controller.config import Settings
from controller.engines import cgroup
from controller.engines.launcher import Launcher, NoFork
from controller.engines.oci_children import adopt
from controller.engines.oci_host import read_host
from controller.engines.oci_images import Images
from controller.engines.oci_made import MadeContainer
from controller.engines.oci_runtime import Runtime
from controller.engines.oci_users import UserNamespaces
from controller.engines.oci_warm import OciMaker
from controller.engines.uids import UidPool
from controller.engines.walls import MASKED_PATHS
from controller.engines.warm import Generation, Kind, Workshop
from controller.services.tenants import new_id
from tests.containers import of_server, pids_in
from tests.running import RunningServer
from tests.unpacked import unpacked_images

EMPTY = ["ro,nosuid,nodev,noexec,relatime", "tmpfs", ["ro"]]
NOTHING = ["ro,nosuid,noexec", "tmpfs", ["rw", "mode=755"]]
LENT = ["ro,nosuid,noexec,relatime", "tmpfs", ["rw", "mode=755"]]
REVIEWED: dict[str, tuple[Any, ...]] = {
    # of the runtime's plain start, of one that is made; the first lines are those of every warm fork
    "command line": (
        ["/opt/conda/bin/python", "-I", "-B", "-m", "runner"],
        ["/opt/conda/bin/python", "-I", "-B", "-m", "launcher"],
    ),
    "secure bits": (0, 0b11000011),
    "status Seccomp_filters": ("1", "2"),
    "Seccomp_filters": ("1", "2"),
    "status SigCgt": ("00000001000004ea", "00000000000004ea"),
    "status Threads": ("2", "1"),
    # Devices are the container's own; the directory is read-only afterwards.
    "mount /dev": (["rw,nosuid", "tmpfs", ["rw", "mode=755"]], ["ro,nosuid,noexec", "tmpfs", ["rw", "mode=755"]]),
    "mount /sys/fs/cgroup": (
        ["rw,nosuid,nodev,noexec,relatime", "tmpfs", ["rw", "mode=755"]],
        ["ro,nosuid,nodev,noexec,relatime", "tmpfs", ["rw", "mode=755"]],
    ),
} | {f"mount /dev/{name}": (LENT, None) for name in ("null", "zero", "full", "random", "urandom", "tty")}
MASKED = ((["ro,relatime", "tmpfs", ["ro"]], EMPTY), (LENT, NOTHING))
"""A directory, and a file: one has more walls, the other comes from the container's own /dev."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    yield from serving(tmp_path_factory.mktemp("made") / "data", "made", with_engine("oci"))


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    yield from serving(tmp_path_factory.mktemp("plain") / "data", "plain", with_engine("oci"))


@pytest.fixture
def workshop(tmp_path: Path) -> Iterator[Workshop]:
    adopt()
    instance, runtime = new_id("srv"), Runtime("runc", read_host())
    users = UserNamespaces("on", runtime, UidPool(), instance)
    maker = OciMaker(runtime, Images(unpacked_images()), users, instance, time.time, 60, "launcher")
    yield Workshop(maker, tmp_path / "warm", UidPool())
    assert of_server("oci", instance) == []


@pytest.fixture
def kind() -> Kind:
    return Kind.of(Images(unpacked_images()).digest(Settings().image), Settings().limits())


@pytest.fixture
def generation(workshop: Workshop, kind: Kind) -> Iterator[Generation]:
    one = workshop.launcher(kind.digest)
    yield one
    one.remove()


def unreviewed(of_runtime: dict[str, Any], of_fork: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    names = of_runtime.keys() | of_fork.keys()
    found = {name: (of_runtime.get(name), of_fork.get(name)) for name in names}
    masked = {f"mount {path}" for path in MASKED_PATHS}
    return {
        name: values
        for name, values in found.items()
        if values[0] != values[1] and REVIEWED.get(name) != values and not (name in masked and values in MASKED)
    }


def test_a_fork_makes_the_container_that_the_runtime_makes(plain: RunningServer, made: RunningServer) -> None:
    """As a script sees it and as the host does; each difference is a reviewed one, and none lets more through."""
    assert unreviewed(within(plain), within(made)) == {}
    assert unreviewed(from_outside(plain), from_outside(made)) == {}


def test_a_made_container_is_used_once(made: RunningServer) -> None:
    """Thirty runs had thirty containers, by name, and thirty users."""
    found = identities(made, 30)

    assert [len(set(found[name])) for name in ("container", "uid")] == [30, 30]


def test_a_made_container_has_one_process_and_no_runtime(made: RunningServer) -> None:
    """The runner is its first process, and a child of the launcher; the runtime that makes launchers knows of none."""
    run_id = submit(made, SLEEPER)
    wait_for_log(made, run_id, "ready")
    container = container_of(run_id)
    pid = container["Runner"]["Pid"]

    assert pids_in(container["Id"]) == [pid] == [container["State"]["Pid"]]
    assert status_of(pid)["NSpid"].split() == [str(pid), "1"]
    assert int(status_of(pid)["PPid"]) == _launcher_pid(made)
    assert not Path("/run/airlock-oci/runc/root", container["Id"]).exists()
    made.post(f"/v1/runs/{run_id}/cancel")


def test_a_run_that_may_use_two_cpus_has_a_made_container(made: RunningServer) -> None:
    """Its libraries have begun a thread more by the time at which the fork is looked at."""
    script = """
import pandas as pd
def azureml_main(a, b):
    status = dict(line.split(":") for line in open("/proc/self/status"))
    return pd.DataFrame({"pid": [status["Pid"].strip()], "threads": [int(status["Threads"])]})
"""

    run = made.submit(script, cpus=2)

    assert table(made, run) == {"pid": ["1"], "threads": [2]}
    assert made.plain_starts(excused=("no launcher is ready",)) == set()


def _launcher_pid(server: RunningServer) -> int:
    (name,) = [one["Id"] for one in of_server("oci", server.instance) if one["Id"].startswith("airlock-launcher-")]
    pids = pids_in(name)
    (first,) = [pid for pid in pids if int(status_of(pid)["PPid"]) not in pids]
    return first


def test_a_launcher_whose_forks_make_containers_has_two_powers_more(made: RunningServer) -> None:
    """To make devices and to set up the loopback interface; its network and its files are as little as before."""
    pid = _launcher_pid(made)
    status = status_of(pid)

    wanted = sum(1 << number for number in (6, 7, 8, 12, 18, 21, 27))  # and NET_ADMIN, MKNOD
    assert {int(status[name], 16) for name in ("CapPrm", "CapEff", "CapBnd")} == {wanted}
    assert (status["Threads"], status["Seccomp"], status["NoNewPrivs"]) == ("1", "2", "1")
    for name in ("net", "mnt", "ipc", "uts", "cgroup"):
        assert os.readlink(f"/proc/{pid}/ns/{name}") != os.readlink(f"/proc/self/ns/{name}")


def test_a_launcher_that_dies_takes_its_containers_with_it(made: RunningServer) -> None:
    """A run at work is begun again, since nobody can say how it ended; what the first one was in has gone."""
    made.warm_up()
    run_id = submit(made, "import time\ndef azureml_main(a, b):\n    print('ready', flush=True)\n    time.sleep(3)\n")
    wait_for_log(made, run_id, "ready")
    first = container_of(run_id)

    os.kill(_launcher_pid(made), signal.SIGKILL)
    run = ended(made, run_id)

    assert (run["status"], run["attempt"]) == ("succeeded", 2)
    assert not lives(first["Runner"]["Pid"])
    assert pids_in(first["Id"]) == []
    made.warm_up()


# -- what is not as the document says is refused ---------------------------------------------------------------------

Told = Callable[[dict[str, Any], list[int]], list[int]]


def _without(path: str) -> Told:
    def change(document: dict[str, Any], given: list[int]) -> list[int]:
        document["mounts"] = [one for one in document["mounts"] if one["destination"] != path]
        return given

    return change


def _and_more(document: dict[str, Any], given: list[int]) -> list[int]:
    document["mounts"].append({"destination": "/media", "type": "tmpfs", "options": ["ro"]})
    return given


def _twice(document: dict[str, Any], given: list[int]) -> list[int]:
    document["mounts"].append(document["mounts"][-1])
    return given


def _writable(document: dict[str, Any], given: list[int]) -> list[int]:
    (inputs,) = (one for one in document["mounts"] if one["destination"] == "/in")
    inputs["options"] = ["rbind", "rw", "rprivate"]
    return given


def _devices_on(path: str) -> Told:
    def change(document: dict[str, Any], given: list[int]) -> list[int]:
        (mount,) = (one for one in document["mounts"] if one["destination"] == path)
        mount["options"].remove("nodev")
        return given

    return change


def _unbounded(path: str, option: str) -> Told:
    def change(document: dict[str, Any], given: list[int]) -> list[int]:
        (mount,) = (one for one in document["mounts"] if one["destination"] == path)
        mount["options"] = [one for one in mount["options"] if not one.startswith(option)]
        return given

    return change


def _only_read_only(path: str) -> Told:
    def change(document: dict[str, Any], given: list[int]) -> list[int]:
        document["linux"]["maskedPaths"].remove(path)
        document["linux"]["readonlyPaths"].append(path)
        return given

    return change


def _without_bounds(document: dict[str, Any], given: list[int]) -> list[int]:
    (work,) = (one for one in document["mounts"] if one["destination"] == "/work")
    work["type"], work["options"] = "ramfs", ["nosuid", "nodev", "mode=0700"]
    return given


def _bare(path: str) -> Told:
    def change(document: dict[str, Any], given: list[int]) -> list[int]:
        document["linux"]["maskedPaths"].remove(path)
        return given

    return change


def _writable_sysctls(document: dict[str, Any], given: list[int]) -> list[int]:
    document["linux"]["readonlyPaths"].remove("/proc/sys")
    return given


def _no_users(document: dict[str, Any], given: list[int]) -> list[int]:
    del document["linux"]["uidMappings"]
    return given


def _other_root(document: dict[str, Any], given: list[int]) -> list[int]:
    document["linux"]["uidMappings"][0]["hostID"] += 1
    return given


def _swapped(document: dict[str, Any], given: list[int]) -> list[int]:
    return [given[1], given[0], *given[2:]]


WRONG: dict[str, tuple[Told, str]] = {
    "a mount less": (_without("/dev/shm"), "mount at /dev/shm"),
    "a mount more": (_and_more, "something is mounted at /media"),
    "a mount on another": (_twice, "two things are mounted at /work"),
    "inputs that can be written": (_writable, "mount at /in"),
    "devices where there are none": (_devices_on("/work"), "mount at /work"),
    "a file system without bounds": (_without_bounds, "not sealed|mount at /work"),
    "a working directory of any size": (_unbounded("/work", "size="), "file system at .*/work holds"),
    "any number of files": (_unbounded("/work", "nr_inodes="), "file system at .*/work holds"),
    "shared memory of any size": (_unbounded("/dev/shm", "size="), "file system at .*/dev/shm holds"),
    "a working directory for all": (_unbounded("/work", "mode="), "/work is of user"),
    "a file that is read-only, and can be read": (_only_read_only("/proc/version"), "/proc/version .* is not masked"),
    "a directory that is read-only, and can be read": (_only_read_only("/sys/class"), "/sys/class .* is not masked"),
    "a file that is not masked": (_bare("/proc/version"), "mount at /proc/version"),
    "a directory that is not masked": (_bare("/sys/class"), "mount at /sys/class"),
    "sysctls that can be written": (_writable_sysctls, "mount at /proc/sys"),
    "another directory": (_swapped, "of the fork is not"),
    "no user namespace": (_no_users, "wrong user namespace"),
    "another root": (_other_root, "not sealed.*uid_map|uid_map is not what was asked for"),
    "no cgroups": (lambda document, given: given[:2], "not in the container's cgroup"),
    "not all cgroups": (lambda document, given: given[:-1], "not sealed.*cgroups|not in all of"),
    "a step that fails": (lambda document, given: [given[2], *given[1:]], "not sealed.*/in"),
}
"""What the launcher is told instead, and the words of the refusal."""


@pytest.mark.parametrize("what", WRONG)
def test_a_container_that_is_not_what_was_asked_for_is_refused(
    workshop: Workshop, generation: Generation, kind: Kind, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """The fork has made something else, and is sealed, or not: it ends, nothing is left, and others go on."""
    change, words = WRONG[what]
    other, names = workshop.container(kind, generation), workshop.names()
    asked = MadeContainer.asked

    @contextmanager
    def otherwise(container: MadeContainer) -> Iterator[tuple[list[int], bytes]]:
        with asked(container) as (given, text):
            document = json.loads(text)
            yield change(document, given), json.dumps(document).encode()

    monkeypatch.setattr(MadeContainer, "asked", otherwise)
    with pytest.raises(NoFork, match=words):
        workshop.container(kind, generation)

    assert workshop.names() == names
    assert other.fork.waits()
    other.remove()


def test_a_fork_with_other_limits_is_refused(
    workshop: Workshop, generation: Generation, kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The size of a file is the one limit that a fork sets itself."""
    ask = Launcher._ask
    monkeypatch.setattr(Launcher, "_ask", lambda one, uid, cpus, size, *more: ask(one, uid, cpus, size + 1, *more))

    with pytest.raises(NoFork, match="limits"):
        workshop.container(kind, generation)


@pytest.mark.parametrize("controller", ["memory", "pids", "cpu"])
def test_a_container_without_a_bound_is_refused(
    workshop: Workshop, generation: Generation, kind: Kind, monkeypatch: pytest.MonkeyPatch, controller: str
) -> None:
    """On a host that has no such hierarchy; or, on version 2, none at all."""
    hierarchies = cgroup._hierarchies_of

    def without(place: str) -> list[tuple[str, bool, set[str]]]:
        bounds = {"memory", "pids", "cpu"} if read_host().cgroup_version == "2" else set()
        return [one for one in hierarchies(place) if controller not in one[2] | (bounds if one[1] else set())]

    monkeypatch.setattr(cgroup, "_hierarchies_of", without)
    with pytest.raises(NoFork, match=f"no hierarchy has .*{controller}"):
        workshop.container(kind, generation)


def test_a_container_is_made_where_no_cgroup_of_ours_is_yet(
    workshop: Workshop, generation: Generation, kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a host with cgroups of version 1 that systemd holds: a cpuset that is new takes in nobody by itself."""
    place = cgroup.oci_place
    first = f"airlock-first-{os.getpid()}"

    def elsewhere(name: str, driver: str) -> str:
        return f"{first}/{name}" if name.startswith("airlock-warm-") else place(name, driver)

    monkeypatch.setattr(cgroup, "oci_place", elsewhere)
    try:
        workshop.container(kind, generation).remove()
    finally:
        cgroup.clear(first, 10)


def test_a_hierarchy_that_is_mounted_twice_is_one(
    workshop: Workshop, generation: Generation, kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by those who want version 2 at a place that they know, on any host."""
    hierarchies = cgroup.hierarchies
    monkeypatch.setattr(cgroup, "hierarchies", lambda: [one for one in hierarchies() for _ in range(2)])

    one = workshop.container(kind, generation)

    assert one.fork.waits()
    one.remove()


def test_a_launcher_that_has_died_is_not_usable(workshop: Workshop, generation: Generation) -> None:
    """It is known at once, not when it is asked next."""
    assert generation.launcher.usable()

    os.kill(generation.launcher.peer, signal.SIGKILL)

    assert generation.launcher.wait(5)
    assert (generation.launcher.usable(), generation.worn()) == (False, True)


def test_the_memory_of_a_fork_names_no_server(made: RunningServer) -> None:
    """The document that a container was made from tells its script nothing of who asked for it."""
    script = CANARY_HUNT.replace("bytes.fromhex(", "").replace('["needle"][0])[::-1]', '["needle"][0].encode()[::-1]')
    needle = json.dumps([{"needle": made.instance[::-1]}]).encode()

    found = table(made, made.submit(script, files={"dataframe1": ("n.json", needle, "application/json")}))

    assert found["found"][0] <= 2, "its own copies of what it looks for, and no more"


def test_what_was_asked_for_is_accepted(workshop: Workshop, generation: Generation, kind: Kind) -> None:
    """The control of the tests above."""
    one = workshop.container(kind, generation)

    assert one.fork.waits()
    one.remove()
