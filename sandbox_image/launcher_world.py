"""A container that a fork of the launcher makes for itself: new namespaces, laid out as an OCI document says.

Of the document that is what a runtime's first process sees to: host name, mounts, masked and read-only paths, users,
AppArmor's profile.
The cgroups stand ready, made by the server; what is taken from the process itself is `launcher.seal`'s in every case.
The steps are those of runc, but for the last: the user namespace comes when everything is mounted, so the namespaces
belong to the host's root, and whoever is root in the container has power over nothing, not even its own mounts.

Nothing here is of a tenant's. The other end: controller/engines/oci_made.py.
"""

import ctypes
import fcntl
import json
import os
import socket
import stat
import struct
from contextlib import suppress
from typing import Any

_NEW = 1 << 17 | 1 << 25 | 1 << 26 | 1 << 27 | 1 << 30
"""Namespaces of mounts, cgroups, host name, ipc and network; that of processes is the parent's business."""
_NEW_PID, _NEW_USER = 1 << 29, 1 << 28
_RDONLY, _NOSUID, _NODEV, _NOEXEC, _REMOUNT, _BIND, _REC, _PRIVATE = 1, 2, 4, 8, 32, 1 << 12, 1 << 14, 1 << 18
_FLAGS = {
    "ro": _RDONLY, "rw": 0, "nosuid": _NOSUID, "nodev": _NODEV, "noexec": _NOEXEC, "exec": 0, "strictatime": 1 << 24,
}  # fmt: skip
_LOCKED = _NOSUID | _NODEV | _NOEXEC
_DETACH, _EMPTY_PATH, _HERE = 2, 4, -100
_DEVICES = {"null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9), "tty": (5, 0)}
_LINKS = {"fd": "", "stdin": "/0", "stdout": "/1", "stderr": "/2"}
_CALLS = {"x86_64": (155, 429), "aarch64": (41, 429)}
"""The numbers of pivot_root and move_mount, for which the C library has no names."""
_SET_FLAGS, _UP = 0x8914, 1
_STAGE = "/work"
"""Where the new root is laid out: a directory that every image has. On it lies a mount before anything is changed."""
_libc = ctypes.CDLL(None, use_errno=True)
_unshare, _call, _mount_call = _libc.unshare, _libc.syscall, _libc.mount
_mount_call.argtypes = [*[ctypes.c_char_p] * 3, ctypes.c_ulong, ctypes.c_char_p]


class Made:
    """The container that is to be made. `given`: the mounts that the document binds, in its order, then cgroup.procs
    files."""

    def __init__(self, document: bytes, given: list[int]) -> None:
        """Any exception: it is none."""
        self._asked: dict[str, Any] = json.loads(document)
        binds = sum(one["type"] == "bind" for one in self._asked["mounts"])
        self._trees, self.cgroups = given[:binds], given[binds:]
        self._users: list[dict[str, int]] = self._asked["linux"].get("uidMappings", [])
        users = "".join(f"{one['containerID']} {one['hostID']} {one['size']}\n" for one in self._users)
        self._map = users.encode()
        self._ours: socket.socket | None = None
        self._theirs: socket.socket | None = None
        if self._users:
            self._ours, self._theirs = socket.socketpair()

    def choose(self) -> None:
        """Have the next child be the first process of a new pid namespace."""
        _check(_unshare(_NEW_PID), "unshare pid")

    def question(self) -> socket.socket | None:
        """In the parent: where the fork will say that it has its user namespace, whose users it may not name itself."""
        if self._theirs:
            self._theirs.close()  # or the fork's end would never be seen
        return self._ours

    def answer(self, pid: int, question: socket.socket) -> None:
        """In the parent, when the fork has said so, or has failed: write down who the users are. OSError."""
        if question.recv(1):
            for kind in ("uid", "gid"):
                with open(f"/proc/{pid}/{kind}_map", "wb", buffering=0) as file:
                    file.write(self._map)
            question.send(b"m")

    def enter(self) -> bool:
        """In the fork, a member of its cgroups: make the container around it. Whether it has users of its own.

        OSError.
        """
        if self._ours:
            self._ours.close()  # or the launcher's end would never be seen
        _check(_unshare(_NEW), "unshare")
        self._lay_out()
        name = os.fsencode(self._asked["hostname"])
        _check(_libc.sethostname(name, len(name)), "sethostname")
        _set_up_loopback()
        if self._theirs:
            _check(_unshare(_NEW_USER), "unshare user")
            self._theirs.send(b"u")
            if not self._theirs.recv(1):
                raise OSError("nobody has said who the users are")
        if profile := self._asked["process"].get("apparmorProfile"):
            with open("/proc/self/attr/current", "w") as file:  # now, since it forbids to mount anything
                file.write(f"changeprofile {profile}")
        return bool(self._users)

    def _lay_out(self) -> None:
        """The new root, on the stage; then it is the only one that there is."""
        pivot_root, move_mount = _calls()
        linux, trees = self._asked["linux"], iter(self._trees)
        _mount(None, "/", None, _REC | _PRIVATE)
        _mount("/", _STAGE, None, _BIND)  # the image and nothing on it; as read-only as the launcher has it
        os.chdir(_STAGE)
        os.umask(0)
        for one in self._asked["mounts"]:
            target = f".{one['destination']}"
            if one["type"] == "bind":
                tree = next(trees)
                _check(_call(move_mount, tree, b"", _HERE, os.fsencode(target), _EMPTY_PATH), target)
                _mount(None, target, None, _PRIVATE)  # on many hosts it was in a group that shares its mounts
                if "ro" in one["options"]:
                    _mount(None, target, None, _REMOUNT | _BIND | _RDONLY)
            else:
                _place(target, one["type"], one["options"])
        _mount(None, "./dev", None, _REMOUNT | _BIND | _RDONLY | _NOSUID | _NOEXEC)
        _mask(linux["maskedPaths"])
        for path in linux["readonlyPaths"]:
            with suppress(FileNotFoundError):
                _mount(f".{path}", f".{path}", None, _BIND | _REC)
                _mount(None, f".{path}", None, _REMOUNT | _BIND | _RDONLY | _LOCKED)
        _check(_call(pivot_root, b".", b"."), "pivot_root")
        _check(_libc.umount2(b".", _DETACH), "umount")
        os.chdir("/")


def _place(target: str, kind: str, options: list[str]) -> None:
    """A file system of the kernel's, new for this container."""
    flags, data = 0, []
    for option in options:
        if option in _FLAGS:
            flags |= _FLAGS[option]
        else:
            data.append(option)
    if target.startswith("./dev/"):
        os.mkdir(target, 0o755)
    if kind == "cgroup":
        _place_cgroups(target, flags)
    else:
        _mount(kind, target, kind, flags, ",".join(data))
    if target == "./dev":
        _fill_dev(target)


def _place_cgroups(target: str, flags: int) -> None:
    """Each hierarchy, as it looks from the cgroup namespace; all of them in one, or in a directory that has them."""
    if not _HIERARCHIES:
        _mount("cgroup", target, "cgroup2", flags)
        return
    _mount("tmpfs", target, "tmpfs", _LOCKED, "mode=755")
    for controllers, name in _HIERARCHIES:
        os.mkdir(f"{target}/{name}", 0o755)
        _mount("cgroup", f"{target}/{name}", "cgroup", flags, controllers)
        for one in name.split(",") if "," in name else ():
            os.symlink(name, f"{target}/{one}")
    _mount(None, target, None, _REMOUNT | _BIND | _RDONLY | _LOCKED)


def _fill_dev(target: str) -> None:
    """The devices that every program expects, and the names of a process' own streams. They are this container's own:
    of those of the host all runs could see each other's locks and times.
    """
    for name, number in _DEVICES.items():
        os.mknod(f"{target}/{name}", stat.S_IFCHR | 0o666, os.makedev(*number))
    for name, place in _LINKS.items():
        os.symlink(f"/proc/self/fd{place}", f"{target}/{name}")
    os.symlink("pts/ptmx", f"{target}/ptmx")
    if os.path.exists("./proc/kcore"):
        os.symlink("/proc/kcore", f"{target}/core")


def _mask(paths: list[str]) -> None:
    """A file becomes /dev/null, a directory an empty one: the same for all, read-only like what it is bound from."""
    empty = ""
    for path in paths:
        target = f".{path}"
        try:
            is_directory = stat.S_ISDIR(os.stat(target).st_mode)
        except FileNotFoundError:
            continue
        if not is_directory:
            _mount("./dev/null", target, None, _BIND)
        elif empty:
            _mount(empty, target, None, _BIND)
        else:
            _mount("tmpfs", target, "tmpfs", _RDONLY | _LOCKED)
            empty = target


def _set_up_loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        request = struct.pack("16sh14x", b"lo", _UP)
        fcntl.ioctl(one, _SET_FLAGS, request)


def _calls() -> tuple[int, int]:
    machine = os.uname().machine
    if machine not in _CALLS:
        raise OSError(f"the system calls of {machine} are not known here")
    return _CALLS[machine]


def _mount(source: str | None, target: str, kind: str | None, flags: int, data: str = "") -> None:
    words = source and source.encode(), target.encode(), kind and kind.encode(), flags, data.encode() or None
    _check(_mount_call(*words), target)


def read(path: str) -> str:
    """A file of the kernel's, in few steps: each fork takes them."""
    with open(path, "rb", buffering=0) as file:
        return file.read().decode()


def _check(failed: int, what: str) -> None:
    if failed:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def _hierarchies() -> list[tuple[str, str]]:
    """The controllers of each hierarchy of version 1, and its name."""
    controllers = [line.split(":", 2)[1] for line in read("/proc/self/cgroup").splitlines()]
    return [(one, one.removeprefix("name=")) for one in controllers if one]


_HIERARCHIES = _hierarchies()
"""Found once for all forks."""
