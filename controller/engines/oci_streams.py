"""A container's standard streams, as pipes; and its runner as `follow` wants it."""

from __future__ import annotations

import os
import select
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from controller.engines.base import STDERR, STDOUT
from controller.engines.following import read_some
from controller.engines.oci_children import ChildInit

_LOOK_SECONDS = 0.02


class Pipes:
    """Three pipes, and the ends of both sides. `theirs`: standard input, output, error."""

    def __init__(self) -> None:
        self.theirs: tuple[int, ...] = ()
        self._ours: tuple[int, ...] = ()
        try:
            for reads in (False, True, True):
                reading, writing = os.pipe2(os.O_CLOEXEC)
                ours, theirs = (reading, writing) if reads else (writing, reading)
                self._ours, self.theirs = (*self._ours, ours), (*self.theirs, theirs)
                os.set_blocking(ours, False)
        except OSError:
            self.close()
            raise
        self.stdin, self.stdout, self.stderr = self._ours

    def belong_to(self, uid: int) -> None:
        """The script may open its log by a path as well: /dev/stdout. Root of a user namespace could not allow it."""
        for descriptor in self.theirs:
            os.fchown(descriptor, uid, uid)

    def given(self) -> None:
        """Whoever they are for has them: ours of them are closed, or the streams would never end."""
        for descriptor in self.theirs:
            os.close(descriptor)
        self.theirs = ()

    def close(self) -> None:
        self.given()
        for descriptor in self._ours:
            os.close(descriptor)


@contextmanager
def pipes() -> Iterator[Pipes]:
    made = Pipes()
    try:
        yield made
    finally:
        made.close()


class Job:
    """See following.Job: the first process of a container is the runner."""

    def __init__(self, init: ChildInit, streams: Pipes) -> None:
        self._init, self._stdin = init, streams.stdin
        self._open = {streams.stdout: STDOUT, streams.stderr: STDERR}
        self._poll = select.poll()
        for descriptor in self._open:
            self._poll.register(descriptor, select.POLLIN)

    def send(self, data: bytes) -> None:
        os.write(self._stdin, data)

    def read(self, timeout_seconds: float) -> list[tuple[int, bytes]] | None:
        arrived = []
        for descriptor, _ in self._poll.poll(max(0.0, timeout_seconds) * 1000):
            data = read_some(descriptor)
            if data:
                arrived.append((self._open[descriptor], data))
            elif data is not None:
                self._poll.unregister(descriptor)
                del self._open[descriptor]
        return arrived if self._open or arrived else None

    def alive(self) -> bool:
        return not self._init.wait(_LOOK_SECONDS)

    def kill(self) -> None:
        self._init.kill()


def read_ready(descriptor: int, limit_bytes: int) -> bytes:
    """What is in a pipe now."""
    os.set_blocking(descriptor, False)
    with suppress(BlockingIOError):
        return os.read(descriptor, limit_bytes)
    return b""
