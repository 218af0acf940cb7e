"""The runner as a child process: its log while it is written, its time limit, and the end of all it started."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, cast

from controller.engines.base import GO_SIGNAL, STDERR, STDOUT

_TICK_SECONDS = 0.05
"""How often it is looked whether the process has ended, while nothing arrives."""
_DRAIN_SECONDS = 2.0
"""For what was written before the end: a child that left the group may still hold the pipes, and fill them."""
_CHUNK_BYTES = 1 << 16


class Process:
    """One process, the leader of a session and a group of its own: a Ctrl-C in the terminal does not reach it."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], folder: Path) -> None:
        self._started = time.monotonic()
        self._process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        self.timed_out = False

    def follow(self, timeout_seconds: float) -> Iterator[tuple[int, bytes]]:
        """Send the go signal and give (STDOUT or STDERR, bytes) as they come, until it has ended or been killed.

        What it started and left behind is killed too, as it would be in a container.
        """
        out, err, stdin = (
            cast(IO[bytes], pipe) for pipe in (self._process.stdout, self._process.stderr, self._process.stdin)
        )
        with contextlib.suppress(BrokenPipeError), stdin:  # it may have died before it read
            stdin.write(GO_SIGNAL)
        deadline = self._started + timeout_seconds
        with selectors.DefaultSelector() as selector, out, err:
            selector.register(out, selectors.EVENT_READ, STDOUT)
            selector.register(err, selectors.EVENT_READ, STDERR)
            while self._process.poll() is None:
                left = deadline - time.monotonic()
                if left <= 0:
                    self.timed_out = True
                    break
                if selector.get_map():
                    yield from _arrived(selector, min(_TICK_SECONDS, left))
                else:  # it closed its output and runs on
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        self._process.wait(min(_TICK_SECONDS, left))
            self.kill()
            give_up = time.monotonic() + _DRAIN_SECONDS
            while time.monotonic() < give_up and (pieces := list(_arrived(selector, 0))):
                yield from pieces

    def kill(self) -> None:
        """End it, and every process of its group that is left, and wait for its end."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    @property
    def exit_code(self) -> int:
        """As a shell gives it: 128 + N for signal N."""
        code = self._process.wait()
        return code if code >= 0 else 128 - code


def _arrived(selector: selectors.BaseSelector, seconds: float) -> Iterator[tuple[int, bytes]]:
    """What can be read now, or within this time; a stream that is at its end is not looked at any more."""
    for key, _ in selector.select(seconds):
        stream = cast(IO[bytes], key.fileobj)
        data = os.read(stream.fileno(), _CHUNK_BYTES)
        if data:
            yield key.data, data
        else:
            selector.unregister(stream)
