"""Warm containers that no runtime makes: a fork of the launcher makes its own, from the document a runtime would get.

What stands ready for it is made here: its file below /run, by which every sweep finds it, and its cgroups. What it
did with the rest is not believed: namespaces, root, mounts, cgroups, limits and powers are read from outside, and
compared with the document. The fork's part: sandbox_image/launcher_world.py. Why, and what differs: docs/security.md.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import stat
from collections.abc import Container, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from controller.engines import cgroup
from controller.engines.cgroup import CgroupReader
from controller.engines.launcher import (
    Init,
    Launcher,
    NoFork,
    namespaces_of,
    own_namespaces,
    read_proc,
    status_of,
)
from controller.engines.oci_children import ChildInit
from controller.engines.oci_runtime import Runtime, counters_of

_END_SECONDS = 10.0
_OPEN_TREE = 428
_CLONE, _CLOEXEC, _HERE = 1, os.O_CLOEXEC, -100
_WALLS = {"ro", "nosuid", "nodev", "noexec"}
"""Of a mount's options, those that keep something out; a container may have more of them than were asked for."""
_MORE = {"/dev": {"ro", "noexec"}}
"""That the fork adds to what the document asks for: the devices' times are nobody's to set."""
_NULL = os.makedev(1, 3)
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass
class MadeContainer:
    """See warm.Container, and launcher.Place for the fork that makes it."""

    runtime: Runtime
    name: str
    config: dict[str, Any]
    image: Path
    cgroups: str
    counters: CgroupReader
    init: ChildInit | None = field(default=None, init=False)

    @property
    def place(self) -> MadeContainer:
        return self

    @contextmanager
    def asked(self) -> Iterator[tuple[list[int], bytes]]:
        with ExitStack() as held:
            descriptors = []
            try:
                for one in self.config["mounts"]:
                    if one["type"] == "bind":
                        descriptors.append(_tree(one["source"]))
                        held.callback(os.close, descriptors[-1])
                for path in cgroup.doors(self.cgroups):
                    descriptors.append(os.open(path, os.O_WRONLY | os.O_CLOEXEC))
                    held.callback(os.close, descriptors[-1])
            except OSError as e:
                raise NoFork(f"a container cannot be prepared: {e}") from e
            yield descriptors, self._document()

    def _document(self) -> bytes:
        """What the fork has to know, and nothing of this server: its script could find it in its memory."""
        linux = {name: self.config["linux"].get(name, []) for name in ("maskedPaths", "readonlyPaths", "uidMappings")}
        mounts = [{name: one[name] for name in ("destination", "type", "options")} for one in self.config["mounts"]]
        profile = self.config["process"].get("apparmorProfile")
        document = {"hostname": self.config["hostname"], "mounts": mounts, "linux": linux}
        return json.dumps(document | {"process": {"apparmorProfile": profile}}).encode()

    def accept(self, pid: int, uid: int, launcher: Launcher) -> Init:
        init = ChildInit.held(pid)
        with ExitStack() as held:
            held.callback(init.close)
            try:
                cgroups = read_proc(pid, "cgroup")
                if not cgroup.names(cgroups, self.name):  # then it is none of ours, and not to be killed
                    raise NoFork("the fork is not in the container's cgroup")
                held.callback(init.kill)
                self._look_at(pid, uid, launcher, cgroups)
                if init.wait(0):
                    raise NoFork("the fork has ended meanwhile")  # what was looked at may have been another one
            except OSError as e:
                raise NoFork(f"the fork cannot be looked at: {e}") from e
            held.pop_all()
        self.init = init
        return init

    def remove(self) -> bool:
        if self.init is not None:
            self.init.kill()
            if self.init.wait(_END_SECONDS):
                self.init.collect()  # where its launcher has died, it is our child
        return self.runtime.remove_made(self.name, self.cgroups)

    def close(self) -> None:
        if self.init is not None:
            self.init.close()

    # -- the look from outside: what the kernel says, beside what was asked for ------------------------------------

    def _look_at(self, pid: int, uid: int, launcher: Launcher, cgroups: str) -> None:
        """NoFork, OSError."""
        self._look_at_namespaces(pid, launcher)
        self._look_at_mounts(pid)
        if not cgroup.is_in(cgroups, self.cgroups):
            raise NoFork("the fork is not in all of the container's cgroups")
        if _limits(read_proc(pid, "limits")) != _limits(launcher.limits) | _asked_limits(self.config):
            raise NoFork("the fork's limits are not those that were asked for")
        if read_proc(pid, "oom_score_adj").strip() != str(self.config["process"]["oomScoreAdj"]):
            raise NoFork("the fork's oom_score_adj is not what was asked for")
        profile = self.config["process"].get("apparmorProfile")
        if profile and read_proc(pid, "attr/current").split(" ")[0].strip() != profile:
            raise NoFork(f"the fork has not the AppArmor profile {profile}")
        for task in os.listdir(f"/proc/{pid}/task"):
            status = status_of(pid, task)
            _look_at_status(status, uid)
            if task == str(pid) and status["NSpid"] != f"{pid}\t1":
                raise NoFork("the fork is not the first process of a pid namespace")

    def _look_at_namespaces(self, pid: int, launcher: Launcher) -> None:
        """All new, but for the user namespace where none is asked for."""
        users = self.config["linux"].get("uidMappings", [])
        ours = own_namespaces()
        for kind, own in namespaces_of(pid).items():
            if (own in (launcher.namespaces[kind], ours[kind])) != (kind == "user" and not users):
                raise NoFork(f"the fork is in the wrong {kind} namespace")
        asked = [[one["containerID"], one["hostID"], one["size"]] for one in users]
        for kind in ("uid_map", "gid_map") if users else ():
            if [list(map(int, line.split())) for line in read_proc(pid, kind).splitlines()] != asked:
                raise NoFork(f"the fork's {kind} is not what was asked for")

    def _look_at_mounts(self, pid: int) -> None:
        """The image, read-only; on it each mount with its walls; none more, and none that the host's could change."""
        root = f"/proc/{pid}/root"
        linux = self.config["linux"]
        mounts = _mounts_of(pid, twice=linux["maskedPaths"])
        _expect(mounts, "/", {"ro"})
        same = [("/", str(self.image))]
        for one in self.config["mounts"]:
            place, kind = one["destination"], one["type"]
            _expect(mounts, place, _WALLS & set(one["options"]) | _MORE.get(place, set()))
            if kind == "bind":
                same.append((place, one["source"]))
            elif kind != "cgroup" and place not in linux["maskedPaths"]:
                _expect(mounts, place, {kind})
            if kind == "tmpfs":
                _look_at_bounds(root + place, one["options"])
        for inside, outside in same:
            if not os.path.samestat(os.stat(root + inside), os.stat(outside)):
                raise NoFork(f"{inside} of the fork is not {outside}")
        for path in (*linux["maskedPaths"], *linux["readonlyPaths"]):
            if path in mounts or os.path.lexists(root + path):
                _expect(mounts, path, {"ro"})
        _look_at_masked(root, [path for path in linux["maskedPaths"] if path in mounts])
        known = {"/", *(one["destination"] for one in self.config["mounts"])}
        known |= {*linux["maskedPaths"], *linux["readonlyPaths"]}
        for path in mounts:
            if os.path.dirname(path) == "/sys/fs/cgroup":
                _expect(mounts, path, {*_WALLS, "cgroup"})
            elif path not in known:
                raise NoFork(f"something is mounted at {path}")


