"""What Docker is asked for, and what it then really made: both pinned, field by field."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sandbox import is_warm, living

from controller.config import Settings
from controller.engines.base import RUNNER_COMMAND, SandboxSpec
from controller.engines.docker_request import create_request, launcher_request, warm_request
from controller.engines.walls import (
    DEADLINE_LABEL,
    OWNER_LABEL,
    RUN_LABEL,
    WARM_LABEL,
    launcher_profile,
    seccomp_profile,
)
from controller.model import Limits
from tests.running import RunningServer

pytestmark = pytest.mark.docker

GOLDEN, GOLDEN_WARM = (Path(__file__).parent / name for name in ("create_request.json", "warm_requests.json"))
"""After a change that is meant: the test's own message shows the new text. Each line of it is reviewed."""

OF_DOCKER = {
    "Config": {"Domainname", "ExposedPorts", "ArgsEscaped", "Volumes", "OnBuild", "MacAddress", "Shell", "StopTimeout"},
    "HostConfig": {
        "Annotations", "AutoRemove", "Binds", "BlkioDeviceReadBps", "BlkioDeviceReadIOps", "BlkioDeviceWriteBps",
        "BlkioDeviceWriteIOps", "BlkioWeight", "BlkioWeightDevice", "Cgroup", "ConsoleSize", "ContainerIDFile",
        "CpuCount", "CpuPercent", "CpuPeriod", "CpuQuota", "CpuRealtimePeriod", "CpuRealtimeRuntime", "CpusetCpus",
        "CpusetMems", "DeviceRequests", "DnsOptions", "DnsSearch", "ExtraHosts", "IOMaximumBandwidth",
        "IOMaximumIOps", "Isolation", "KernelMemory", "KernelMemoryTCP", "Links", "MemoryReservation",
        "PortBindings",
        "PublishAllPorts", "StorageOpt", "Sysctls", "VolumeDriver", "VolumesFrom",
    },
}  # fmt: skip
"""Fields that we do not set and Docker shows all the same. Each has to be empty; any other one is a surprise."""


def spec_and_arguments() -> tuple[SandboxSpec, dict[str, Any]]:
    limits = Limits(
        timeout_seconds=60, memory_bytes=1 << 30, cpus=1.5, processes=128, work_bytes=1 << 28, work_inodes=20_000,
        output_bytes=1 << 30, log_bytes=1 << 20, images=100, images_bytes=1 << 26,
    )  # fmt: skip
    spec = SandboxSpec(
        run_id="run_golden",
        attempt=1,
        image="airlock-sandbox:latest",
        input_dir=Path("/data/runs/run_golden/in"),
        output_dir=Path("/data/runs/run_golden/out"),
        limits=limits,
    )
    arguments = {
        "uid": 212_345,
        "instance": "srv_golden",
        "deadline": 1_700_000_061,
        "runtime": "runc",
        "cgroup_parent": "/airlock-runs",
    }
    return spec, arguments


def with_hash_of_profile(request: dict[str, Any]) -> dict[str, Any]:
    """The request with the seccomp profile's hash in its place, for a golden file that can be read."""
    copy: dict[str, Any] = json.loads(json.dumps(request))
    options = copy["HostConfig"]["SecurityOpt"]
    for number, option in enumerate(options):
        name, _, text = option.partition("=")
        if name == "seccomp":
            options[number] = "seccomp=sha256:" + hashlib.sha256(text.encode()).hexdigest()
    return copy


@pytest.fixture(scope="module")
def live(server: RunningServer) -> Iterator[tuple[str, dict[str, Any]]]:
    with living(server, timeout_seconds=120, memory_bytes=256 << 20) as (run_id, container):
        yield run_id, container


@pytest.fixture(scope="module")
def container(live: tuple[str, dict[str, Any]]) -> dict[str, Any]:
    return live[1]


def output_dir(server: RunningServer, run_id: str) -> Path:
    """Where the run's output files lie while its sandbox lives."""
    return server.data_dir / "scratch" / f"out-{run_id}"


