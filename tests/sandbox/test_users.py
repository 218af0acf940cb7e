"""A user namespace for each container of the oci engine: who there is in it, seen by the kernel, by a neighbour, by it.

docs/security.md, The oci engine, has a row for each. Both starts; where the engine has no user namespace to give, what
is told instead: tests/contract/test_oci_engine.py.
"""

from __future__ import annotations

import fcntl
import json
import os
import stat
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sandbox import SCRIPTS, findings, living, serving, status_of, with_engine

from controller.config import Settings
from controller.engines import launcher
from controller.engines.launcher import NoFork
from controller.engines.oci_children import adopt
from controller.engines.oci_host import read_host
from controller.engines.oci_images import Images
from controller.engines.oci_runtime import Runtime
from controller.engines.oci_users import UserNamespaces
from controller.engines.oci_warm import OciMaker
from controller.engines.uids import FIRST_UID, UIDS, UidPool, root_uid
from controller.engines.warm import Kind, Workshop
from controller.services.tenants import new_id
from tests.containers import of_server, pids_in
from tests.running import RunningServer
from tests.unpacked import unpacked_images

OWNER, PARENT = 0xB701, 0xB702
"""Of a namespace: which user namespace it belongs to, and in which that one lies (ioctl_ns(2))."""
KINDS = ("cgroup", "ipc", "mnt", "net", "pid", "uts")
FAMILY = """
import subprocess, time

def azureml_main(dataframe1, dataframe2):
    open("/work/own", "w").close()
    subprocess.Popen(["sleep", "600"])
    print("ready", flush=True)
    time.sleep(600)
"""
STRANGERS = {"one": 1, "somebody": 1000, "nobody": 65534, "first": FIRST_UID - 1, "end": FIRST_UID + 3 * UIDS}
SYS_ADMIN_AND_MKNOD = 1 << 21 | 1 << 27
REFUSED = {"EPERM", "EACCES", "EROFS", "EINVAL"}


@pytest.fixture(scope="module", params=["warm", "plain", "made"])
def start(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, start: str) -> Iterator[RunningServer]:
    workers = {"AIRLOCK_WORKERS": "4"}  # two runs stay, others come
    yield from serving(tmp_path_factory.mktemp("users") / "data", start, with_engine("oci") | workers)


@pytest.fixture(scope="module")
def two(server: RunningServer) -> Iterator[list[dict[str, Any]]]:
    """Two runs at the same time."""
    long = {"timeout_seconds": 900}
    with living(server, FAMILY, **long) as (_, one), living(server, FAMILY, **long) as (_, other):
        yield [one, other]


@pytest.fixture(scope="module")
def found(server: RunningServer, two: list[dict[str, Any]]) -> dict[str, Any]:
    """What a third one finds, while these two are at work."""
    neighbours = {f"neighbour{n}": one["Runner"]["Uid"] for n, one in enumerate(two)}
    roots = {f"root{n}": root_uid(uid) for n, uid in enumerate(neighbours.values())}
    return findings(server, "users", STRANGERS | neighbours | roots)


@pytest.fixture
def workshop(tmp_path: Path) -> Iterator[Workshop]:
    adopt()
    instance, runtime = new_id("srv"), Runtime("runc", read_host())
    users = UserNamespaces("on", runtime, UidPool(), instance)
    maker = OciMaker(runtime, Images(unpacked_images()), users, instance, time.time, 60)
    yield Workshop(maker, tmp_path / "warm", UidPool())
    assert of_server("oci", instance) == []


def maps(pid: int) -> list[list[tuple[int, ...]]]:
    """Users and groups: (in the namespace, on the host, how many)."""
    texts = [Path(f"/proc/{pid}/{kind}_map").read_text() for kind in ("uid", "gid")]
    return [[tuple(map(int, line.split())) for line in text.splitlines()] for text in texts]


def namespace(pid: int, kind: str, of: int | None = None) -> tuple[int, int]:
    """Which one it is; or, by ioctl, whose that one is."""
    descriptor = os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY)
    asked = descriptor if of is None else fcntl.ioctl(descriptor, of)
    status = os.fstat(asked)
    for one in {descriptor, asked}:
        os.close(one)
    return status.st_dev, status.st_ino