def prepare(runtime: Runtime, name: str, config: dict[str, Any], image: Path, launcher: str) -> MadeContainer:
    """All of a container but its processes, which this launcher is to make.

    NoFork, EngineUnavailable; then `Runtime.remove` what there may be.
    """
    host = runtime.host
    own = cgroup.oci_place(name, "cgroupfs")
    place = own if host.cgroup_version == "1" else f"{cgroup.oci_place(launcher, host.cgroup_driver)}/{name}"
    # The filter is the launcher's, which a runtime has made from the same profile.
    linux = {key: value for key, value in config["linux"].items() if key != "seccomp"}
    config = config | {"linux": linux | {"cgroupsPath": f"/{place}"}}
    runtime.add_made(name, config)
    try:
        cgroup.create(place, config["linux"]["resources"], host.cgroup_version)
    except OSError as e:
        raise NoFork(f"a container's cgroups cannot be made: {e}") from e
    return MadeContainer(runtime, name, config, image, place, counters_of(place, runtime))


def _tree(source: str) -> int:
    """A mount of this directory that is nowhere yet. OSError."""
    descriptor: int = _libc.syscall(_OPEN_TREE, _HERE, os.fsencode(source), _CLONE | _CLOEXEC)
    if descriptor < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"open_tree {source}: {os.strerror(number)}")
    return descriptor