def slot_of(server: RunningServer, container: dict[str, Any]) -> Path:
    """A warm container's own directory: below the server's, named for the container, and found nowhere else."""
    name = container["Name"].lstrip("/")
    (slot,) = (server.data_dir / "warm").glob(f"*/{name}")
    return slot


def wanted_of(server: RunningServer, run_id: str, container: dict[str, Any]) -> dict[str, Any]:
    """The request as it must have been for this run: ours to say all but the uid and the deadline."""
    document = server.get(f"/v1/runs/{run_id}").json()
    root = server.data_dir / "runs" / run_id
    limits = Limits.model_validate(document["limits"])
    common: dict[str, Any] = {
        "instance": server.instance,
        "deadline": int(container["Config"]["Labels"][DEADLINE_LABEL]),
        "runtime": "runc",
        "cgroup_parent": container["HostConfig"]["CgroupParent"],
    }
    if is_warm(container):
        name = container["Name"].lstrip("/")
        return warm_request(
            name, limits, container["Image"], slot_of(server, container), uid=container["Runner"]["Uid"], **common
        )
    spec = SandboxSpec(
        run_id=run_id,
        attempt=1,
        image=Settings().image,
        input_dir=root / "in",
        output_dir=output_dir(server, run_id),
        limits=limits,
    )
    request = create_request(spec, uid=container["Runner"]["Uid"], **common)
    request["Image"] = container["Image"]
    return request


def said(value: Any) -> Any:
    """The value without its empty parts: Docker leaves out, or shows as null, what is false, zero or empty."""
    if isinstance(value, dict):
        return {name: said(part) for name, part in value.items() if said(part)}
    if isinstance(value, list):
        return [said(part) for part in value]
    return value


def differences(wanted: dict[str, Any], found: dict[str, Any], known: set[str]) -> dict[str, tuple[Any, Any]]:
    """Field by field: (wanted, found) where they differ. A field we did not ask for must be known, and empty."""
    wrong = {
        name: (value, found.get(name))
        for name, value in wanted.items()
        if (said(value) or None) != (said(found.get(name)) or None)
    }
    for name in found.keys() - wanted.keys():
        if name not in known or found[name] not in (None, "", 0, False, [], {}, [0, 0]):
            wrong[name] = ("nothing", found[name])
    return wrong


def test_the_request_is_the_reviewed_one() -> None:
    """The golden file holds the whole create request: no wall can go, or weaken, without a change of that file."""
    spec, arguments = spec_and_arguments()

    request = with_hash_of_profile(create_request(spec, **arguments))

    assert request == json.loads(GOLDEN.read_text()), json.dumps(request, indent=2)


def test_the_requests_for_warm_containers_and_launchers_are_the_reviewed_ones() -> None:
    """Each has a golden file too: what a launcher may do more than a sandbox stands in there, line by line."""
    spec, arguments = spec_and_arguments()
    uid = arguments.pop("uid")

    warm = warm_request("airlock-warm-golden-1", spec.limits, "sha256:golden", Path("/data/slot"), uid=uid, **arguments)
    launcher = launcher_request("airlock-launcher-golden-2", "sha256:golden", Path("/data/launcher"), **arguments)

    found = {"warm": with_hash_of_profile(warm), "launcher": with_hash_of_profile(launcher)}
    assert found == json.loads(GOLDEN_WARM.read_text()), json.dumps(found, indent=2)


def test_a_launcher_may_make_two_system_calls_more_than_a_sandbox() -> None:
    """It joins namespaces and makes a session keyring; its forks give both up."""
    sandbox, launcher = (json.loads(profile()) for profile in (seccomp_profile, launcher_profile))

    more = [rule for rule in launcher["syscalls"] if rule not in sandbox["syscalls"]]

    assert more == [{"names": ["keyctl", "setns"], "action": "SCMP_ACT_ALLOW"}]
    assert launcher | {"syscalls": None} == sandbox | {"syscalls": None}