def test_root_of_a_container_is_nobody_on_the_host(two: list[dict[str, Any]], start: str) -> None:
    """Of each process the kernel says: two users are mapped, the run to itself, and root to one that is no run's."""
    for container in two:
        uid = container["Runner"]["Uid"]
        wanted = [(0, root_uid(uid), 1), (uid, uid, 1)]
        pids = pids_in(container["Id"])
        first = status_of(container["State"]["Pid"])
        sleeps = container["State"]["Pid"] != container["Runner"]["Pid"]

        assert (len(pids), sleeps) == (2 + sleeps, start == "warm")
        assert [maps(pid) for pid in pids] == [[wanted, wanted]] * len(pids)
        assert first["Uid"].split() == [str(root_uid(uid) if sleeps else uid)] * 4
        assert {status_of(pid)[name] for pid in pids for name in ("CapPrm", "CapEff", "CapBnd", "CapInh")} == {"0" * 16}
        assert not FIRST_UID <= root_uid(uid) < FIRST_UID + UIDS


def test_two_runs_share_no_user_namespace_and_no_user(server: RunningServer, two: list[dict[str, Any]]) -> None:
    """Each has its own, a child of the server's; whoever one of them may be on the host, the other cannot be."""
    one, other = ({namespace(pid, "user") for pid in pids_in(container["Id"])} for container in two)
    parents = {namespace(container["Runner"]["Pid"], "user", of=PARENT) for container in two}
    users = [host for container in two for _, host, _ in maps(container["Runner"]["Pid"])[0]]

    assert len(one) == len(other) == 1
    assert one != other
    assert parents == {namespace(server.process.pid, "user")} == {namespace(os.getpid(), "user")}
    assert len(set(users)) == 4


@pytest.mark.parametrize("kind", KINDS)
def test_every_namespace_of_a_container_belongs_to_its_user_namespace(
    two: list[dict[str, Any]], kind: str, start: str
) -> None:
    """So whatever a capability in the container could do, it could do to the container's own things only.

    In a container that its fork has made, not even to these: they are the host's root's.
    """
    for container in two:
        for pid in pids_in(container["Id"]):
            owner = namespace(os.getpid() if start == "made" else pid, "user")
            assert namespace(pid, kind, of=OWNER) == owner


def test_a_scripts_files_are_the_runs_on_both_sides(two: list[dict[str, Any]], start: str) -> None:
    """The owner is the run's uid to the script and to the host; what root of the container made is nobody's."""
    for container in two:
        pid, uid = container["Runner"]["Pid"], container["Runner"]["Uid"]
        places = ("work", "work/own", "dev", "in", "usr")
        owner = {place: os.stat(f"/proc/{pid}/root/{place}").st_uid for place in places}

        maker = 0 if start == "made" else root_uid(uid)
        assert owner == {"work": uid, "work/own": uid, "dev": maker, "in": 0, "usr": 0}


def test_no_two_runs_share_a_device(two: list[dict[str, Any]]) -> None:
    """Nor is one the host's: its times, locks and watches would be a channel. They are the devices of these names."""
    pids = [os.getpid(), *(container["Runner"]["Pid"] for container in two)]
    for name in ("null", "zero", "full", "random", "urandom", "tty"):
        seen = [os.stat(f"/proc/{pid}/root/dev/{name}") for pid in pids]

        assert len({(one.st_dev, one.st_ino) for one in seen}) == 3
        assert len({one.st_rdev for one in seen}) == 1
        assert {stat.S_ISCHR(one.st_mode) for one in seen} == {True}


def test_a_containers_mounts_are_on_no_mount_table_of_the_host(
    server: RunningServer, two: list[dict[str, Any]]
) -> None:
    """Neither the image's place while it is made, nor anything else: kill -9 leaves none to remove."""
    mounts = [Path(f"/proc/{pid}/mountinfo").read_text() for pid in ("self", 1, server.process.pid)]

    assert [text for text in mounts if "/dev/rootfs" in text or any(one["Id"] in text for one in two)] == []


def test_the_script_sees_its_two_users_and_can_map_no_other(found: dict[str, Any]) -> None:
    """Its maps are written, once and for all; setgroups as well, and no file's project can be changed."""
    uid = found["uid"]
    wanted = [str(number) for number in (0, root_uid(uid), 1, uid, uid, 1)]

    assert found["maps"] == [wanted, wanted]
    assert set(found["maps written"].values()) <= REFUSED
    assert (found["groups"], found["project"]) == ("EPERM", "EPERM")


def test_nobody_else_exists_for_the_script(found: dict[str, Any], two: list[dict[str, Any]]) -> None:
    """Users that are not mapped, neighbours and their roots above all: no file can be given to them, nor to root."""
    become, give = dict(found["become"]), dict(found["give away"])

    assert str(two[0]["Runner"]["Uid"]) in give
    assert (become.pop("0"), give.pop("0")) == (["EPERM", "EPERM"], "EPERM")
    assert set(give.values()) == {"EINVAL"}
    assert {answer for answers in become.values() for answer in answers} <= {"EINVAL", "EPERM"}
    assert found["join"] in REFUSED


