"""A sandbox's counters, read from the host's cgroup file system: CPU time, peak memory, out-of-memory kills.

The directory goes when the sandbox goes, so the engine reads while it waits and keeps the last answer.
A controller that sees no host cgroups (in a container without /sys/fs/cgroup) reads nothing, and says so with None.
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path("/sys/fs/cgroup")
_KILL_SECONDS = 0.05
"""For an out-of-memory kill to be counted after it was announced; it need not come, when memory was given back."""


_DEVICES = (
    *("b *:* m", "c *:* m"),
    *(f"c {number} rwm" for number in ("1:3", "1:5", "1:7", "1:8", "1:9", "5:0", "5:2", "10:200", "136:*")),
)
"""What runtimes give to every container: no more than to make devices, and to use those that each of them has."""
_BOUNDED = {"memory", "pids", "cpu"}


@dataclass(frozen=True)
class Counters:
    """One reading; None where the kernel or the host does not show it."""

    cpu_seconds: float | None = None
    peak_memory_bytes: int | None = None
    oom_kills: int | None = None


class Alarm:
    """Rings when a sandbox runs out of memory, so that its counters are read then, and not at the next tick.

    Where something else removes the cgroup, that may follow within milliseconds: Docker does it before it calls a
    container dead, and its own news of the kill can be lost on the way.
    """

    def __init__(self, memory: Path, unified: bool) -> None:
        """OSError where the host's cgroups cannot be watched."""
        self._events = select.POLLPRI if unified else select.POLLIN
        self._over = False
        if unified:  # cgroup-v2, "memory.events": a change of the file is an exceptional condition for poll
            self._fd = os.open(memory / "memory.events", os.O_RDONLY | os.O_CLOEXEC)
        else:
            self._fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        try:
            if unified:
                os.read(self._fd, 4096)
            else:
                self._ask_for_events(memory)
        except OSError:
            self.close()
            raise

    def _ask_for_events(self, memory: Path) -> None:
        """cgroup-v1, memory.txt, "OOM Control"."""
        control = os.open(memory / "memory.oom_control", os.O_RDONLY | os.O_CLOEXEC)
        try:
            _write(f"{memory}/cgroup.event_control", f"{self._fd} {control}")
        finally:
            os.close(control)

    def enlist(self, poll: select.poll) -> None:
        """Have this poll return when it rings, and as long as nobody answers."""
        if not self._over:
            poll.register(self._fd, self._events)

    def wait(self, seconds: float) -> bool:
        """Whether it rings within that time."""
        poll = select.poll()
        self.enlist(poll)
        return bool(poll.poll(seconds * 1000))

    def answer(self) -> None:
        try:
            if self._events == select.POLLPRI:
                os.lseek(self._fd, 0, os.SEEK_SET)
            os.read(self._fd, 4096)
        except OSError:
            self._over = True  # version 2 rings for ever when the cgroup has gone

    def close(self) -> None:
        os.close(self._fd)