def test_the_live_container_is_what_was_asked_for(server: RunningServer, live: tuple[str, dict[str, Any]]) -> None:
    """Docker reports each field of a live container's HostConfig as we asked for it, and nothing on top."""
    run_id, container = live
    wanted = wanted_of(server, run_id, container)["HostConfig"]

    wrong = differences(wanted, container["HostConfig"], OF_DOCKER["HostConfig"])

    assert wrong == {}


def test_the_live_process_is_what_was_asked_for(server: RunningServer, live: tuple[str, dict[str, Any]]) -> None:
    """Docker reports each field of a live container's Config as we asked for it, and nothing on top."""
    run_id, container = live
    wanted = wanted_of(server, run_id, container)
    del wanted["HostConfig"]
    found = dict(container["Config"])
    del wanted["NetworkDisabled"]  # not shown by every version; HostConfig.NetworkMode is what counts
    found.pop("NetworkDisabled", None)
    ours = (OWNER_LABEL, RUN_LABEL, WARM_LABEL, DEADLINE_LABEL)
    image_labels = {name for name in found["Labels"] if name not in ours}
    found["Labels"] = {name: value for name, value in found["Labels"].items() if name not in image_labels}

    wrong = differences(wanted, found, OF_DOCKER["Config"])

    assert wrong == {}
    assert image_labels <= {"airlock.image", "airlock.inputs"}


def test_the_live_container_has_the_mounts_asked_for_and_no_others(
    server: RunningServer, live: tuple[str, dict[str, Any]]
) -> None:
    """Two bind mounts: the run's own inputs, read-only, and its own output files; no volume, no socket."""
    run_id, container = live
    inputs, outputs = server.data_dir / "runs" / run_id / "in", output_dir(server, run_id)
    if is_warm(container):
        slot = slot_of(server, container)
        inputs, outputs = slot / "in", slot / "out"

    mounts = sorted((m["Type"], m["Source"], m["Destination"], m["RW"], m["Propagation"]) for m in container["Mounts"])

    assert mounts == [
        ("bind", str(inputs), "/in", False, "rprivate"),
        ("bind", str(outputs), "/out", True, "rprivate"),
    ]


def _seccomp(container: dict[str, Any]) -> str:
    return next(o for o in container["HostConfig"]["SecurityOpt"] if o.startswith("seccomp=")).partition("=")[2]


def _hard_limit(container: dict[str, Any], name: str) -> int:
    return next(int(u["Hard"]) for u in container["HostConfig"]["Ulimits"] if u["Name"] == name)


