"""The controller's side of warm fork: a launcher is told to fork a runner into a container that stands ready.

What comes back is believed only after a look from outside: the fork must be in the container's namespaces and cgroups
and have its walls, or it is killed. The fork's own steps: sandbox_image/launcher.py. Why all this: docs/security.md.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Protocol, Self

from controller.engines.base import NATIVE_FAULTS, STDERR, STDOUT
from controller.engines.cgroup import names, procs_files
from controller.engines.following import read_some
from controller.errors import EngineError

SOCKET = "launcher.sock"
_REQUEST, _ANSWER, _STATUS = struct.Struct("<QIIQ"), struct.Struct("<Qi"), struct.Struct("<i")
_SEALED = b"sealed"
NAMESPACES = ("pid", "ipc", "uts", "net", "cgroup", "mnt", "user")
_READY_SECONDS = 30
"""For a launcher to import everything; then for each fork."""
_FORK_SECONDS = 10
_LOOK_SECONDS = 0.02
_CHUNK = 1 << 16


class NoFork(Exception):
    """A warm fork could not be had, or was not what it must be: a plain start is to be made instead."""


@dataclass
class Init:
    """The first process of a container, held so that its number cannot come to mean another one.

    A kill may come at any time, also when it was let go of: by then its descriptor's number can be another one's.
    """

    pid: int
    pidfd: int
    _held: threading.Lock = field(default_factory=threading.Lock, init=False)

    @classmethod
    def held(cls, pid: int) -> Self:
        """The process that has this number, whichever it is. NoFork."""
        try:
            return cls(pid, os.pidfd_open(pid))
        except OSError as e:
            raise NoFork(f"the container's first process is not to be seen: {e}") from e

    @classmethod
    def of(cls, pid: int, mark: str) -> Self:
        """The process that Docker named, if it is the one: it is in a cgroup of this name. NoFork."""
        init = cls.held(pid)
        with suppress(OSError):
            if names(read_proc(pid, "cgroup"), mark):
                return init
        init.close()
        raise NoFork("the container's first process is not in the container's cgroup")

    def kill(self) -> None:
        """End it, and with it everything in its pid namespace."""
        with self._held, suppress(ProcessLookupError):
            if self.pidfd >= 0:
                signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)

    def wait(self, seconds: float) -> bool:
        """Whether it has ended within this time. The kernel ends it last of all in its pid namespace."""
        return _readable(self.pidfd, seconds)

    def close(self) -> None:
        with self._held:
            os.close(self.pidfd)
            self.pidfd = -1


class Place(Protocol):
    """The container that a fork is to be in."""

    def asked(self) -> AbstractContextManager[tuple[list[int], bytes]]:
        """What a launcher is told of it, as its REQUEST says: descriptors, and a document or none. NoFork."""

    def accept(self, pid: int, uid: int, launcher: Launcher) -> Init:
        """The container's first process, when a look from outside finds this fork in it, as it must be. NoFork."""


@dataclass(frozen=True)
class Standing:
    """One that an engine has made, whose first process does nothing."""

    init: Init

    @contextmanager
    def asked(self) -> Iterator[tuple[list[int], bytes]]:
        with _joined(self.init) as descriptors:
            yield descriptors, b""

    def accept(self, pid: int, uid: int, launcher: Launcher) -> Init:
        _look_at(pid, self.init, uid)
        return self.init


class Fork:
    """A runner that waits for the go signal in a container; afterwards, the job at work there (following.Job)."""

    def __init__(self, init: Init, pid: int, streams: dict[str, int]) -> None:
        self.pid = pid
        self.exit_code: int | None = None
        """As a shell gives it, 128 + N for signal N; None while it is not known."""
        self.crashed = False
        """By a signal that the kernel sends for a fault of native code; not by an exit code that says so."""
        self.init = init
        self._streams = streams
        self.at_end: Callable[[], object] = lambda: None
        """Called when the runner has ended, while its cgroups are still there."""
        self._poll = select.poll()
        self._open = {streams["stdout"]: STDOUT, streams["stderr"]: STDERR, streams["end"]: None}
        for descriptor in self._open:
            self._poll.register(descriptor, select.POLLIN)

    def send(self, data: bytes) -> None:
        os.write(self._streams["stdin"], data)

    def read(self, timeout_seconds: float) -> list[tuple[int, bytes]] | None:
        """See following.Job. When the runner has ended, so does everything else in its container."""
        arrived = []
        for descriptor, _ in self._poll.poll(max(0.0, timeout_seconds) * 1000):
            stream, data = self._open[descriptor], read_some(descriptor)
            if stream is None:
                self._ended(data or b"")
            elif data:
                arrived.append((stream, data))
            if stream is None or data == b"":
                self._poll.unregister(descriptor)
                del self._open[descriptor]
        return arrived if self._open or arrived else None

    def _ended(self, status: bytes) -> None:
        """It is known how the runner ended; or, with no status, that nobody will ever know."""
        if len(status) == _STATUS.size:
            code = os.waitstatus_to_exitcode(_STATUS.unpack(status)[0])
            self.exit_code = code if code >= 0 else 128 - code
            self.crashed = -code in NATIVE_FAULTS
        self.at_end()
        self.init.kill()

    def alive(self) -> bool:
        return not self.init.wait(_LOOK_SECONDS)

    def waits(self) -> bool:
        """Whether it can still be given the go signal: it is there, and so is the launcher that will tell its end."""
        return not (self.init.wait(0) or _readable(self._streams["end"], 0))

    def kill(self) -> None:
        self.init.kill()

    def close(self) -> None:
        for descriptor in self._streams.values():
            os.close(descriptor)


