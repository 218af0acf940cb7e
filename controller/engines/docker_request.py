"""From a SandboxSpec to the body of Docker's POST /containers/create: one pure function, pinned by a golden test.

Every line is a wall or a bound; the reasons stand beside them, the whole list in docs/security.md.
There are no options to weaken one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from controller.engines.base import RUNNER_COMMAND, SandboxSpec
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

_NO_HOSTNAME = "HOSTNAME"
"""In the environment a name alone takes a variable away: Docker would add this one by itself."""


def create_request(
    spec: SandboxSpec, *, uid: int, instance: str, deadline: int, runtime: str, cgroup_parent: str
) -> dict[str, Any]:
    """The create request for one sandbox.

    uid: the run's own user and group id. instance: whose container it is. deadline: Unix seconds after which
    anybody's sweep may remove it. cgroup_parent: the cgroup that all sandboxes share, where an operator may set
    one cap for all of them together.
    """
    return {
        "Image": spec.image,
        "Cmd": list(RUNNER_COMMAND),
        "Entrypoint": [],
        # A uid of its own for each run: kernel quotas per user (inotify, keys, signals) are no channel between runs.
        "User": f"{uid}:{uid}",
        "Env": [*environment(spec.limits), _NO_HOSTNAME],
        "WorkingDir": "/work",
        "Hostname": HOSTNAME,
        "Tty": False,
        "OpenStdin": True,  # the go signal
        "StdinOnce": True,
        "AttachStdin": True,
        "AttachStdout": True,
        "AttachStderr": True,
        "NetworkDisabled": True,
        "StopSignal": "SIGKILL",
        "Healthcheck": {"Test": ["NONE"]},
        "Labels": {OWNER_LABEL: instance, RUN_LABEL: spec.run_id, DEADLINE_LABEL: str(deadline)},
        "HostConfig": _host_config(spec, uid, runtime, cgroup_parent),
    }


def warm_request(
    name: str, limits: Limits, image: str, slot: Path, *, uid: int, instance: str, deadline: int, runtime: str,
    cgroup_parent: str,
) -> dict[str, Any]:
    """As for a sandbox, but for the first process: one that does nothing, of a user that is no run's."""  # fmt: skip
    spec = SandboxSpec(name, 0, image, slot / "in", slot / "out", limits)
    request = create_request(
        spec, uid=uid, instance=instance, deadline=deadline, runtime=runtime, cgroup_parent=cgroup_parent
    )
    return request | {
        "Cmd": list(INIT_COMMAND),
        "User": f"{INIT_UID}:{INIT_UID}",
        **dict.fromkeys(("OpenStdin", "StdinOnce", "AttachStdin", "AttachStdout", "AttachStderr"), False),
        "Labels": {OWNER_LABEL: instance, WARM_LABEL: name, DEADLINE_LABEL: str(deadline)},
    }


def launcher_request(
    name: str, image: str, directory: Path, *, instance: str, deadline: int, runtime: str, cgroup_parent: str
) -> dict[str, Any]:
    """A launcher: root in the host's pid namespace, with no network, no file to write, and only what entering takes.

    Nothing of a tenant ever gets into it.
    """
    walls = _walls(cgroup_parent) | {
        "PidMode": "host",
        "CapAdd": list(LAUNCHER_CAPABILITIES),
        "SecurityOpt": ["no-new-privileges:true", f"seccomp={launcher_profile()}"],
    }
    return {
        "Image": image,
        "Cmd": list(LAUNCHER_COMMAND),
        "Entrypoint": [],
        "User": "0:0",
        "Env": [*launcher_environment(), _NO_HOSTNAME],
        "WorkingDir": "/",
        "Hostname": HOSTNAME,
        "NetworkDisabled": True,
        "StopSignal": "SIGKILL",
        "Healthcheck": {"Test": ["NONE"]},
        "Labels": {OWNER_LABEL: instance, WARM_LABEL: name, DEADLINE_LABEL: str(deadline)},
        "HostConfig": {
            "Runtime": runtime,
            "Init": False,
            "AutoRemove": False,
            "RestartPolicy": {"Name": "no"},
            "LogConfig": {"Type": "json-file", "Config": {"max-size": "64k", "max-file": "1"}},
            **walls,
            "Memory": LAUNCHER_MEMORY_BYTES,
            "MemorySwap": LAUNCHER_MEMORY_BYTES,
            "OomScoreAdj": OOM_SCORE,  # as its forks
            "PidsLimit": LAUNCHER_PROCESSES,
            "Ulimits": _ulimits(None),
            "Mounts": [_bind(str(directory), "/in", read_only=True)],
        },
    }


def _host_config(spec: SandboxSpec, uid: int, runtime: str, cgroup_parent: str) -> dict[str, Any]:
    limits = spec.limits
    return {
        "Runtime": runtime,
        "Init": False,  # the runner is process 1: its death ends the pid namespace and everything in it
        "AutoRemove": False,  # the state must be readable after the end: it says whether memory ran out
        "RestartPolicy": {"Name": "no"},
        "LogConfig": {"Type": "none"},  # the controller drains and caps the log; json-file would fill the host's disk
        **_walls(cgroup_parent),
        **_bounds(limits),
        "Mounts": [
            # read-only as well: private, so that no mount travels between host and sandbox
            _bind(str(spec.input_dir), "/in", read_only=True),
            _bind(str(spec.output_dir), "/out", read_only=False),
        ],
        "Tmpfs": {"/work": ",".join(work_options(limits, uid))},
    }


def _walls(cgroup_parent: str) -> dict[str, Any]:
    return {
        "NetworkMode": "none",
        "Dns": ["127.0.0.1"],  # else the host's resolver shows in /etc/resolv.conf
        "ReadonlyRootfs": True,
        "Privileged": False,
        "CapDrop": ["ALL"],
        "CapAdd": [],
        "SecurityOpt": ["no-new-privileges:true", f"seccomp={seccomp_profile()}"],
        "GroupAdd": [],
        "Devices": [],
        "DeviceCgroupRules": [],
        "IpcMode": "private",  # "none" would take /dev/shm, which multiprocessing needs
        "PidMode": "",
        "UTSMode": "",
        "UsernsMode": "",
        "CgroupnsMode": "private",
        "CgroupParent": cgroup_parent,
        "MaskedPaths": list(MASKED_PATHS),
        "ReadonlyPaths": list(READONLY_PATHS),
    }


def _bounds(limits: Limits) -> dict[str, Any]:
    return {
        "Memory": limits.memory_bytes,
        "MemorySwap": limits.memory_bytes,  # the sum with swap: none
        "MemorySwappiness": 0,
        "OomKillDisable": False,
        "OomScoreAdj": OOM_SCORE,
        "PidsLimit": limits.processes,
        "NanoCpus": int(limits.cpus * 1_000_000_000),
        "CpuShares": CPU_SHARES,
        "ShmSize": SHARED_MEMORY_BYTES,
        "Ulimits": _ulimits(limits.output_bytes),
    }


def _ulimits(file_bytes: int | None) -> list[dict[str, Any]]:
    return [{"Name": name, "Soft": value, "Hard": value} for name, value in rlimits(file_bytes).items()]


def _bind(source: str, target: str, *, read_only: bool) -> dict[str, Any]:
    return {
        "Type": "bind",
        "Source": source,
        "Target": target,
        "ReadOnly": read_only,
        "BindOptions": {"Propagation": "rprivate"},
    }
