"""The walls and bounds of every sandbox, as data: what each engine asks its runtime for, in its runtime's own words.

Docker's words: docker_request.py. An OCI runtime's: oci_config.py. The whole list, with tests: docs/security.md.
"""

from __future__ import annotations

import json
from functools import cache
from importlib import resources

from controller.engines.uids import FIRST_UID
from controller.model import Limits

OWNER_LABEL = "airlock.instance"
RUN_LABEL = "airlock.run"
DEADLINE_LABEL = "airlock.deadline"
WARM_LABEL = "airlock.warm"
"""What is written on a container: whose it is, for what, and after when anybody may remove it (Unix seconds)."""
ORPHAN_SECONDS = 600
"""A container this long past its deadline belongs to a server that is gone: any server's sweep removes it."""

HOSTNAME = "sandbox"
INIT_UID = FIRST_UID - 1
"""Of the first process of a warm container: another user than any run, which so cannot touch it."""
INIT_COMMAND = ("/bin/sleep", "infinity")
LAUNCHER_COMMAND = ("/opt/conda/bin/python", "-I", "-B", "-m", "launcher")
LAUNCHER_CAPABILITIES = ("SETGID", "SETPCAP", "SETUID", "SYS_ADMIN", "SYS_CHROOT")
"""To enter a container's namespaces, and to take everything away from a fork."""
LAUNCHER_CALLS = ("keyctl", "setns")
"""System calls that a launcher may make beside a sandbox's; its forks take them away from themselves."""
MAKING_CAPABILITIES = ("MKNOD", "NET_ADMIN")
MAKING_CALLS = ("mount", "move_mount", "pivot_root", "sethostname", "umount2", "unshare")
"""What a launcher has beside these where its forks make their containers: for devices, and for the loopback interface,
which is set up by the one ioctl that is added as well."""
MAKING_CPU_SHARES = 16 * 512
"""For all of a launcher's forks together, where their cgroups are below its own."""
_SET_INTERFACE_FLAGS = 0x8914
LAUNCHER_MEMORY_BYTES = 1 << 30
LAUNCHER_PROCESSES = 64

OOM_SCORE = 500
"""The host kills a sandbox before it kills the server."""
CPU_SHARES = 512
SHARED_MEMORY_BYTES = 64 << 20
SOCKET_BYTES = 16 << 20
"""What the kernel may hold in a sandbox's socket buffers, where it does not count them as the sandbox's memory."""

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
def launcher_profile(*, makes: bool = False) -> str:
    """A sandbox's allowlist, and two calls more; for one whose forks make their containers, seven more."""
    profile = json.loads(seccomp_profile())
    profile["syscalls"].append({"names": list(LAUNCHER_CALLS), "action": "SCMP_ACT_ALLOW"})
    if makes:
        only = [{"index": 1, "value": _SET_INTERFACE_FLAGS, "op": "SCMP_CMP_EQ"}]
        profile["syscalls"] += [
            {"names": list(MAKING_CALLS), "action": "SCMP_ACT_ALLOW"},
            {"names": ["ioctl"], "action": "SCMP_ACT_ALLOW", "args": only},
        ]
    return json.dumps(profile, separators=(",", ":"))


def environment(limits: Limits) -> list[str]:
    """All the variables that a sandbox has; nothing is inherited from the server or the image."""
    return _environment(max(1, int(limits.cpus)))


def launcher_environment() -> list[str]:
    """One thread: a fork takes only one along. Its forks get the threads that their run may have."""
    return [*_environment(1), "JE_ARROW_MALLOC_CONF=background_thread:false"]


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
    ]


def work_options(limits: Limits, uid: int) -> list[str]:
    """Of the file system at /work.

    Executable on purpose: wheels in bundles bring shared libraries. Owned by the run, or it could not write.
    """
    size = [f"size={limits.work_bytes}", f"nr_inodes={limits.work_inodes}"]
    return ["rw", "nosuid", "nodev", "exec", *size, "mode=0700", f"uid={uid}", f"gid={uid}"]


def rlimits(file_bytes: int | None) -> dict[str, int]:
    """Soft and hard; without a limit of a file's size where that is None. No NPROC: it counts per uid, host-wide."""
    limits = {"nofile": 4096, "core": 0, "fsize": file_bytes, "memlock": 65536, "msgqueue": 0}
    return {name: value for name, value in limits.items() if value is not None}