class Launcher:
    """One generation: a process that forks runners. Thread-safe; one fork at a time, a few milliseconds each."""

    def __init__(self, listener: socket.socket) -> None:
        """Wait for the launcher that was just started to say that it is ready. NoFork."""
        self.born = time.monotonic()
        self.forks = 0
        self._lock = threading.Lock()
        self._closed = False
        listener.settimeout(_READY_SECONDS)
        with ExitStack() as held:
            try:
                self._socket = held.enter_context(listener.accept()[0])
                self._socket.settimeout(_READY_SECONDS)
                self.peer, self.uid, _ = struct.unpack(
                    "3i", self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
                )
                number, self.pid = self._answer()
            except OSError as e:
                raise NoFork(f"the launcher did not become ready: {e}") from e
            held.pop_all()
        self._socket.settimeout(_FORK_SECONDS)
        if number != 0 or self.pid != self.peer:
            self.close()
            raise NoFork("this server is not in the host's pid namespace, so it cannot look at a fork")
        try:
            self.namespaces, self.limits = namespaces_of(self.peer), read_proc(self.peer, "limits")
            """As it has begun: what its forks are to differ from, and what they inherit."""
            self._process = os.pidfd_open(self.peer)
        except OSError as e:
            self.close()
            raise NoFork(f"the launcher has ended: {e}") from e

    def fork(self, place: Place, uid: int, threads: int, file_bytes: int) -> Fork:
        """A runner in this container, sealed and looked at from outside, waiting for the go signal. NoFork."""
        with ExitStack() as held:
            with ExitStack() as given:
                ours, theirs = _pipes(held, given, uid)
                to_give, document = given.enter_context(place.asked())
                pid = self._ask(uid, threads, file_bytes, [*theirs.values(), *to_give], document)
            sealed = ours.pop("sealed")
            _await_seal(sealed)
            init = place.accept(pid, uid, self)
            held.pop_all()
            os.close(sealed)
            return Fork(init, pid, ours)

    def _ask(self, uid: int, threads: int, file_bytes: int, descriptors: list[int], document: bytes) -> int:
        try:
            with self._lock:
                if self._closed:
                    raise NoFork("the launcher forks no more")
                self.forks += 1
                request = _REQUEST.pack(self.forks, uid, threads, file_bytes)
                socket.send_fds(self._socket, [request, document], descriptors)
                number, pid = self._answer()
                if number != self.forks:
                    raise ConnectionResetError("it answered something that was not asked")
        except OSError as e:
            self._closed = True
            raise NoFork(f"the launcher does not answer: {e}") from e
        finally:
            if self._closed:
                self.close()
        if pid <= 0:
            raise NoFork(f"the launcher could not fork: {os.strerror(-pid)}")
        return pid

    def _answer(self) -> tuple[int, int]:
        data = self._socket.recv(_ANSWER.size + 1)
        if len(data) != _ANSWER.size:
            raise ConnectionResetError("it has ended" if not data else "it speaks another language")
        number, pid = _ANSWER.unpack(data)
        return number, pid

    def usable(self) -> bool:
        """Whether it still can be asked."""
        return not self._closed and not self.wait(0)

    def wait(self, seconds: float) -> bool:
        """Whether it has ended within this time."""
        return _readable(self._process, seconds)

    def forget(self) -> None:
        """When it has ended."""
        self.close()
        os.close(self._process)

    def close(self) -> None:
        """It forks no more, and ends when its last fork has. Where somebody is asking it now, he closes it afterwards:
        an answer that nobody takes would be lost, and the number of a descriptor in use another's.
        """
        self._closed = True
        if self._lock.acquire(blocking=False):
            try:
                self._socket.close()
            finally:
                self._lock.release()


