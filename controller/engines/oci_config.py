"""From a SandboxSpec to an OCI runtime's config.json: one pure function, pinned by a golden test.

The walls are those of Docker's create request (docker_request.py), from the same constants, in the words of the OCI
runtime specification; what Docker adds by itself (kernel file systems, /dev, the loopback interface) stands here too.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from controller.engines.base import RUNNER_COMMAND, SandboxSpec
from controller.engines.cgroup import oci_path
from controller.engines.oci_host import Host
from controller.engines.oci_stage import ROOTFS
from controller.engines.uids import root_uid
from controller.engines.walls import (
    CPU_SHARES,
    DEADLINE_LABEL,
    HOSTNAME,
    INIT_COMMAND,
    INIT_UID,
    LAUNCHER_CAPABILITIES,
    LAUNCHER_COMMAND,
    LAUNCHER_MEMORY_BYTES,
    LAUNCHER_PROCESSES,
    MAKING_CAPABILITIES,
    MAKING_CPU_SHARES,
    MASKED_PATHS,
    OOM_SCORE,
    OWNER_LABEL,
    READONLY_PATHS,
    RUN_LABEL,
    SHARED_MEMORY_BYTES,
    WARM_LABEL,
    environment,
    launcher_environment,
    launcher_profile,
    rlimits,
    seccomp_profile,
    work_options,
)
from controller.model import Limits

_PERIOD = 100_000
"""Microseconds of the CPU's accounting, as Docker has them."""
_NAMESPACES = ("mount", "network", "uts", "pid", "ipc", "cgroup")


def sandbox_config(
    spec: SandboxSpec, *, uid: int, instance: str, deadline: int, rootfs: Path, host: Host, user_namespace: bool
) -> dict[str, Any]:
    """The config.json for one sandbox.

    uid: the run's own user and group id. instance: whose container it is. deadline: Unix seconds after which
    anybody's sweep may remove it. rootfs: the unpacked image, shared by all that run it, read-only in each.
    """
    linux = _linux(spec.name, seccomp_profile(), _bounds(spec.limits, host), host)
    return {
        "ociVersion": "1.0.2",
        "hostname": HOSTNAME,
        "root": {"path": str(ROOTFS if user_namespace else rootfs), "readonly": True},
        "process": _process(RUNNER_COMMAND, environment(spec.limits), uid, rlimits(spec.limits.output_bytes), host),
        "mounts": [*_kernel_mounts(), *_run_mounts(spec, uid)],
        "annotations": {OWNER_LABEL: instance, RUN_LABEL: spec.run_id, DEADLINE_LABEL: str(deadline)},
        "linux": linux | _user_namespace(linux, uid) if user_namespace else linux,
    }


def warm_config(
    name: str, limits: Limits, image: str, slot: Path, *, uid: int, instance: str, deadline: int, rootfs: Path,
    host: Host, user_namespace: bool,
) -> dict[str, Any]:
    """As for a sandbox, but for the first process: one that does nothing, of a user that is no run's."""  # fmt: skip
    spec = SandboxSpec(name, 0, image, slot / "in", slot / "out", limits)
    config = sandbox_config(
        spec, uid=uid, instance=instance, deadline=deadline, rootfs=rootfs, host=host, user_namespace=user_namespace
    )
    # Of the two users that a user namespace has, the one that is not the run.
    first = 0 if user_namespace else INIT_UID
    user = {"uid": first, "gid": first}
    return config | {
        "process": config["process"] | {"args": list(INIT_COMMAND), "user": user},
        "annotations": {OWNER_LABEL: instance, WARM_LABEL: name, DEADLINE_LABEL: str(deadline)},
        "linux": config["linux"] | {"cgroupsPath": oci_path(name, host.cgroup_driver)},
    }


def launcher_config(
    name: str, directory: Path, *, instance: str, deadline: int, rootfs: Path, host: Host, makes: bool = False
) -> dict[str, Any]:
    """A launcher: root in the host's pid namespace, with no network, no file to write, and only what entering takes.

    Nothing of a tenant ever gets into it. One that `makes` may do what its forks need to make their containers.
    """
    process = _process(LAUNCHER_COMMAND, launcher_environment(), 0, rlimits(None), host)
    if makes:
        process.pop("apparmorProfile", None)  # it forbids mounts; a fork takes it on when it has made its own
    names = [*LAUNCHER_CAPABILITIES, *(MAKING_CAPABILITIES if makes else ())]
    able = {kind: [f"CAP_{name}" for name in names] for kind in ("bounding", "effective", "permitted")}
    holds_forks = makes and host.cgroup_version == "2"
    # Without a word of ours systemd would bound the tasks of all its forks together.
    bounds = {"cpu": {"shares": MAKING_CPU_SHARES}, "pids": {"limit": -1}} if holds_forks else launcher_bounds(host)
    linux = _linux(name, launcher_profile(makes=makes), bounds, host)
    return {
        "ociVersion": "1.0.2",
        "hostname": HOSTNAME,
        "root": {"path": str(rootfs), "readonly": True},
        "process": process | {"cwd": "/", "capabilities": process["capabilities"] | able},
        "mounts": [*_kernel_mounts(), _bind(directory, "/in", "ro")],
        "annotations": {OWNER_LABEL: instance, WARM_LABEL: name, DEADLINE_LABEL: str(deadline)},
        "linux": linux | {"namespaces": [one for one in linux["namespaces"] if one["type"] != "pid"]},
    }


