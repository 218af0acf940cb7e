"""``python -I -B -m launcher``: import what the runner needs once, then fork each runner into its own container.

The launcher is a small part of the host's side that lives in the image's file system, so that what it imported is
what a runner would import.  It is told descriptors and numbers, never anything of a tenant, and it runs nothing of
one: a script is first read by the fork, after `seal` has taken everything from it that a sandbox does not have.
The steps of `seal`, their order and the reasons: docs/security.md, Warm fork.

The other end of the socket is controller/engines/launcher.py; the two share the three shapes below.  A fork joins a
container that somebody has made, or, where the operator wants it so, makes its own (launcher_world).
"""

import ctypes
import errno
import fcntl
import gc
import os
import random
import resource
import select
import signal
import socket
import struct
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import NoReturn, Protocol

from launcher_world import Made, read

SOCKET = "/in/launcher.sock"
REQUEST = struct.Struct("<QIIQ")
"""Number of the fork; uid; threads for numeric libraries; bytes of the largest file.  Descriptors come with it:
standard input, output, error; where `seal` says that it is done, or what failed; where the wait status goes; the
namespaces as in `_NAMESPACES`; then one cgroup.procs of each hierarchy.  If an OCI document follows, there is no
container yet, and in place of the namespaces there are the mounts that it binds."""
ANSWER = struct.Struct("<Qi")
"""Number of the fork; its pid, or a negative errno.  Number 0 says that the launcher is ready."""
STATUS = struct.Struct("<i")
"""The wait status, as waitpid gives it."""
SEALED = b"sealed"

_FORK_FAILED = 70
_NAMESPACES = ("pid", "ipc", "uts", "net", "cgroup", "mnt", "user")
"""In the order in which a fork joins them: all the others as the host's root, who may; in the container's user
namespace it is root of nothing outside."""
_CLONE = {
    "pid": 1 << 29, "ipc": 1 << 27, "uts": 1 << 26, "net": 1 << 30, "cgroup": 1 << 25, "mnt": 1 << 17, "user": 1 << 28,
}  # fmt: skip
_STREAMS, _SEALED_AT, _END = 5, 3, 4
_MAX_DOCUMENT_BYTES = 1 << 16
_MAX_DESCRIPTORS = 64
_LEAST_UID = 1000
_HIGH = 900
"""Above what `seal` still holds, and below RLIMIT_NOFILE."""
_CALLS = {"x86_64": (0xC000003E, 308, 250), "aarch64": (0xC00000B7, 268, 219)}
"""Seccomp's name of the architecture, and its numbers of setns and keyctl."""
_MAKING_CALLS = {"x86_64": (272, 165, 166, 155, 429, 170), "aarch64": (97, 40, 39, 41, 429, 161)}
"""Of unshare, mount, umount2, pivot_root, move_mount, sethostname: of a launcher whose forks make their containers."""
_IOCTL = {"x86_64": 16, "aarch64": 29}
_SET_FLAGS = 0x8914
_PR_SET_DUMPABLE, _PR_SET_SECCOMP, _PR_CAPBSET_DROP, _PR_SET_SECUREBITS, _PR_SET_NO_NEW_PRIVS, _PR_CAP_AMBIENT = (
    4, 22, 24, 28, 38, 47,
)  # fmt: skip
_NOROOT_AND_NO_AMBIENT_LOCKED = 0b11000011
_CAPABILITY_VERSION = 0x20080522
_JOIN_SESSION_KEYRING = 1
_MADV_COLLAPSE = 25
_LARGE_PAGE = 1 << 21
_libc = ctypes.CDLL(None, use_errno=True)
_setns, _capset, _call, _prctl_call = _libc.setns, _libc.capset, _libc.syscall, _libc.prctl
_prctl_call.argtypes = [ctypes.c_int, *[ctypes.c_ulong] * 4]
_LAST_CAPABILITY = int(read("/proc/sys/kernel/cap_last_cap"))


class NotSealed(Exception):
    """A step of `seal` failed, or its check found something left."""