BENCHMARK: dict[str, Callable[[dict[str, Any]], bool]] = {
    "4.1 not root": lambda c: 199_999 <= int(c["Config"]["User"].split(":")[0]) < 265_536,
    "4.1 no root group": lambda c: 199_999 <= int(c["Config"]["User"].split(":")[1]) < 265_536,
    "4.1 a user of the run's own": lambda c: 200_000 <= c["Runner"]["Uid"] < 265_536,
    "4.6 no health check command": lambda c: c["Config"]["Healthcheck"] == {"Test": ["NONE"]},
    "5.2 seccomp or better on, never unconfined": lambda c: "unconfined" not in json.dumps(c["HostConfig"]),
    "5.3 all capabilities dropped": lambda c: c["HostConfig"]["CapDrop"] == ["ALL"],
    "5.3 no capability added": lambda c: not c["HostConfig"]["CapAdd"],
    "5.4 not privileged": lambda c: c["HostConfig"]["Privileged"] is False,
    "5.5 no host directory but the run's own": lambda c: {m["Destination"] for m in c["Mounts"]} == {"/in", "/out"},
    "5.5 no bind in the old style": lambda c: not c["HostConfig"]["Binds"] and not c["HostConfig"]["VolumesFrom"],
    "5.6 no sshd, one command": lambda c: c["Config"]["Cmd"] in (list(RUNNER_COMMAND), ["/bin/sleep", "infinity"]),
    "5.7 no port": lambda c: not c["HostConfig"]["PortBindings"] and not c["HostConfig"]["PublishAllPorts"],
    "5.7 no exposed port": lambda c: not c["Config"].get("ExposedPorts"),
    "5.9 not the host's network": lambda c: c["HostConfig"]["NetworkMode"] == "none",
    "5.9 no address": lambda c: not any(n["IPAddress"] for n in c["NetworkSettings"]["Networks"].values()),
    "5.10 memory limited": lambda c: c["HostConfig"]["Memory"] == 256 << 20,
    "5.10 no swap": lambda c: c["HostConfig"]["MemorySwap"] == c["HostConfig"]["Memory"],
    "5.10 the OOM killer is on": lambda c: c["HostConfig"]["OomKillDisable"] is False,
    "5.10 dies before the host's processes": lambda c: c["HostConfig"]["OomScoreAdj"] > 0,
    "5.11 CPU limited": lambda c: 0 < c["HostConfig"]["NanoCpus"] <= os.cpu_count() * 10**9,
    "5.12 root file system read-only": lambda c: c["HostConfig"]["ReadonlyRootfs"] is True,
    "5.12 one tmpfs": lambda c: list(c["HostConfig"]["Tmpfs"]) == ["/work"],
    "5.14 never restarted": lambda c: c["HostConfig"]["RestartPolicy"]["Name"] == "no" and c["RestartCount"] == 0,
    "5.15 not the host's processes": lambda c: c["HostConfig"]["PidMode"] == "",
    "5.16 not the host's IPC": lambda c: c["HostConfig"]["IpcMode"] == "private",
    "5.17 no device": lambda c: not c["HostConfig"]["Devices"] and not c["HostConfig"]["DeviceRequests"],
    "5.17 no device rule": lambda c: not c["HostConfig"]["DeviceCgroupRules"],
    "5.18 file descriptors limited": lambda c: _hard_limit(c, "nofile") == 4096,
    "5.18 no core file": lambda c: _hard_limit(c, "core") == 0,
    "5.19 no mount travels": lambda c: {m["Propagation"] for m in c["Mounts"]} == {"rprivate"},
    "5.20 not the host's name": lambda c: c["HostConfig"]["UTSMode"] == "" and c["Config"]["Hostname"] == "sandbox",
    "5.21 seccomp is our profile, inline": lambda c: _seccomp(c) == seccomp_profile(),
    "5.22 no exec into it": lambda c: not c["ExecIDs"],
    "5.24 all runs under one cgroup": lambda c: "airlock-runs" in c["HostConfig"]["CgroupParent"],
    "5.24 a cgroup view of its own": lambda c: c["HostConfig"]["CgroupnsMode"] == "private",
    "5.25 no new privileges": lambda c: "no-new-privileges:true" in c["HostConfig"]["SecurityOpt"],
    "5.28 processes limited": lambda c: 0 < c["HostConfig"]["PidsLimit"] <= 1024,
    "5.29 not on Docker's bridge": lambda c: "bridge" not in c["NetworkSettings"]["Networks"],
    "5.30 not the host's users by name": lambda c: c["HostConfig"]["UsernsMode"] == "",
    "5.31 no Docker socket": lambda c: not any("docker.sock" in m["Source"] for m in c["Mounts"]),
    "no terminal": lambda c: c["Config"]["Tty"] is False,
    "no log on the host's disk": lambda c: c["HostConfig"]["LogConfig"]["Type"] == "none",
    "standard input closes with its writer": lambda c: c["Config"]["StdinOnce"] == c["Config"]["OpenStdin"],
}
"""The runtime part of the CIS Docker Benchmark (section 5, and 4.x where it concerns a container), as asserts."""


@pytest.mark.parametrize("control", BENCHMARK)
def test_the_live_container_passes_the_benchmark(container: dict[str, Any], control: str) -> None:
    """A live container meets each runtime control of the CIS Docker Benchmark."""

    assert BENCHMARK[control](container)
