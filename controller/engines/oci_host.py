"""What this host's kernel offers to the oci engine: the cgroups' version and driver, and which limits there are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

APPARMOR_PROFILE = "docker-default"
"""The profile that Docker gives each container, where it is loaded. Without Docker nobody loads it."""


@dataclass(frozen=True)
class Host:
    """How containers are asked for here. `cgroup_version` is "1" or "2", `cgroup_driver` "cgroupfs" or "systemd"."""

    cgroup_version: str
    cgroup_driver: str
    swap_limit: bool
    apparmor_profile: str | None = None


def read_host(root: Path = Path("/")) -> Host:
    cgroups = root / "sys/fs/cgroup"
    unified = (cgroups / "cgroup.controllers").exists()
    # Where systemd rules a unified hierarchy it takes away what it has not given out itself.
    by_systemd = unified and (root / "run/systemd/system").is_dir()
    return Host(
        cgroup_version="2" if unified else "1",
        cgroup_driver="systemd" if by_systemd else "cgroupfs",
        swap_limit=_limits_swap(root, unified),
        apparmor_profile=_apparmor_profile(root / "sys/kernel/security/apparmor/profiles"),
    )


def can_limit(host: Host, controller: str, root: Path = Path("/")) -> bool:
    """Whether the kernel has this cgroup controller."""
    cgroups = root / "sys/fs/cgroup"
    if host.cgroup_version == "2":
        return controller in _text(cgroups / "cgroup.controllers").split()
    return (cgroups / controller).is_dir()


def has_seccomp(root: Path = Path("/")) -> bool:
    return "errno" in _text(root / "proc/sys/kernel/seccomp/actions_avail").split()


def _limits_swap(root: Path, unified: bool) -> bool:
    """Version 2 shows it in every cgroup but the root's own, so it is asked where every process has one."""
    if not unified:
        return (root / "sys/fs/cgroup/memory/memory.memsw.limit_in_bytes").exists()
    place = _text(root / "proc/self/cgroup").strip().rpartition(":")[2].lstrip("/")
    inside = root / "sys/fs/cgroup" / place
    return not place or not (inside / "memory.max").exists() or (inside / "memory.swap.max").exists()


def _apparmor_profile(loaded: Path) -> str | None:
    names = {line.partition(" ")[0] for line in _text(loaded).splitlines()}
    return APPARMOR_PROFILE if APPARMOR_PROFILE in names else None


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
