"""From a SandboxSpec to the body of Docker's POST /containers/create: one pure function, pinned by a golden test.

Every line is a wall or a bound; the reasons stand beside them, the whole list in docs/security.md.
There are no options to weaken one.
"""

from __future__ import annotations

import json
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from controller.engines.base import RUNNER_COMMAND, SandboxSpec
from controller.engines.uids import FIRST_UID
from controller.model import Limits

OWNER_LABEL = "airlock.instance"
RUN_LABEL = "airlock.run"
DEADLINE_LABEL = "airlock.deadline"
WARM_LABEL = "airlock.warm"
INIT_UID = FIRST_UID - 1
"""Of the first process of a warm container: another user than any run, which so cannot touch it."""
LAUNCHER_COMMAND = ("/opt/conda/bin/python", "-I", "-B", "-m", "launcher")
LAUNCHER_CAPABILITIES = ("SETGID", "SETPCAP", "SETUID", "SYS_ADMIN", "SYS_CHROOT")
"""To enter a container's namespaces, and to take everything away from a fork."""
LAUNCHER_CALLS = ("keyctl", "setns")
"""System calls that a launcher may make beside a sandbox's; its forks take them away from themselves."""
LAUNCHER_MEMORY_BYTES = 1 << 30

MASKED_PATHS = (
    # Docker's own list ...
    "/proc/asound",
    "/proc/acpi",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    # ... and what else tells of the host or of other runs.
    "/proc/cmdline",
    "/proc/version",
    "/proc/partitions",
    "/proc/diskstats",
    "/proc/interrupts",
    "/proc/kallsyms",
    "/proc/key-users",
    "/proc/pressure",
    "/proc/schedstat",
    "/sys/block",
    "/sys/class",
    "/sys/devices/virtual",  # the machine's make and serial numbers, its power meter, its disks by name
    # Pseudo-terminals come out of one pot for the whole host: a single run could take 3071 of 4096.
    "/dev/pts",
)
READONLY_PATHS = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")


@cache
def seccomp_profile() -> str:
    """Our allowlist: EPERM for the rest. Docker's default lets io_uring, AF_VSOCK and io_setup through."""
    text = resources.files("controller.engines").joinpath("seccomp-python.json").read_text()
    return json.dumps(json.loads(text), separators=(",", ":"))


@cache
def launcher_profile() -> str:
    """A sandbox's allowlist, and two calls more."""
    profile = json.loads(seccomp_profile())
    profile["syscalls"].append({"names": list(LAUNCHER_CALLS), "action": "SCMP_ACT_ALLOW"})
    return json.dumps(profile, separators=(",", ":"))


def environment(limits: Limits) -> list[str]:
    """All the variables that a sandbox has; nothing is inherited from the server or the image."""
    return _environment(max(1, int(limits.cpus)))


def _environment(threads: int) -> list[str]:
    return [
        "PATH=/opt/conda/bin:/usr/bin:/bin",
        "HOME=/work",
        "TMPDIR=/work/tmp",
        "LC_ALL=C.UTF-8",
        "TZ=UTC",
        f"OMP_NUM_THREADS={threads}",
        f"OPENBLAS_NUM_THREADS={threads}",
        "MPLBACKEND=Agg",
        "MPLCONFIGDIR=/work/.config/matplotlib",
        "HOSTNAME",  # a name alone takes a variable away: Docker would add this one by itself
    ]


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
        "Env": environment(spec.limits),
        "WorkingDir": "/work",
        "Hostname": "sandbox",
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
        "Cmd": ["/bin/sleep", "infinity"],
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
    limits = [limit for limit in _ulimits(0) if limit["Name"] != "fsize"]
    return {
        "Image": image,
        "Cmd": list(LAUNCHER_COMMAND),
        "Entrypoint": [],
        "User": "0:0",
        # One thread: a fork takes only one along. Its forks get the threads that their run may have.
        "Env": [*_environment(1), "JE_ARROW_MALLOC_CONF=background_thread:false"],
        "WorkingDir": "/",
        "Hostname": "sandbox",
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
            "OomScoreAdj": 500,  # as its forks
            "PidsLimit": 64,
            "Ulimits": limits,
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
        # Executable on purpose: wheels in bundles bring shared libraries. Owned by the run, or it could not write.
        "Tmpfs": {
            "/work": f"rw,nosuid,nodev,exec,size={limits.work_bytes},nr_inodes={limits.work_inodes},"
            f"mode=0700,uid={uid},gid={uid}"
        },
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
        "OomScoreAdj": 500,  # the host kills a sandbox before it kills the server
        "PidsLimit": limits.processes,  # and no RLIMIT_NPROC: it counts per uid, host-wide
        "NanoCpus": int(limits.cpus * 1_000_000_000),
        "CpuShares": 512,
        "ShmSize": 64 * 1024 * 1024,
        "Ulimits": _ulimits(limits.output_bytes),
    }


def _ulimits(file_bytes: int) -> list[dict[str, Any]]:
    values = {"nofile": 4096, "core": 0, "fsize": file_bytes, "memlock": 65536, "msgqueue": 0}
    return [{"Name": name, "Soft": value, "Hard": value} for name, value in values.items()]


def _bind(source: str, target: str, *, read_only: bool) -> dict[str, Any]:
    return {
        "Type": "bind",
        "Source": source,
        "Target": target,
        "ReadOnly": read_only,
        "BindOptions": {"Propagation": "rprivate"},
    }