def test_roots_powers_in_the_container_are_nobodys(found: dict[str, Any], start: str) -> None:
    """No mount can be undone or made writable, no sysctl of the container's own turned, no name changed."""
    assert len(found["remounts"]) == 8
    assert set(found["remounts"].values()) | set(found["unmounts"].values()) == {"EPERM"}
    assert set(found["sysctl"].values()) <= {"EACCES", "EROFS"}
    assert len(found["sysctl"]) == 3
    assert found["host name"] == "EPERM"
    assert found["signal root"] == ("EPERM" if start == "warm" else "process 1 is the script")


def test_all_of_roots_powers_reach_nothing_of_the_host(two: list[dict[str, Any]], start: str) -> None:
    """As if every other wall had a hole: root of the container, with each capability and no filter, put there by us.

    It can mount something, unless its mounts are the host's root's. It cannot write the image, the inputs, the kernel's
    knobs or its own limits, nor make a device, nor be or serve anybody else; and what the kernel has one of, for all,
    it leaves alone.
    """
    script = (SCRIPTS / "root.py").read_text()
    enter = ["nsenter", "--all", "--target", str(two[0]["State"]["Pid"])]

    done = subprocess.run([*enter, "/opt/conda/bin/python", "-I", "-c", script], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    found = json.loads(done.stdout)

    assert (found.pop("uid"), found.pop("a mount of its own")) == (0, "EPERM" if start == "made" else "done")
    assert found.pop("powers") & SYS_ADMIN_AND_MKNOD == SYS_ADMIN_AND_MKNOD
    assert {name for name, answer in found.items() if answer not in {"EPERM", "EACCES", "EROFS", "EINVAL"}} == set()
    assert (found["image made writable"], found["device made writable"]) == ("EPERM", "EPERM")


def test_the_image_is_nobodys_to_the_script(found: dict[str, Any], start: str) -> None:
    """Its owner, the host's root, does not exist here; what the container's root made is root's."""
    image = found["image's file"]

    assert (image["owner"], image["owner of /dev"]) == ([65534, 65534], 65534 if start == "made" else 0)
    assert {image[way] for way in ("chmod", "chown", "write")} <= {"EPERM", "EROFS", "EACCES"}


def test_the_script_cannot_set_a_devices_times(found: dict[str, Any]) -> None:
    """Of no device and no masked file, which is a device as well."""
    assert set(found["devices' times"].values()) == {"EROFS"}
    assert found["masked file's time"] == "EROFS"
    assert json.dumps(found["maps"]) != json.dumps([["0", "0", "4294967295"]] * 2)


@pytest.mark.parametrize(
    ("whose", "words"), [("launcher", "not in the container's user namespace"), ("neighbour", "not sealed.*Invalid")]
)
def test_a_fork_in_another_user_namespace_is_refused(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch, whose: str, words: str
) -> None:
    """In the launcher's own, which is the host's, and so in none; or in that of a container where the run is nobody."""
    kind = Kind.of(Images(unpacked_images()).digest(Settings().image), Settings().limits())
    generation = workshop.launcher(kind.digest)
    neighbour = workshop.container(kind, generation)
    pid = os.getpid() if whose == "launcher" else neighbour.container.init.pid
    joined = launcher._joined

    @contextmanager
    def elsewhere(init: launcher.Init) -> Iterator[list[int]]:
        place = launcher.NAMESPACES.index("user")
        with joined(init) as held, open(f"/proc/{pid}/ns/user") as other:
            yield [*held[:place], other.fileno(), *held[place + 1 :]]

    monkeypatch.setattr(launcher, "_joined", elsewhere)
    with pytest.raises(NoFork, match=words):
        workshop.container(kind, generation)

    assert neighbour.fork.waits()
    neighbour.remove()
    generation.remove()


def test_the_server_says_that_containers_have_user_namespaces(server: RunningServer) -> None:
    """In what it tells of its engine, and in the receipt of a run."""
    run = server.submit("def azureml_main(a, b):\n    return a")

    receipt = server.get(f"/v1/runs/{run['id']}/receipt").json()
    engine = server.get("/v1/admin/engine").json()

    assert '"user_namespaces": true' in json.dumps(receipt)
    assert engine["engine"]["controls"]["user_namespaces"] is True
