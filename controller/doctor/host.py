"""What this host offers: disk, data directory, kernel, processor. Reading it, and (pure) what that means."""

from __future__ import annotations

import os
import platform
import stat
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from controller.doctor.examination import Finding, Level

if TYPE_CHECKING:
    from controller.config import Settings

OLDEST_PYTHON = (3, 11)
OLDEST_KERNEL = (5, 10)
SCARCE_DISK_BYTES = 10 << 30
LEAST_DISK_BYTES = 1 << 30
SCARCE_INODES = 100_000
_MEMORY_FILE_SYSTEMS = frozenset({"tmpfs", "ramfs"})
_NETWORK_FILE_SYSTEMS = frozenset({"nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs", "ceph", "glusterfs"})


@dataclass(frozen=True)
class Host:
    """What was read; None where this kernel does not tell. The disk is the data directory's."""

    python: tuple[int, int, int]
    kernel: str
    data_dir: Path
    data_dir_mode: int | None
    data_dir_owned: bool
    data_dir_writable: bool
    file_system: str
    free_bytes: int
    free_inodes: int | None
    swap_bytes: int
    smt_active: bool | None
    ksm_running: bool | None
    vulnerable: tuple[str, ...]


def read_host(data_dir: Path, root: Path = Path("/")) -> Host:
    """Read /proc and /sys below `root`, and the file system of `data_dir`."""
    place = data_dir.absolute()
    status = place.stat() if place.exists() else None
    while not place.exists():
        place = place.parent
    disk = os.statvfs(place)
    flaws = root / "sys/devices/system/cpu/vulnerabilities"
    vulnerable = [f.name for f in sorted(flaws.glob("*")) if (_text(f) or "").startswith("Vulnerable")]
    return Host(
        python=sys.version_info[:3],
        kernel=platform.release(),
        data_dir=data_dir,
        data_dir_mode=stat.S_IMODE(status.st_mode) if status else None,
        data_dir_owned=status is None or status.st_uid == os.geteuid(),
        data_dir_writable=os.access(place, os.W_OK | os.X_OK),
        file_system=_file_system(place.resolve(), _text(root / "proc/self/mounts") or ""),
        free_bytes=disk.f_bavail * disk.f_frsize,
        free_inodes=disk.f_favail if disk.f_files else None,
        swap_bytes=_swap_bytes(_text(root / "proc/meminfo") or ""),
        smt_active=_flag(root / "sys/devices/system/cpu/smt/active"),
        ksm_running=_flag(root / "sys/kernel/mm/ksm/run"),
        vulnerable=tuple(vulnerable),
    )


def host_findings(host: Host, settings: Settings) -> list[Finding]:
    """Judge what was read."""
    return [
        _python(host),
        _kernel(host),
        *_neighbours(host),
        _swap(host),
        _data_dir(host),
        _file_system_finding(host),
        _disk(host, settings),
        *_inodes(host),
    ]


def _python(host: Host) -> Finding:
    text = ".".join(str(number) for number in host.python)
    if host.python >= OLDEST_PYTHON:
        return Finding("python", Level.OK, f"version {text}")
    return Finding("python", Level.ERROR, f"version {text}", "Python 3.11 or later is needed")


def _kernel(host: Host) -> Finding:
    numbers = tuple(int(part) for part in host.kernel.split("-")[0].split(".")[:2] if part.isdecimal())
    if numbers < OLDEST_KERNEL:
        return Finding(
            "kernel",
            Level.WARNING,
            f"version {host.kernel} no longer gets security fixes",
            "the kernel is the wall between runs and host: run a maintained one",
        )
    if host.vulnerable:
        return Finding(
            "kernel",
            Level.WARNING,
            f"version {host.kernel} reports this processor as vulnerable to {', '.join(host.vulnerable)}",
            "update the kernel and the processor's microcode; do not turn mitigations off",
        )
    return Finding("kernel", Level.OK, f"version {host.kernel}")


