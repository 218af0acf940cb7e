"""The docker and the oci engine make the same world: what differs is a reviewed list, from inside and from outside."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sandbox import findings, living, serving, status_of, with_engine

from controller.engines.walls import MASKED_PATHS
from tests.running import RunningServer

pytestmark = pytest.mark.docker
NAMESPACES = ("cgroup", "ipc", "mnt", "net", "pid", "user", "uts")
BOUNDS = {
    "memory": ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes", "memory.swappiness", "memory.oom_control",
               "memory.kmem.tcp.limit_in_bytes", "memory.max", "memory.swap.max"),
    "pids": ("pids.max",),
    "cpu": ("cpu.shares", "cpu.cfs_quota_us", "cpu.cfs_period_us", "cpu.max", "cpu.weight"),
    "devices": ("devices.list",),
    "cpuset": ("cpuset.cpus", "cpuset.cpus.effective", "cpuset.mems"),
}  # fmt: skip
"""What the kernel holds a container's cgroup to: files of version 1 and of version 2."""

OWN_DEVICE = ["ro,nosuid,noexec,relatime", "tmpfs", ["rw", "mode=755"]]
REVIEWED: dict[str, tuple[Any, Any]] = {
    # of Docker, of oci
    "mount /etc/hostname": (["ro,relatime"], None),  # Docker mounts its own; the unpacked image has one
    "mount /etc/hosts": (["ro,relatime"], None),
    "mount /etc/resolv.conf": (["ro,relatime"], None),
    "status Groups": ("GROUP", ""),  # Docker adds the user's own group to the others
    "groups": (["GROUP"], []),
    "devices devices.list c 5:1 rwm": (True, None),  # /dev/console, which neither puts into a container
    # oci's containers have a user namespace: the run, and a root who is nobody on the host
    "users": ([["0", "0", "4294967295"]] * 2, [["0", "RUN + 65536", "1", "RUN + 0", "RUN + 0", "1"]] * 2),
    "user of its own": (False, True),
    # Its root can make no devices, so it is lent some: by us, read-only, which takes their times from the script.
    "device's time": ("touched", "Read-only file system"),
} | {f"mount /dev/{name}": (None, OWN_DEVICE) for name in ("null", "zero", "full", "random", "urandom", "tty")}
# A masked file is /dev/null.
REVIEWED |= {f"mount {path}": (["rw,nosuid", "tmpfs", ["rw", "mode=755"]], OWN_DEVICE) for path in MASKED_PATHS}
"""Every difference that there may be, and why there is no harm in it. Which of them there are depends on the host."""
_OF_GLIBC = (1 << 31) | (1 << 32)
"""The two signals that no program can set: whether they are ignored comes from whoever started the daemon."""


@pytest.fixture(scope="module", params=["warm", "plain"])
def start(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def by_docker(tmp_path_factory: pytest.TempPathFactory, start: str) -> Iterator[RunningServer]:
    yield from serving(tmp_path_factory.mktemp("docker") / "data", start, with_engine("docker"))


@pytest.fixture(scope="module")
def by_oci(tmp_path_factory: pytest.TempPathFactory, start: str) -> Iterator[RunningServer]:
    yield from serving(tmp_path_factory.mktemp("oci") / "data", start, with_engine("oci"))


def differences(of_docker: dict[str, Any], of_oci: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Those that nobody has reviewed."""
    names = of_docker.keys() | of_oci.keys()
    found = {n: (of_docker.get(n), of_oci.get(n)) for n in names if of_docker.get(n) != of_oci.get(n)}
    return {name: values for name, values in found.items() if REVIEWED.get(name) != values}


def within(server: RunningServer) -> dict[str, Any]:
    """All that the script can learn of its process; with what is this run's or this disk's alone made equal."""
    world = findings(server, "world")
    world["status SigIgn"] = hex(int(world["status SigIgn"], 16) & ~_OF_GLIBC)
    for name in [name for name in world if name == "mount /" or name.startswith("mount /etc/")]:
        world[name] = world[name][:1]  # what lies under it is Docker's overlay, or the host's own disk
    if world["groups"]:
        world["groups"], world["status Groups"] = ["GROUP"], "GROUP"
    return world


def from_outside(server: RunningServer) -> dict[str, Any]:
    """What the kernel tells the host of a run at work."""
    with living(server, timeout_seconds=120, memory_bytes=256 << 20, cpus=0.5) as (_, container):
        pid = container["Runner"]["Pid"]
        status = status_of(pid)
        seen: dict[str, Any] = {
            f"{name} of its own": os.readlink(f"/proc/{pid}/ns/{name}") != os.readlink(f"/proc/self/ns/{name}")
            for name in NAMESPACES
        }
        seen |= {name: status[name] for name in status if name.startswith(("Cap", "Seccomp", "NoNewPrivs"))}
        seen |= {"limits": Path(f"/proc/{pid}/limits").read_text(), "parent cgroup": sorted(cgroups_of(pid))}
        seen |= {"oom score": Path(f"/proc/{pid}/oom_score_adj").read_text()}
        seen |= {"descriptors": sorted(kind(entry) for entry in Path(f"/proc/{pid}/fd").iterdir())}
        for place in cgroups_of(pid).values():
            for controller, names in BOUNDS.items():
                for name in names:
                    if (place / name).exists():
                        lines = (place / name).read_text().splitlines()
                        seen |= {f"{controller} {name} {line}": True for line in lines}
        return seen


def cgroups_of(pid: int) -> dict[str, Path]:
    """The directory of each of its cgroups, by controllers; of version 2 by the empty name."""
    found = {}
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, controllers, place = line.split(":", 2)
        mount = "unified" if not controllers and Path("/sys/fs/cgroup/unified").is_dir() else controllers
        found[controllers] = Path("/sys/fs/cgroup", mount.removeprefix("name="), place.lstrip("/"))
    return found


def kind(descriptor: Path) -> str:
    return os.readlink(descriptor).partition(":")[0]


def test_both_engines_make_the_same_world(by_docker: RunningServer, by_oci: RunningServer) -> None:
    """Status, limits, mounts, cgroups, descriptors, environment, signals, as a script sees them."""
    assert differences(within(by_docker), within(by_oci)) == {}


def test_the_host_sees_the_same_walls(by_docker: RunningServer, by_oci: RunningServer) -> None:
    """Namespaces, capabilities, the filter, limits and every bound of the cgroups, as the kernel has them."""
    assert differences(from_outside(by_docker), from_outside(by_oci)) == {}
