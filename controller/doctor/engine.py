"""What a Docker daemon's words (`docker info`, `docker version`) mean for the walls around a run. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from controller.doctor.examination import Finding, Level

if TYPE_CHECKING:
    from controller.config import Settings

MAX_CLOCK_DIFFERENCE_SECONDS = 2.0
OLDEST_API = (1, 41)
"""Docker 20.10: the first with private cgroup namespaces and cgroup v2."""

Version = tuple[int, int, int, float]
"""Major, minor, patch, release candidate (a release comes after all of its candidates: infinity)."""


@dataclass(frozen=True)
class Gate:
    """A flaw of a component, the first good version of each branch, and distributions' repaired packages."""

    component: str
    cves: str
    fixed_in: tuple[str, ...]
    what: str
    repaired_packages: tuple[str, ...] = ()


GATES = (
    Gate(
        "runc",
        "CVE-2024-21626",
        ("1.1.12",),
        "a container's working directory could be a leaked descriptor of the host",
        repaired_packages=("1.1.5+ds1-1+deb12u1",),
    ),
    Gate(
        "runc",
        "CVE-2025-31133, CVE-2025-52565, CVE-2025-52881",
        ("1.2.8", "1.3.3", "1.4.0-rc.3"),
        "races while masked paths and the console are mounted",
    ),
    Gate("runc", "CVE-2026-41579", ("1.3.6", "1.4.3", "1.5.0-rc.3"), "see runc's advisory"),
    Gate(
        "containerd",
        "CVE-2024-40635",
        ("1.6.38", "1.7.27", "2.0.4"),
        "an image's overlong user id could become root; Airlock sets each run's user id itself",
    ),
)


def engine_findings(info: Mapping[str, Any], version: Mapping[str, Any], settings: Settings) -> list[Finding]:
    """Judge a daemon by its own words."""
    options = [str(option) for option in info.get("SecurityOptions") or ()]
    return [
        _api(version),
        *_components(version),
        _runtime(info, settings.runtime),
        _seccomp(options),
        _lsm(options),
        _user_namespaces(options),
        _cgroup(info),
        *_limits(info),
        capacity_finding(info, settings),
    ]


def clock_finding(info: Mapping[str, Any], before: float, after: float) -> Finding:
    """Compare the daemon's clock with ours, read before and after it (Unix seconds)."""
    text = str(info.get("SystemTime", ""))
    try:
        # nanoseconds are more digits than Python reads
        daemon = datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", text)).timestamp()
    except ValueError:
        return Finding("clock", Level.WARNING, f"the daemon's time is unreadable: {text!r}", "compare clocks")
    difference = max(before - daemon, daemon - after, 0.0)
    if difference <= MAX_CLOCK_DIFFERENCE_SECONDS:
        return Finding("clock", Level.OK, "the daemon's and ours agree")
    return Finding(
        "clock",
        Level.WARNING,
        f"the daemon's and ours differ by {difference:.1f} s",
        "let both hosts keep their time by NTP: leftovers are recognised by their deadline",
    )


def parse_version(text: str) -> Version | None:
    """The version that a text begins with: 1.1.5+ds1-1+deb12u1, v1.4.0-rc.3, 1.6.20~ds1; or None."""
    match = re.match(r"v?(\d+)\.(\d+)\.(\d+)(?:[-~]rc\.?(\d+))?", text)
    if match is None:
        return None
    major, minor, patch, candidate = match.groups()
    return int(major), int(minor), int(patch), float(candidate) if candidate else float("inf")


def is_fixed(version: Version, fixed_in: tuple[str, ...]) -> bool:
    """Whether a version has a fix that appeared in these: in its own branch, or in all newer branches."""
    fixes = [fix for text in fixed_in if (fix := parse_version(text))]
    for fix in fixes:
        if fix[:2] == version[:2]:
            return version >= fix
    return version[:2] > max(fix[:2] for fix in fixes)


def _api(version: Mapping[str, Any]) -> Finding:
    text = str(version.get("ApiVersion", ""))
    numbers = tuple(int(part) for part in text.split(".") if part.isdecimal())
    if numbers >= OLDEST_API:
        return Finding("docker API", Level.OK, f"version {text}")
    return Finding("docker API", Level.ERROR, f"version {text or 'unknown'}", "Docker 20.10 or later is due")


def _components(version: Mapping[str, Any]) -> Iterator[Finding]:
    for component in version.get("Components") or ():
        name = str(component.get("Name", "")).lower()
        if name not in ("containerd", "runc"):
            continue
        text = str(component.get("Version", ""))
        # A distribution writes its package's full version where others have the commit.
        package = str((component.get("Details") or {}).get("GitCommit", ""))
        if parse_version(package) is not None:
            text = package
        yield component_finding(name, text)