def _neighbours(host: Host) -> Iterator[Finding]:
    """What two runs could learn of each other through the hardware."""
    if host.smt_active:
        yield Finding(
            "SMT",
            Level.WARNING,
            "on: two runs may share one core, and a processor's flaws leak between its threads",
            "for tenants who must not learn of each other, boot with nosmt",
        )
    elif host.smt_active is not None:
        yield Finding("SMT", Level.OK, "off")
    if host.ksm_running:
        yield Finding(
            "KSM",
            Level.WARNING,
            "on: equal pages of different runs are merged, which can be measured",
            "echo 2 > /sys/kernel/mm/ksm/run",
        )
    elif host.ksm_running is not None:
        yield Finding("KSM", Level.OK, "off")


def _swap(host: Host) -> Finding:
    if host.swap_bytes:
        return Finding(
            "swap",
            Level.OK,
            f"{host.swap_bytes / 2**30:.1f} GiB; runs get none of it, but see the swap limit below",
        )
    return Finding("swap", Level.OK, "off")


def _data_dir(host: Host) -> Finding:
    if not host.data_dir_writable:
        return Finding(
            "data directory",
            Level.ERROR,
            f"{host.data_dir} cannot be written by this user",
            "choose another with AIRLOCK_DATA_DIR, or let the server's user own this one",
        )
    if host.data_dir_mode is None:
        return Finding("data directory", Level.OK, f"{host.data_dir} will be made")
    if host.data_dir_mode & 0o077 or not host.data_dir_owned:
        return Finding(
            "data directory",
            Level.ERROR,
            f"{host.data_dir} has mode {host.data_dir_mode:04o}"
            + ("" if host.data_dir_owned else " and belongs to another user"),
            f"it holds every tenant's data: chown it to the server's user, chmod 0700 {host.data_dir}",
        )
    return Finding("data directory", Level.OK, f"{host.data_dir} is private")


def _file_system_finding(host: Host) -> Finding:
    if host.file_system in _MEMORY_FILE_SYSTEMS:
        return Finding(
            "file system",
            Level.WARNING,
            f"{host.data_dir} is on {host.file_system}: accepted runs are lost when the host restarts",
            "put the data directory on a disk",
        )
    if host.file_system in _NETWORK_FILE_SYSTEMS:
        return Finding(
            "file system",
            Level.WARNING,
            f"{host.data_dir} is on {host.file_system}: SQLite's locks do not hold there",
            "put the data directory on a local disk",
        )
    return Finding("file system", Level.OK, host.file_system or "unknown")


def _disk(host: Host, settings: Settings) -> Finding:
    found = f"{host.free_bytes / 2**30:.1f} GiB free for {host.data_dir}"
    if host.free_bytes < max(LEAST_DISK_BYTES, settings.output_bytes):
        return Finding("disk", Level.ERROR, found, "free some: one run's result may not fit any more")
    if host.free_bytes < SCARCE_DISK_BYTES:
        return Finding("disk", Level.WARNING, found, "free some, or delete old runs")
    return Finding("disk", Level.OK, found)


def _inodes(host: Host) -> Iterator[Finding]:
    if host.free_inodes is None:  # btrfs and others have no fixed number
        return
    found = f"{host.free_inodes} free"
    if host.free_inodes < SCARCE_INODES:
        yield Finding("inodes", Level.WARNING, found, "each run keeps about ten files: delete old runs")
    else:
        yield Finding("inodes", Level.OK, found)


def _text(file: Path) -> str | None:
    try:
        return file.read_text()
    except OSError:
        return None


def _flag(file: Path) -> bool | None:
    text = _text(file)
    return None if text is None else text.strip() == "1"


def _swap_bytes(meminfo: str) -> int:
    for line in meminfo.splitlines():
        name, _, value = line.partition(":")
        if name == "SwapTotal":
            return int(value.split()[0]) * 1024
    return 0


def _file_system(place: Path, mounts: str) -> str:
    """The type of the file system that holds a path: of the nearest mount point above it, mounted last."""
    best, kind = Path(), ""
    for line in mounts.splitlines():
        _, point, type_, *_ = line.split(" ")
        mount = Path(point.replace("\\040", " "))
        if place.is_relative_to(mount) and len(mount.parts) >= len(best.parts):
            best, kind = mount, type_
    return kind