class Place(Protocol):
    """The container that a fork is to be in."""

    cgroups: list[int]

    def choose(self) -> None:
        """Have the next child be in its pid namespace."""

    def question(self) -> socket.socket | None:
        """In the parent: where the fork will ask for something, if it will."""

    def answer(self, pid: int, question: socket.socket) -> None:
        """In the parent, when the fork has asked, or has ended: give it what it asks for.  OSError."""

    def enter(self) -> bool:
        """In the fork: into all other namespaces. Whether the users there are not the launcher's."""


def main() -> NoReturn:
    """Say that all is imported, then fork whenever told to; ends when the controller does."""
    control = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
    control.connect(SOCKET)
    own = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
    import_all()
    if len(os.listdir("/proc/self/task")) != 1:
        raise SystemExit("a library has started a thread: a fork would lack it")
    control.send(ANSWER.pack(0, os.getpid()))
    serve(control, own)


def import_all() -> None:
    """Import what a runner imports, and nothing else: a script finds the modules that it finds in a plain start."""
    import numpy as np
    import pandas as pd
    from runner import __main__, console, entry, failure, job, job_file, keep, rehearsal, task  # noqa: F401

    del sys.modules[Made.__module__]
    # What is made when first used is made here, and what goes when first used goes.
    np.random.seed(0)
    pd.DataFrame({"a": [1.5, None], "b": ["x", None]}).groupby("b")["a"].sum()
    with suppress(OSError, failure.RunnerError):  # then less is made ahead, and nothing else is amiss
        rehearsal.rehearse(Path("/dev/shm/rehearsal"))  # noqa: S108 - of the launcher's container alone
    del os.environ["JE_ARROW_MALLOC_CONF"]  # a fork's script has no such thing
    know_libraries_by_path()
    entry.look_ahead()
    keep.look_ahead()
    gc.collect()
    gc.disable()  # in the forks it is enabled again
    gc.freeze()
    fill_gaps()
    use_large_pages()


def know_libraries_by_path() -> None:
    """Let each library that is loaded be found by its plain path, from a fork as well.

    The C library knows one by the path by which it was loaded, which may be roundabout, or by device and inode; and
    those of a container's file system are not the launcher's.  threadpoolctl, for one, asks by the plain path.
    """
    lines = Path("/proc/self/maps").read_text().splitlines()
    for path in {line.split()[-1] for line in lines if ".so" in line}:
        with suppress(OSError):
            ctypes.CDLL(path, os.RTLD_NOLOAD | os.RTLD_NOW)  # where it is loaded already, it gets this name too


def fill_gaps() -> None:
    """Take what lies free between what is in use, so that forks put what they make side by side behind it.

    Every gap that is used in a fork is on one more page that must be copied for it.
    """
    _libc.malloc.argtypes, _libc.malloc.restype = [ctypes.c_size_t], ctypes.c_size_t
    _libc.free.argtypes, _libc.free.restype = [ctypes.c_size_t], None
    end: int = _libc.malloc(100_000)
    for size in (*range(64_000, 1024, -1024), *range(1024, 0, -16)):
        while 0 < (place := _libc.malloc(size)) < end:
            pass
        _libc.free(place)


def use_large_pages() -> None:
    """Ask for large pages below what lies in memory: a fork, and its end, cost a step for each page that there is.

    Where the kernel has none, or does not know the request, all stays as it was.
    """
    for line in Path("/proc/self/maps").read_text().splitlines():
        span, access, _, _, inode, *name = line.split()
        if access == "rw-p" and inode == "0" and name in ([], ["[heap]"]):
            start, end = (int(place, 16) for place in span.split("-"))
            start, end = -(-start // _LARGE_PAGE) * _LARGE_PAGE, end // _LARGE_PAGE * _LARGE_PAGE
            if start < end:
                _libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), _MADV_COLLAPSE)