def component_finding(name: str, text: str) -> Finding:
    """Whether a component is newer than the flaws that are known of it."""
    parsed = parse_version(text)
    if parsed is None:
        return Finding(name, Level.WARNING, f"unknown version {text!r}", f"see that it is a current {name}")
    open_gates = [
        gate
        for gate in GATES
        if gate.component == name and not is_fixed(parsed, gate.fixed_in) and not _repaired(text, gate)
    ]
    if not open_gates:
        return Finding(name, Level.OK, f"version {text}")
    flaws = "; ".join(f"{g.cves} ({g.what}), fixed in {', '.join(g.fixed_in)}" for g in open_gates)
    return Finding(
        name,
        Level.WARNING,
        f"version {text} is older than the upstream fix of: {flaws}",
        "update it; distributions also repair packages under the old number: see their security tracker",
    )


def _repaired(text: str, gate: Gate) -> bool:
    """Whether this is a distribution's repaired package, or a later revision of the same one."""
    for package in gate.repaired_packages:
        stem, revision = re.fullmatch(r"(.*?)(\d+)", package).groups()  # type: ignore[union-attr]
        match = re.match(re.escape(stem) + r"(\d+)", text)
        if match and int(match[1]) >= int(revision):
            return True
    return False


def _runtime(info: Mapping[str, Any], wanted: str) -> Finding:
    runtimes = sorted(info.get("Runtimes") or {})
    if wanted in runtimes:
        return Finding("runtime", Level.OK, f"{wanted} (of {', '.join(runtimes)})")
    return Finding(
        "runtime",
        Level.ERROR,
        f"{wanted!r} is none of the daemon's runtimes ({', '.join(runtimes) or 'none'})",
        "add it to the daemon's configuration, or set AIRLOCK_RUNTIME to one of them",
    )


def _seccomp(options: list[str]) -> Finding:
    if any(option.startswith("name=seccomp") for option in options):
        return Finding("seccomp", Level.OK, "available; runs get Airlock's own profile")
    return Finding("seccomp", Level.ERROR, "not available", "use a kernel and a Docker built with seccomp")


def _lsm(options: list[str]) -> Finding:
    found = [name for name in ("apparmor", "selinux") if any(o.startswith(f"name={name}") for o in options)]
    if found:
        return Finding("LSM", Level.OK, f"{found[0]} confines containers")
    return Finding(
        "LSM",
        Level.WARNING,
        "neither AppArmor nor SELinux confines containers: one wall less",
        "enable one in the kernel; the other walls do not depend on it",
    )


def _user_namespaces(options: list[str]) -> Finding:
    if any(option.startswith("name=userns") for option in options):
        return Finding(
            "user namespaces",
            Level.OK,
            "user ids are remapped",
            "the mapping in /etc/subuid must be long enough for the runs' ids, up to 265535",
        )
    if any(option.startswith("name=rootless") for option in options):
        return Finding("user namespaces", Level.OK, "the daemon runs without root")
    return Finding(
        "user namespaces", Level.OK, "not remapped; each run has an unprivileged user id of its own"
    )


def _cgroup(info: Mapping[str, Any]) -> Finding:
    version, driver = info.get("CgroupVersion", "1"), info.get("CgroupDriver", "cgroupfs")
    if driver == "none":
        return Finding(
            "cgroups",
            Level.ERROR,
            "the daemon cannot use them: no limit of a run would hold",
            "a rootless daemon needs cgroup v2 and systemd's delegation",
        )
    return Finding("cgroups", Level.OK, f"version {version}, driver {driver}")


def _limits(info: Mapping[str, Any]) -> Iterator[Finding]:
    needed = {
        "MemoryLimit": "memory",
        "PidsLimit": "number of processes",
        "CpuCfsQuota": "CPU",
    }
    missing = [what for name, what in needed.items() if not info.get(name)]
    if missing:
        yield Finding(
            "limits",
            Level.ERROR,
            f"the daemon cannot limit: {', '.join(missing)}",
            "enable the kernel's cgroup controllers (memory, pids, cpu)",
        )
    else:
        yield Finding("limits", Level.OK, f"the daemon can limit {', '.join(needed.values())}")
    if info.get("SwapLimit"):
        yield Finding("swap limit", Level.OK, "supported; runs get no swap")
    else:
        yield Finding(
            "swap limit",
            Level.WARNING,
            "the daemon cannot limit swap: where swap is on, a run may take more than its memory limit",
            "turn swap off, or boot with swapaccount=1",
        )


def capacity_finding(info: Mapping[str, Any], settings: Settings) -> Finding:
    """Whether all runs at once fit into the memory; `info` as Docker has it: MemTotal, NCPU."""
    total, cores = int(info.get("MemTotal") or 0), int(info.get("NCPU") or 0)
    wanted = settings.workers * settings.memory_bytes
    found = f"{cores} cores, {total / 2**30:.1f} GiB of memory for {settings.workers} runs at once"
    if total and wanted > total * 0.9:
        return Finding(
            "capacity",
            Level.WARNING,
            f"{found}, which may take {wanted / 2**30:.1f} GiB by their default limit",
            "lower AIRLOCK_WORKERS or AIRLOCK_MEMORY_BYTES: else the kernel chooses whom to end",
        )
    return Finding("capacity", Level.OK, found)