def _mounts_of(pid: int, *, twice: Container[str]) -> dict[str, set[str]]:
    """Mount points, and of each the options and the kind of file system.

    NoFork for one that others' mounts reach, and where there are two, but for those that are masked.
    """
    found: dict[str, set[str]] = {}
    for line in read_proc(pid, "mountinfo").splitlines():
        _, _, _, _, place, options, *more = line.split(" ")
        if more[0] != "-":
            raise NoFork(f"the mount at {place} is shared: {more[0]}")
        if place in found and place not in twice:
            raise NoFork(f"two things are mounted at {place}")
        found[place] = {*options.split(","), more[1]}
    return found


def _look_at_status(status: dict[str, str], uid: int) -> None:
    """Of one thread: libraries may have begun some, where a run may use several CPUs. NoFork."""
    wanted = {name: "0" * 16 for name in status if name.startswith("Cap")}
    wanted |= {"Uid": "\t".join([str(uid)] * 4), "Gid": "\t".join([str(uid)] * 4), "Groups": ""}
    wanted |= {"NoNewPrivs": "1", "Seccomp": "2"}
    for name, value in wanted.items():
        if status[name] != value:
            raise NoFork(f"{name} of the fork is {status[name]!r}, not {value!r}")


def _look_at_bounds(place: str, options: list[str]) -> None:
    """Of a file system in memory: its bytes and files, and whose it is. NoFork, OSError."""
    asked = dict(option.split("=") for option in options if "=" in option)
    found, owner = os.statvfs(place), os.stat(place)
    size = asked["size"]
    pages = -(-(int(size[:-1]) << 10 if size.endswith("k") else int(size)) // found.f_frsize)
    if found.f_blocks != pages or found.f_files != int(asked.get("nr_inodes", found.f_files)):
        raise NoFork(f"the file system at {place} holds {found.f_blocks} pages and {found.f_files} files")
    if (owner.st_uid, oct(owner.st_mode & 0o7777)) != (int(asked.get("uid", 0)), oct(int(asked["mode"], 8))):
        raise NoFork(f"{place} is of user {owner.st_uid}, with mode {oct(owner.st_mode)}")


def _look_at_masked(root: str, paths: list[str]) -> None:
    """Each is an empty directory, of which there is one for all, or /dev/null. NoFork, OSError."""
    empty: set[tuple[int, int]] = set()
    for path in paths:
        found = os.stat(root + path)
        which = (found.st_dev, found.st_ino)
        if stat.S_ISDIR(found.st_mode) and which not in empty and os.listdir(root + path) == []:
            empty.add(which)
        if which not in empty and found.st_rdev != _NULL:
            raise NoFork(f"{path} of the fork is not masked")


def _expect(mounts: dict[str, set[str]], path: str, wanted: set[str]) -> None:
    if not wanted <= mounts.get(path, set()):
        raise NoFork(f"the mount at {path} is {sorted(mounts.get(path, []))}, and lacks some of {sorted(wanted)}")


@lru_cache(maxsize=64)
def _limits(text: str) -> dict[str, tuple[str, str]]:
    """Soft and hard, by the kernel's names, of a /proc/PID/limits; most are the same."""
    lines = text.splitlines()[1:]
    return {name: (soft, hard) for name, soft, hard, *_ in (re.split(r"\s{2,}", line.strip()) for line in lines)}


_LIMIT_NAMES = {
    "RLIMIT_NOFILE": "Max open files", "RLIMIT_CORE": "Max core file size", "RLIMIT_FSIZE": "Max file size",
    "RLIMIT_MEMLOCK": "Max locked memory", "RLIMIT_MSGQUEUE": "Max msgqueue size",
}  # fmt: skip


def _asked_limits(config: dict[str, Any]) -> dict[str, tuple[str, str]]:
    limits = config["process"]["rlimits"]
    return {_LIMIT_NAMES[one["type"]]: (str(one["soft"]), str(one["hard"])) for one in limits}