class Forks:
    """What the launcher waits for: by descriptor, what is to be done when there is something to read."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control.fileno()
        self._steps: dict[int, Callable[[], None]] = {}
        self._poll = select.poll()
        self._poll.register(control, select.POLLIN)

    def __bool__(self) -> bool:
        return bool(self._steps)

    def add(self, pid: int, place: Place, end: int) -> None:
        """Watch a fork, and tell `end` how it ended.  OSError."""
        pidfd, question = os.pidfd_open(pid), place.question()
        self._wait_for(pidfd, partial(self._end, pidfd, pid, end, question))
        if question is not None:
            self._wait_for(question.fileno(), partial(answer, place, pid, question))

    def clear(self) -> None:
        """In a fork: the numbers are nothing for a script."""
        self._steps.clear()

    def wait(self) -> bool:
        """Do whatever is to be done; whether the controller has something to say, or has gone.

        The steps only close descriptors, so that none of a number that was seen ready becomes another meanwhile.
        """
        ready = [descriptor for descriptor, _ in self._poll.poll()]
        for descriptor in ready:
            if (step := self._forget(descriptor)) is not None:
                step()
        return self._control in ready

    def leave(self) -> None:
        """The controller has gone: nothing more comes from it."""
        self._poll.unregister(self._control)

    def _end(self, pidfd: int, pid: int, end: int, question: socket.socket | None) -> None:
        if question is not None and self._forget(question.fileno()):
            question.close()  # a number may be another's when its process is collected
        hand_on(pidfd, pid, end)

    def _wait_for(self, descriptor: int, step: Callable[[], None]) -> None:
        self._steps[descriptor] = step
        self._poll.register(descriptor, select.POLLIN)

    def _forget(self, descriptor: int) -> Callable[[], None] | None:
        if step := self._steps.pop(descriptor, None):
            self._poll.unregister(descriptor)
        return step


def serve(control: socket.socket, own_pid_namespace: int) -> NoReturn:
    """Fork for the controller, and hand on how forks ended; when it has gone, until the last of them has."""
    forks, there = Forks(control), True
    while there or forks:
        if forks.wait():
            message, given = receive(control)
            if message:
                answered = take(message, given, own_pid_namespace, forks)
                with suppress(OSError):  # it has gone meanwhile, as the next look will tell
                    control.send(answered)
            else:
                there = False
                forks.leave()
    os._exit(0)


def receive(control: socket.socket) -> tuple[bytes, list[int]]:
    """Take one request and its descriptors; empty when the controller has gone, with an answer unread or not."""
    space = socket.CMSG_SPACE(_MAX_DESCRIPTORS * 4)
    try:
        message, ancillary, _, _ = control.recvmsg(REQUEST.size + _MAX_DOCUMENT_BYTES, space)
    except ConnectionError:
        return b"", []
    given: list[int] = []
    for _, _, data in ancillary:
        given += memoryview(data[: len(data) - len(data) % 4]).cast("i")
    return message, given


def take(message: bytes, given: list[int], own_pid_namespace: int, forks: Forks) -> bytes:
    """Fork for one request; gives the answer."""
    number = pid = end = 0
    try:
        number, uid, threads, file_bytes = REQUEST.unpack(message[: REQUEST.size])
        document, places = message[REQUEST.size :], given[_STREAMS:]
        place: Place = Made(document, places) if document else Standing(places)
        end = os.dup(given[_END])
        pid = fork_into(place, own_pid_namespace)
        if pid == 0:
            forks.clear()
            become_runner(given, place, uid, threads, file_bytes)
        forks.add(pid, place, end)
    except Exception as error:
        if pid:
            end_fork(pid)
        if end:
            os.close(end)
        return ANSWER.pack(number, -(getattr(error, "errno", None) or errno.EPROTO))
    finally:
        for descriptor in given:
            os.close(descriptor)
    return ANSWER.pack(number, pid)


class Standing:
    """A container that somebody has made: a fork joins its namespaces.  See `Place`."""

    def __init__(self, given: list[int]) -> None:
        self._namespaces = dict(zip(_NAMESPACES, given, strict=False))
        self.cgroups = given[len(_NAMESPACES) :]

    def choose(self) -> None:
        _join(self._namespaces["pid"], "pid")

    def question(self) -> None:
        return None

    def answer(self, pid: int, question: socket.socket) -> None:
        """It does not ask."""

    def enter(self) -> bool:
        own_user = os.stat("/proc/self/ns/user")
        remapped = not os.path.samestat(os.fstat(self._namespaces["user"]), own_user)
        for kind in _NAMESPACES[1:]:
            if kind != "user" or remapped:  # the kernel refuses to join the one that one is in
                _join(self._namespaces[kind], kind)
        return remapped


def fork_into(place: Place, own_pid_namespace: int) -> int:
    """Fork a child into a pid namespace: only children enter it, so one fork is enough."""
    place.choose()
    try:
        pid = os.fork()
    except OSError:
        _join(own_pid_namespace, "pid")
        raise
    if pid:
        _join(own_pid_namespace, "pid")
    return pid


def answer(place: Place, pid: int, question: socket.socket) -> None:
    """Give a fork what it asks for."""
    with suppress(OSError), question:  # a fork that finds no answer says so, and ends
        place.answer(pid, question)


def end_fork(pid: int) -> None:
    """End a fork that could not be watched."""
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def hand_on(pidfd: int, pid: int, end: int) -> None:
    """Collect a fork that has ended, and tell the controller how."""
    _, status = os.waitpid(pid, 0)
    with suppress(OSError):  # nobody waits for it any more
        os.write(end, STATUS.pack(status))
    os.close(pidfd)
    os.close(end)


def become_runner(given: list[int], place: Place, uid: int, threads: int, file_bytes: int) -> NoReturn:
    """In the fork: go into the container, take everything away, then do what ``python -m runner`` does."""
    try:
        sealed = fcntl.fcntl(given[_SEALED_AT], fcntl.F_DUPFD, _HIGH)
        try:
            seal(given, place, sealed, uid, file_bytes)
            start_anew(threads)
            os.write(sealed, SEALED)
        except BaseException as error:
            os.write(sealed, f"{type(error).__name__}: {error}".encode()[:1000])
            os._exit(_FORK_FAILED)
        os.close(sealed)
        from runner.__main__ import main as run

        run([])
    finally:
        os._exit(_FORK_FAILED)


def seal(given: list[int], place: Place, sealed: int, uid: int, file_bytes: int) -> None:
    """From a copy of the launcher to a process like the container's own, step by step; any failure ends it.

    Raises `NotSealed`, OSError.  Nothing of a tenant has been read before it, nothing is before it is done.
    """
    if uid < _LEAST_UID:
        raise NotSealed(f"uid {uid} is no run's")
    _prctl(_PR_SET_DUMPABLE, 0)
    for cgroup in place.cgroups:
        os.write(cgroup, b"0")
    own_user = os.stat("/proc/self/ns/user")
    remapped = place.enter()
    os.setsid()
    if _call(_calls()[2], _JOIN_SESSION_KEYRING, None) < 0:
        raise _error("keyctl")
    os.umask(0o022)
    resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))
    for number in range(3):
        os.dup2(given[number], number)
    os.closerange(3, sealed)
    os.closerange(sealed + 1, 1 << 20)
    _drop_capabilities_to_be_had()
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    _drop_capabilities()
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    _install_filter()
    _prctl(_PR_SET_DUMPABLE, 1)  # as after an exec: /proc/self is the process' own
    os.chdir("/work")  # by now only its owner may
    check(sealed, uid, file_bytes)
    if remapped:
        check_users(uid, own_user)


def check_users(uid: int, launchers: os.stat_result) -> None:
    """Read back who there is in the user namespace: the run, and a root who is nobody on the host.

    Raises `NotSealed`.
    """
    if os.path.samestat(os.stat("/proc/self/ns/user"), launchers):
        raise NotSealed("the user namespace is the launcher's")
    for name in ("uid_map", "gid_map"):
        users = [tuple(map(int, line.split())) for line in read(f"/proc/self/{name}").splitlines()]
        root = users[0][1] if users else 0
        if users != [(0, root, 1), (uid, uid, 1)] or root < _LEAST_UID or root == uid:
            raise NotSealed(f"{name} is {users}")


def check(sealed: int, uid: int, file_bytes: int) -> None:
    """Read back what the kernel says of this process.  Raises `NotSealed` naming what is not as it must be."""
    status = dict(line.split(":", 1) for line in read("/proc/self/status").splitlines())
    ids, none = "\t".join([str(uid)] * 4), "0" * 16
    wanted = {"Uid": ids, "Gid": ids, "Groups": "", "NoNewPrivs": "1", "Seccomp": "2", "Threads": "1"}
    wanted |= {f"Cap{kind}": none for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb")}
    for name, value in wanted.items():
        if status[name].strip() != value:
            raise NotSealed(f"{name} is {status[name].strip()!r}, not {value!r}")
    cgroups = read("/proc/self/cgroup").splitlines()
    if any(not line.endswith(":/") for line in cgroups):
        raise NotSealed(f"cgroups are {cgroups}")
    held = {int(name) for name in os.listdir("/proc/self/fd")} - {0, 1, 2, sealed}
    if len(held) > 1:  # the one is the list itself
        raise NotSealed(f"descriptors {sorted(held)} are left")
    if resource.getrlimit(resource.RLIMIT_FSIZE) != (file_bytes, file_bytes) or os.getcwd() != "/work":
        raise NotSealed("the file size limit or the working directory is another")


def start_anew(threads: int) -> None:
    """What a fresh interpreter would have of its own, and this one would share with its siblings."""
    gc.enable()
    random.seed()
    import numpy as np

    np.random.seed(int.from_bytes(os.urandom(4), "little"))
    os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = str(threads)
    if threads > 1:
        import pyarrow as pa
        from threadpoolctl import threadpool_limits

        threadpool_limits(threads)
        pa.set_cpu_count(threads)
    import runner.__main__ as as_main

    sys.modules["__main__"] = as_main
    sys.argv = [as_main.__file__]
    sys.orig_argv = [sys.executable, "-I", "-B", "-m", "runner"]


# -- the kernel's side ---------------------------------------------------------------------------------------------


class _Header(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]


class _Instruction(ctypes.Structure):
    _fields_ = [("code", ctypes.c_uint16), ("jt", ctypes.c_uint8), ("jf", ctypes.c_uint8), ("k", ctypes.c_uint32)]


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.POINTER(_Instruction))]


def _error(what: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, f"{what}: {os.strerror(number)}")


def _join(descriptor: int, kind: str) -> None:
    if _setns(descriptor, _CLONE[kind]):
        raise _error(f"setns {kind}")


def _prctl(option: int, value: int, address: int = 0) -> None:
    if _prctl_call(option, value, address, 0, 0) < 0:
        raise _error(f"prctl {option}")


def _calls() -> tuple[int, int, int]:
    machine = os.uname().machine
    if machine not in _CALLS:
        raise NotSealed(f"the system calls of {machine} are not known here")
    return _CALLS[machine]


def _drop_capabilities_to_be_had() -> None:
    for capability in range(_LAST_CAPABILITY + 1):
        _prctl(_PR_CAPBSET_DROP, capability)
    _prctl(_PR_CAP_AMBIENT, 4)  # all of them
    _prctl(_PR_SET_SECUREBITS, _NOROOT_AND_NO_AMBIENT_LOCKED)


def _drop_capabilities() -> None:
    if _capset(*_NO_CAPABILITY):
        raise _error("capset")


def _install_filter() -> None:
    _prctl(_PR_SET_SECCOMP, 2, ctypes.addressof(_FILTER))


def _filter() -> _Program:
    """What takes away what a launcher's filter allows and a sandbox's does not: what is left is the same.

    The kernel asks every filter and obeys the strictest, so this one need not know the others' list.
    """
    machine = os.uname().machine
    arch, *calls = [*_calls(), *_MAKING_CALLS[machine]]
    load, equal, give = 0x20, 0x15, 0x06
    deny, allow = 0x00050000 | 1, 0x7FFF0000
    last = len(calls) + 7
    steps = [
        (load, 0, 0, 4),  # the architecture; another one's calls are all denied
        (equal, 0, last - 2, arch),
        (load, 0, 0, 0),  # the call
        *((equal, last - 4 - n, 0, call) for n, call in enumerate(calls)),
        (equal, 0, 2, _IOCTL[machine]),
        (load, 0, 0, 24),  # the lower half of its second argument
        (equal, 1, 0, _SET_FLAGS),
        (give, 0, 0, allow),
        (give, 0, 0, deny),
    ]
    program = (_Instruction * len(steps))(*(_Instruction(*step) for step in steps))
    return _Program(len(steps), program)


# Made here, and not once more in every fork.
_FILTER = _filter()
_NO_CAPABILITY = ctypes.byref(_Header(_CAPABILITY_VERSION, 0)), ctypes.byref((ctypes.c_uint32 * 6)())


if __name__ == "__main__":
    main()
