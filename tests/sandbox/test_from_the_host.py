"""What the kernel says of a live sandbox, seen from the host: nothing here is told by the sandbox itself."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sandbox import cgroup_file, living, processes_of, status_of

from controller.engines.uids import FIRST_UID, UIDS
from tests.running import RunningServer

MIB = 1 << 20
FAMILY = """
import subprocess, threading, time

def azureml_main(dataframe1, dataframe2):
    children = [subprocess.Popen(["/opt/conda/bin/python", "-c", "import time; time.sleep(600)"]) for _ in range(2)]
    threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
    time.sleep(0.3)
    print("ready", flush=True)
    time.sleep(600)
"""
NAMESPACES = ("cgroup", "ipc", "mnt", "net", "pid", "uts")


@pytest.fixture(scope="module")
def container(server: RunningServer) -> Iterator[dict[str, Any]]:
    options = {"timeout_seconds": 120, "memory_bytes": 256 * MIB, "cpus": 0.5}
    with living(server, FAMILY, **options) as (_, container):
        yield container


@pytest.fixture(scope="module")
def pids(container: dict[str, Any]) -> list[int]:
    found = processes_of(container)
    assert len(found) == 3, "the runner and the script's two children"
    return found


def test_every_process_is_without_capabilities(pids: list[int]) -> None:
    """All five capability sets of each process in the sandbox are empty."""

    sets = {status_of(pid)[name] for pid in pids for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")}

    assert {int(one, 16) for one in sets} == {0}


def test_no_process_can_gain_privileges(pids: list[int]) -> None:
    """no_new_privs is set on each process: executing a setuid file gives nothing."""

    assert {status_of(pid)["NoNewPrivs"] for pid in pids} == {"1"}


def test_every_process_is_under_the_seccomp_filter(pids: list[int]) -> None:
    """Each process and thread is in seccomp's filter mode, children and threads included."""
    tasks = [int(task.name) for pid in pids for task in Path(f"/proc/{pid}/task").iterdir()]

    modes = {status_of(task)["Seccomp"] for task in tasks}

    assert modes == {"2"}
    assert len(tasks) > len(pids)


def test_every_process_has_the_uid_of_the_run(container: dict[str, Any], pids: list[int]) -> None:
    """Real, effective, saved and file-system ids are the run's own, out of the pool, without other groups."""
    uid = container["Runner"]["Uid"]

    statuses = [status_of(pid) for pid in pids]

    assert FIRST_UID <= uid < FIRST_UID + UIDS
    assert {status["Uid"] for status in statuses} == {"\t".join([str(uid)] * 4)}
    assert {status["Gid"] for status in statuses} == {"\t".join([str(uid)] * 4)}
    assert {status["Groups"] for status in statuses} <= {"", str(uid)}


@pytest.mark.parametrize("kind", NAMESPACES)
def test_every_process_is_in_the_sandboxs_own_namespace(server: RunningServer, pids: list[int], kind: str) -> None:
    """Each namespace of each process is the sandbox's, and not the server's."""

    found = {os.readlink(f"/proc/{pid}/ns/{kind}") for pid in pids}

    assert len(found) == 1
    assert found != {os.readlink(f"/proc/{server.process.pid}/ns/{kind}")}


def test_two_runs_share_no_namespace_and_no_uid(server: RunningServer, container: dict[str, Any]) -> None:
    """A second run at the same time has another uid, and other namespaces of each kind."""
    pid = container["Runner"]["Pid"]

    with living(server) as (_, other):
        other_pid = other["Runner"]["Pid"]
        uids = {status_of(one)["Uid"] for one in (pid, other_pid)}
        shared = [
            k for k in NAMESPACES if os.readlink(f"/proc/{pid}/ns/{k}") == os.readlink(f"/proc/{other_pid}/ns/{k}")
        ]

    assert len(uids) == 2
    assert shared == []


def test_the_kernel_holds_the_memory_limit(container: dict[str, Any]) -> None:
    """The cgroup's memory limit is the run's, and swap adds nothing to it."""
    pid = container["Runner"]["Pid"]

    limit = cgroup_file(pid, "memory", "memory.limit_in_bytes", "memory.max")
    with_swap = cgroup_file(pid, "memory", "memory.memsw.limit_in_bytes", "memory.swap.max")

    assert int(limit) == 256 * MIB
    assert with_swap in (str(256 * MIB), "0")


def test_the_kernel_holds_the_process_limit(server: RunningServer, container: dict[str, Any]) -> None:
    """The cgroup's limit of processes is the run's."""
    pid = container["Runner"]["Pid"]

    limit = cgroup_file(pid, "pids", "pids.max", "pids.max")

    assert int(limit) == container["HostConfig"]["PidsLimit"] == 128


def test_the_kernel_holds_the_cpu_limit(container: dict[str, Any]) -> None:
    """The cgroup's share of CPU time is the run's: half a CPU."""
    pid = container["Runner"]["Pid"]

    quota = cgroup_file(pid, "cpu", "cpu.cfs_quota_us", "cpu.max").split()[0]
    period = cgroup_file(pid, "cpu", "cpu.cfs_period_us", "cpu.max").split()[-1]

    assert int(quota) / int(period) == 0.5


def test_the_host_kills_a_sandbox_before_the_server(server: RunningServer, pids: list[int]) -> None:
    """When the host itself runs out of memory, its kernel prefers each sandbox process to the server."""

    scores = {int(Path(f"/proc/{pid}/oom_score_adj").read_text()) for pid in pids}

    assert min(scores) >= 500 > int(Path(f"/proc/{server.process.pid}/oom_score_adj").read_text())


def test_the_runner_holds_no_descriptor_of_the_host(container: dict[str, Any]) -> None:
    """The runner's open files are its three pipes, copies of them, and files under /in, /out and /work."""
    directory = Path(f"/proc/{container['State']['Pid']}/fd")

    targets = {os.readlink(entry) for entry in directory.iterdir()}

    assert {t for t in targets if not t.startswith(("pipe:", "/dev/null", "/in/", "/out/", "/work/"))} == set()


def test_the_inputs_are_not_writable_even_for_the_kernels_mount(container: dict[str, Any]) -> None:
    """The mount table holds /, /in and /sys read-only; the only writable trees are /work, /out, /dev and /proc."""
    lines = Path(f"/proc/{container['State']['Pid']}/mountinfo").read_text().splitlines()

    mounts = {fields[4]: fields[5].split(",") for fields in map(str.split, lines)}
    writable = {place for place, options in mounts.items() if "rw" in options}

    assert {"ro"} == {mounts[place][0] for place in ("/", "/in", "/sys")}
    assert {place for place in writable if not place.startswith(("/dev", "/proc", "/sys/fs/cgroup"))} == {
        "/work",
        "/out",
    }
    assert {"nosuid", "nodev"} <= set(mounts["/work"])