@dataclass
class CgroupReader:
    """Reads one sandbox's counters; `last` is the newest reading that worked."""

    cpu: Path
    memory: Path
    unified: bool
    last: Counters = field(default_factory=Counters)
    alarm: Alarm | None = None
    _over: bool = False

    @contextmanager
    def watched(self) -> Iterator[Alarm | None]:
        """Have an alarm meanwhile, where the host allows it."""
        with suppress(OSError):
            self.alarm = Alarm(self.memory, self.unified)
        try:
            yield self.alarm
        finally:
            if self.alarm is not None:
                self.alarm.close()
                self.alarm = None

    def rings(self) -> bool:
        """Whether there is news of the sandbox's memory, which a sample would answer."""
        return self.alarm is not None and self.alarm.wait(0)

    def rest(self, seconds: float) -> None:
        """Sleep that long, or until the alarm rings."""
        if self.alarm is None:
            time.sleep(seconds)
        else:
            self.alarm.wait(seconds)

    def bound_socket_buffers(self, limit_bytes: int) -> None:
        """Bound what the kernel keeps in the sandbox's socket buffers, loopback's too.

        Version 2 counts them as the sandbox's memory. Version 1 counts them as nobody's until a limit is written, and
        runc no longer writes Docker's KernelMemoryTCP.
        """
        if not self.unified:
            with suppress(OSError):  # the host's cgroups are out of this controller's reach, as its counters are
                _write(f"{self.memory}/memory.kmem.tcp.limit_in_bytes", str(limit_bytes))

    def sample(self) -> Counters:
        """Read again, and keep the old value of whatever cannot be read any more."""
        if self._over:
            return self.last
        if self.alarm is None or not self.rings():
            return self._read()
        self.alarm.answer()
        if self.unified:  # it rings when the kill has been counted, and for less
            return self._read()
        # Version 1 rings before it kills: read until the kill is counted, or the cgroup has gone.
        before, deadline = self.last.oom_kills or 0, time.monotonic() + _KILL_SECONDS
        while (self._read().oom_kills or 0) <= before and self.memory.is_dir() and time.monotonic() < deadline:
            time.sleep(0.001)
        return self.last

    def finish(self) -> None:
        """Read for the last time: whoever samples it from now on is told this."""
        self.sample()
        self._over = True

    def begin(self) -> float | None:
        """Read the CPU time that was used before the script starts, and nothing else."""
        self.last = replace(self.last, cpu_seconds=self._cpu_seconds())
        return self.last.cpu_seconds

    def _cpu_seconds(self) -> float | None:
        if self.unified:
            used = _keyed(f"{self.cpu}/cpu.stat", "usage_usec")
            return None if used is None else used / 1e6
        used = _number(f"{self.cpu}/cpuacct.usage")
        return None if used is None else used / 1e9

    def _read(self) -> Counters:
        seconds = self._cpu_seconds()
        if self.unified:
            peak = _number(f"{self.memory}/memory.peak")
            kills = _keyed(f"{self.memory}/memory.events", "oom_kill")
        else:
            peak = _number(f"{self.memory}/memory.max_usage_in_bytes")
            kills = _keyed(f"{self.memory}/memory.oom_control", "oom_kill")
        self.last = Counters(
            cpu_seconds=self.last.cpu_seconds if seconds is None else seconds,
            peak_memory_bytes=self.last.peak_memory_bytes if peak is None else peak,
            oom_kills=self.last.oom_kills if kills is None else kills,
        )
        return self.last


def reader(container_id: str, parent: str, *, version: str, driver: str, root: Path = ROOT) -> CgroupReader:
    """The counters of a Docker container, whose cgroup's place follows from the daemon's version and driver."""
    if driver == "systemd":
        place = f"{_slice_path(parent)}/docker-{container_id}.scope"
    else:
        place = f"{parent.strip('/')}/{container_id}"
    return reader_at(place, version, root)


def reader_at(place: str, version: str, root: Path = ROOT) -> CgroupReader:
    """The counters of the cgroups at this place."""
    if version == "2":
        return CgroupReader(cpu=root / place, memory=root / place, unified=True)
    return CgroupReader(cpu=root / "cpuacct" / place, memory=root / "memory" / place, unified=False)


def oci_path(name: str, driver: str) -> str:
    """Where a container is to be, in the words of config.json's cgroupsPath."""
    if driver == "systemd":
        return f"{parent_name(driver)}:airlock:{name}"
    return f"{parent_name(driver)}/{name}"


def oci_place(name: str, driver: str) -> str:
    if driver == "systemd":
        return f"{_slice_path(parent_name(driver))}/airlock-{name}.scope"
    return f"{parent_name(driver).strip('/')}/{name}"


def create(place: str, resources: dict[str, Any], version: str) -> None:
    """A cgroup in each hierarchy that is mounted, with these bounds, in an OCI document's words.

    OSError, also where a bound would hold nowhere.
    """
    bound: set[str] = set()
    for directory, unified, controllers in _hierarchies_of(place):
        if "cpuset" in controllers:
            _hand_down(os.path.dirname(directory))
        _make(directory)
        if unified and version == "2":
            _bind(directory, _unified_bounds(resources))
            bound |= _BOUNDED
            continue
        for controller, files in _bounds(resources).items():
            if controller in controllers:
                _bind(directory, files)
                bound.add(controller)
        if "devices" in controllers:
            _write(f"{directory}/devices.deny", "a")
            _write(f"{directory}/devices.allow", *_DEVICES)
    if bound != _BOUNDED:
        raise OSError(f"no hierarchy has {sorted(_BOUNDED - bound)}")