def launcher_bounds(host: Host) -> dict[str, Any]:
    """Of its own cgroup: where the cgroups of its forks are below the container's, that is another one."""
    return {"memory": _memory(LAUNCHER_MEMORY_BYTES, host), "pids": {"limit": LAUNCHER_PROCESSES}}


@cache
def seccomp(profile: str) -> dict[str, Any]:
    """Docker's form of a profile in OCI's: its map of architectures becomes a list, the rules are the same."""
    document = json.loads(profile)
    architectures = []
    for entry in document["archMap"]:
        architectures += [entry["architecture"], *entry["subArchitectures"]]
    return {
        "defaultAction": document["defaultAction"],
        "defaultErrnoRet": document["defaultErrnoRet"],
        "architectures": architectures,
        "syscalls": document["syscalls"],
    }


def _process(
    command: tuple[str, ...], variables: list[str], uid: int, limits: dict[str, int], host: Host
) -> dict[str, Any]:
    process: dict[str, Any] = {
        "terminal": False,
        # A uid of its own for each run: kernel quotas per user (inotify, keys, signals) are no channel between runs.
        "user": {"uid": uid, "gid": uid},
        "args": list(command),
        "env": variables,
        "cwd": "/work",
        "capabilities": {kind: [] for kind in ("bounding", "effective", "inheritable", "permitted", "ambient")},
        "rlimits": [{"type": f"RLIMIT_{n.upper()}", "soft": v, "hard": v} for n, v in limits.items()],
        "noNewPrivileges": True,
        "oomScoreAdj": OOM_SCORE,
    }
    return process if host.apparmor_profile is None else process | {"apparmorProfile": host.apparmor_profile}


def _linux(name: str, profile: str, resources: dict[str, Any], host: Host) -> dict[str, Any]:
    return {
        "cgroupsPath": oci_path(name, host.cgroup_driver),
        # Each is a new one. In that of the network there is nothing but a loopback interface.
        "namespaces": [{"type": kind} for kind in _NAMESPACES],
        # No device at all; a runtime adds those that every program expects: null, zero, full, random, urandom, tty.
        "resources": {"devices": [{"allow": False, "access": "rwm"}], **resources},
        "seccomp": seccomp(profile),
        "maskedPaths": list(MASKED_PATHS),
        "readonlyPaths": list(READONLY_PATHS),
    }


def _user_namespace(linux: dict[str, Any], uid: int) -> dict[str, Any]:
    """Two users and no other: root, who is nobody on the host, and the run, who is the same on both sides.

    So the files that the run writes have one owner, whoever looks at them.
    """
    pairs = ((0, root_uid(uid)), (uid, uid))
    ids = [{"containerID": inside, "hostID": outside, "size": 1} for inside, outside in pairs]
    return {"namespaces": [*linux["namespaces"], {"type": "user"}], "uidMappings": ids, "gidMappings": ids}


def _bounds(limits: Limits, host: Host) -> dict[str, Any]:
    return {
        "memory": _memory(limits.memory_bytes, host),
        "pids": {"limit": limits.processes},
        "cpu": {"shares": CPU_SHARES, "quota": int(limits.cpus * _PERIOD), "period": _PERIOD},
    }


def _memory(limit_bytes: int, host: Host) -> dict[str, Any]:
    """Where the kernel cannot limit swap, asking for it would be an error; `airlock doctor` says so."""
    memory: dict[str, Any] = {"limit": limit_bytes}
    if host.swap_limit:
        memory["swap"] = limit_bytes  # the sum with swap: none
    if host.cgroup_version == "1":
        memory |= {"swappiness": 0, "disableOOMKiller": False}
    return memory


def _kernel_mounts() -> list[dict[str, Any]]:
    locked = ["nosuid", "noexec", "nodev"]
    return [
        _mount("/proc", "proc", locked),
        _mount("/dev", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
        _mount("/dev/pts", "devpts", ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]),
        _mount("/sys", "sysfs", [*locked, "ro"]),
        _mount("/sys/fs/cgroup", "cgroup", [*locked, "ro"]),
        _mount("/dev/mqueue", "mqueue", locked),
        # Without it multiprocessing does not work.
        _mount("/dev/shm", "tmpfs", [*locked, "mode=1777", f"size={SHARED_MEMORY_BYTES}"]),  # noqa: S108 - a mount
    ]


def _run_mounts(spec: SandboxSpec, uid: int) -> list[dict[str, Any]]:
    return [
        _bind(spec.input_dir, "/in", "ro"),
        _bind(spec.output_dir, "/out", "rw"),
        _mount("/work", "tmpfs", work_options(spec.limits, uid)),
    ]


def _bind(source: Path, target: str, access: str) -> dict[str, Any]:
    """Private, so that no mount travels between host and sandbox."""
    return {"destination": target, "type": "bind", "source": str(source), "options": ["rbind", access, "rprivate"]}


def _mount(target: str, kind: str, options: list[str]) -> dict[str, Any]:
    return {"destination": target, "type": kind, "source": kind, "options": options}