def listen(directory: Path) -> socket.socket:
    """Where a launcher calls, once; nobody but root can."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    descriptor = os.open(directory, os.O_PATH | os.O_DIRECTORY)
    try:  # by way of the descriptor: a socket's address has 108 bytes, a path may have more
        listener.bind(f"/proc/self/fd/{descriptor}/{SOCKET}")
    finally:
        os.close(descriptor)
    (directory / SOCKET).chmod(0o600)
    listener.listen(1)
    return listener


def _pipes(held: ExitStack, given: ExitStack, uid: int) -> tuple[dict[str, int], dict[str, int]]:
    """Our ends, closed by `held`, and the fork's, closed by `given`, in the order that the launcher knows.

    The standard streams are the run's, as a runtime makes them: a script may open its log by a path, /dev/stdout.
    """
    ours, theirs = {}, {}
    for name in ("stdin", "stdout", "stderr", "sealed", "end"):
        reading, writing = os.pipe2(os.O_CLOEXEC)
        theirs[name], ours[name] = (reading, writing) if name == "stdin" else (writing, reading)
        held.callback(os.close, ours[name])
        given.callback(os.close, theirs[name])
        if name.startswith("std"):
            os.set_blocking(ours[name], False)
            os.fchown(theirs[name], uid, uid)
    return ours, theirs


@contextmanager
def _joined(init: Init) -> Iterator[list[int]]:
    """Descriptors of the namespaces and cgroups of a container."""
    with ExitStack() as held:
        descriptors = []
        try:
            for path, flags in [
                *((f"/proc/{init.pid}/ns/{kind}", os.O_RDONLY) for kind in NAMESPACES),
                *((path, os.O_WRONLY) for path in procs_files(init.pid)),
            ]:
                descriptors.append(os.open(path, flags | os.O_CLOEXEC))
                held.callback(os.close, descriptors[-1])
        except OSError as e:
            raise NoFork(f"the container's namespaces or cgroups cannot be opened: {e}") from e
        yield descriptors


def _await_seal(descriptor: int) -> None:
    """NoFork when the fork did not get through its steps, with what it says."""
    said = b""
    deadline = time.monotonic() + _FORK_SECONDS
    while _readable(descriptor, deadline - time.monotonic()) and (data := os.read(descriptor, 1024)):
        said += data
    if said != _SEALED:
        raise NoFork(f"the fork was not sealed: {said.decode(errors='replace') or 'it said nothing'}")


def _look_at(pid: int, init: Init, uid: int) -> None:
    """Compare a fork with its container's first process, which the engine made. NoFork when it is not like it."""
    try:
        first_ones, ours = namespaces_of(init.pid), own_namespaces()
        for kind, namespace in namespaces_of(pid).items():
            if namespace != first_ones[kind]:
                raise NoFork(f"the fork is not in the container's {kind} namespace")
            # Not every engine gives a user namespace; the one that does has looked at the first process' own.
            if kind != "user" and namespace == ours[kind]:
                raise NoFork(f"the container has the controller's {kind} namespace")
        for name in ("cgroup", "limits", "oom_score_adj", "uid_map", "gid_map"):
            if read_proc(pid, name) != read_proc(init.pid, name):
                raise NoFork(f"/proc/PID/{name} of the fork is not that of the container's first process")
        status, first = status_of(pid), status_of(init.pid)
    except OSError as e:
        raise NoFork(f"the fork cannot be looked at: {e}") from e
    wanted = {name: first[name] for name in first if name.startswith("Cap")}
    wanted |= {"Uid": "\t".join([str(uid)] * 4), "Gid": "\t".join([str(uid)] * 4), "NoNewPrivs": "1", "Seccomp": "2"}
    for name, value in wanted.items():
        if status[name] != value:
            raise NoFork(f"{name} of the fork is {status[name]!r}, not {value!r}")


def status_of(pid: int, task: str | None = None) -> dict[str, str]:
    """Of a process, which is that of its first thread, or of another of its threads. OSError."""
    name = "status" if task is None else f"task/{task}/status"
    lines = (line.partition(":") for line in read_proc(pid, name).splitlines())
    return {name: value.strip() for name, _, value in lines}


def namespaces_of(pid: int | str) -> dict[str, str]:
    """By NAMESPACES. OSError."""
    return {kind: os.readlink(f"/proc/{pid}/ns/{kind}") for kind in NAMESPACES}


@cache
def own_namespaces() -> dict[str, str]:
    """This process', which stays in them."""
    return namespaces_of("self")


def read_proc(pid: int, name: str) -> str:
    """With no more calls than it takes: much of it is read for each fork. OSError."""
    descriptor, found = os.open(f"/proc/{pid}/{name}", os.O_RDONLY | os.O_CLOEXEC), b""
    try:
        while data := os.read(descriptor, _CHUNK):
            found += data
    finally:
        os.close(descriptor)
    return found.decode(errors="replace")


def _readable(descriptor: int, seconds: float) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(max(0.0, seconds) * 1000))


def exit_code(fork: Fork) -> int:
    """How the runner ended. EngineError when its launcher died, so that nobody can say."""
    if fork.exit_code is None:
        raise EngineError("the launcher ended while the script ran, so how the script ended is not known")
    return fork.exit_code