def _hand_down(above: str) -> None:
    """Have what is made below this cpuset begin as it is: an empty one takes nobody in. OSError."""
    if not os.path.isdir(above):  # the first of ours
        os.makedirs(above, exist_ok=True)
        for name in ("cpuset.cpus", "cpuset.mems"):
            _write(f"{above}/{name}", _read(f"{os.path.dirname(above)}/{name}"))
    _write(f"{above}/cgroup.clone_children", "1")


def _make(directory: str) -> None:
    """Those above it are there, but for the first time. OSError."""
    try:
        os.mkdir(directory, 0o755)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(directory), exist_ok=True)
        os.mkdir(directory, 0o755)


def make_room(place: str, resources: dict[str, Any]) -> None:
    """Let a container's cgroup hold others: its processes go into one below it, with bounds of their own. OSError.

    For version 2, where no cgroup with processes has cgroups with controllers; and where systemd leaves alone only what
    is in a container's scope. What the runtime has put on that one, the list of devices, holds for those in it.
    """
    for directory, unified, _ in _hierarchies_of(place):
        if unified:
            leaf = f"{directory}/launcher"
            os.mkdir(leaf, 0o755)
            for pid in _read(f"{directory}/cgroup.procs").split():
                _write(f"{leaf}/cgroup.procs", pid)
            _write(f"{directory}/cgroup.subtree_control", " ".join(f"+{one}" for one in sorted(_BOUNDED)))
            _bind(leaf, _unified_bounds(resources))


def _hierarchies_of(place: str) -> Iterator[tuple[str, bool, set[str]]]:
    """Where a cgroup is in each hierarchy, whether that is version 2's, and its controllers.

    Each once: some hosts have one mounted at two places.
    """
    known = set()
    for root, mount, kind, controllers in hierarchies():
        if root == "/" and (which := (kind, frozenset(controllers))) not in known:
            known.add(which)
            yield f"{mount}/{place}", kind == "cgroup2", controllers


def _bounds(resources: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Files of version 1, by controller."""
    memory, cpu = resources["memory"], resources["cpu"]
    return {
        "memory": {
            "memory.limit_in_bytes": memory["limit"],
            "memory.memsw.limit_in_bytes": memory.get("swap"),
            "memory.swappiness": memory["swappiness"],
        },
        "pids": {"pids.max": resources["pids"]["limit"]},
        "cpu": {"cpu.shares": cpu["shares"], "cpu.cfs_period_us": cpu["period"], "cpu.cfs_quota_us": cpu["quota"]},
    }


def _unified_bounds(resources: dict[str, Any]) -> dict[str, Any]:
    """Files of version 2. Shares become weights as in every runtime."""
    memory, cpu = resources["memory"], resources.get("cpu")
    files = {
        "memory.max": memory["limit"],
        "memory.swap.max": 0 if "swap" in memory else None,
        "pids.max": resources["pids"]["limit"],
    }
    if cpu is not None:
        weight = 1 + (cpu["shares"] - 2) * 9999 // 262142
        files |= {"cpu.weight": weight, "cpu.max": f"{cpu['quota']} {cpu['period']}"}
    return files


def _bind(directory: str, files: dict[str, Any]) -> None:
    for name, value in files.items():
        if value is not None:
            _write(f"{directory}/{name}", str(value))


def clear(place: str, seconds: float) -> bool | None:
    """Kill whatever is in these cgroups, and remove them; whether they went. None when there were none, or none that is
    seen from here. For what nobody looks after.

    A process that is only waiting to be collected by its parent counts as gone, for the kernel as well.
    """
    deadline, pause = time.monotonic() + seconds, 0.001
    went = {path: _remove(path) for path in _paths(place)}
    if all(one is None for one in went.values()):
        return None
    left = [inner for path, gone in went.items() if gone is False for inner in (*_below(path), path)]
    while left:
        if time.monotonic() > deadline:
            return False
        for pid in _members(left):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(pause)
        pause = min(pause * 2, 0.05)
        left = [path for path in left if _remove(path) is False]
    return True


def _remove(path: str) -> bool | None:
    """Whether it went, which it does not as long as somebody is in it; None when there is none."""
    try:
        os.rmdir(path)
    except FileNotFoundError:
        return None
    except OSError:
        return False
    return True


def doors(place: str) -> list[str]:
    """The files by which a process goes into the cgroups at this place, when they have been created."""
    return [f"{directory}/cgroup.procs" for directory, _, _ in _hierarchies_of(place)]


def _paths(place: str) -> list[str]:
    """Where one cgroup is, or would be: one directory for each hierarchy that is mounted."""
    return [f"{mount}/{place}" for root, mount, _, _ in hierarchies() if root == "/"]


def _below(path: str) -> list[str]:
    """The cgroups in one, which is seldom that of a container with containers in it."""
    with suppress(FileNotFoundError):  # systemd may have removed it
        if os.stat(path).st_nlink > 2:  # its own two names, and one for each that is in it
            with os.scandir(path) as entries:
                return [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
    return []


def _members(places: list[str]) -> set[int]:
    found: set[int] = set()
    for place in places:
        with suppress(OSError):
            found |= {int(pid) for pid in _read(f"{place}/cgroup.procs").split()}
    return found


def procs_files(pid: int) -> list[str]:
    """Where a process writes itself to be in the same cgroups as this one: a file for each hierarchy that is mounted.

    Whether they were all: compare /proc/PID/cgroup of the two afterwards. OSError when the process is gone.
    """
    found = []
    for controllers, path in _places_in(_read(f"/proc/{pid}/cgroup")):
        for root, mount, kind, options in hierarchies():
            if root == "/" and _has(kind, options, controllers):
                found.append(f"{mount}/{path.strip('/')}/cgroup.procs")
                break
    return found


def is_in(text: str, place: str) -> bool:
    """Whether this /proc/PID/cgroup is of a process in the cgroup at this place in each hierarchy that is mounted."""
    return all(
        path == f"/{place}" or not any(_has(kind, options, controllers) for _, _, kind, options in hierarchies())
        for controllers, path in _places_in(text)
    )


def names(text: str, mark: str) -> bool:
    """Whether this /proc/PID/cgroup is of a process in the container with this name or id."""
    parts = {part for line in text.splitlines() for part in line.split("/")}
    return not parts.isdisjoint((mark, f"docker-{mark}.scope", f"airlock-{mark}.scope"))


def _places_in(text: str) -> list[tuple[str, str]]:
    """Controllers of a hierarchy, and the place in it."""
    return [(controllers, path) for _, controllers, path in (line.split(":", 2) for line in text.splitlines())]


def _has(kind: str, options: set[str], controllers: str) -> bool:
    return kind == "cgroup2" if not controllers else set(controllers.split(",")) <= options


@cache
def hierarchies() -> tuple[tuple[str, str, str, set[str]], ...]:
    """The mounted hierarchies: root, mount point, file system, options. The fields are proc(5)'s.

    Looked for once: a host has them before it has a server. No bound of ours can be in one that comes later, since a
    controller is in one only.
    """
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        kind, _, options = after.split(" ", 2)
        if kind in ("cgroup", "cgroup2"):
            root, mount = before.split(" ")[3:5]
            found.append((root, mount, kind, set(options.split(",")) if kind == "cgroup" else set()))
    return tuple(found)


def parent_name(driver: str) -> str:
    """Where all sandboxes live, so that one cap holds for all of them; systemd wants a slice's name."""
    return "airlock-runs.slice" if driver == "systemd" else "/airlock-runs"


def _slice_path(name: str) -> str:
    """systemd nests slices by their dashes: a-b.slice lies in a.slice."""
    parts = name.removesuffix(".slice").split("-")
    return "/".join("-".join(parts[: i + 1]) + ".slice" for i in range(len(parts)))


def _number(path: str) -> int | None:
    try:
        return int(_read(path))
    except (OSError, ValueError):
        return None


def _keyed(path: str, key: str) -> int | None:
    try:
        lines = _read(path).splitlines()
    except OSError:
        return None
    for line in lines:
        name, _, value = line.partition(" ")
        if name == key:
            return int(value)
    return None


def _write(path: str, *values: str) -> None:
    """Each by itself: the kernel takes one at a time."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        for value in values:
            os.write(descriptor, value.encode())
    finally:
        os.close(descriptor)


def _read(path: str) -> str:
    """A small file of the kernel's, which gives all of it at once."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(descriptor, 1 << 16).decode()
    finally:
        os.close(descriptor)
