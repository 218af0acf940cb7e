"""The log: descriptors 1 and 2, which the script shares with its children and its C libraries."""

import contextlib
import ctypes
import io
import os
import stat
import sys
import termios
from fcntl import ioctl
from time import monotonic, sleep

GO_LINE_BYTES = 4096
SETTLE_SECONDS = 0.002
"""How long what was read from one pipe needs to reach whoever joins the two, on a machine with work to do."""
ORDER_SECONDS = 0.5
"""How long a job may wait, in all, for its two streams to be joined in order."""
_POLL_SECONDS = 0.0001


class Order:
    """Keeps what Python code writes to the one stream and then to the other in that order.

    Two pipes have no common order: who reads them may meet the second first.  So a change of the stream
    waits until the other pipe has been emptied, and its last bytes had time to arrive.  Waiting in all is
    bounded, and only happens between two pipes; after that, the order is left to chance.
    """

    def __init__(self) -> None:
        kinds = [os.fstat(descriptor) for descriptor in (1, 2)]
        apart = kinds[0].st_ino != kinds[1].st_ino
        self._left = ORDER_SECONDS if apart and all(stat.S_ISFIFO(kind.st_mode) for kind in kinds) else 0.0
        self._last = 0
        self._written = 0.0

    def before(self, descriptor: int) -> None:
        """Call it before each write to descriptor 1 or 2."""
        if self._left > 0 and self._last not in (0, descriptor):
            started = monotonic()
            with contextlib.suppress(OSError):  # the script may have closed it
                self._settle(started)
            self._left -= monotonic() - started
        self._last = descriptor

    def after(self) -> None:
        """Call it after each write."""
        self._written = monotonic()

    def _settle(self, started: float) -> None:
        waiting = bytearray(4)
        while monotonic() - started < self._left:
            ioctl(self._last, termios.FIONREAD, waiting)
            if not any(waiting):
                break
            sleep(_POLL_SECONDS)
        sleep(max(0.0, min(self._left, self._written + SETTLE_SECONDS - monotonic())))


class _Stream(io.FileIO):
    """One of the two descriptors, written to in order."""

    def __init__(self, descriptor: int, name: str, order: Order) -> None:
        super().__init__(descriptor, "wb", closefd=False)
        self.name = name
        self._number = descriptor
        self._order = order

    def write(self, data: object) -> int:
        """Write to the descriptor, after what was written to the other one."""
        self._order.before(self._number)
        written = super().write(data)  # type: ignore[arg-type]
        self._order.after()
        return written


class Console:
    """Standard output and error of a job.

    Prints appear at once, as UTF-8; what the encoding cannot hold is written as an escape.  The runner's
    own lines go through a copy of descriptor 2, so that they still appear when the script has closed it.
    """

    def __init__(self) -> None:
        self._order = Order()
        self._originals = [sys.stdout, sys.stderr]  # alive for as long as there is a console
        sys.stdout = sys.__stdout__ = self._stream(1, "<stdout>")  # type: ignore[misc]
        sys.stderr = sys.__stderr__ = self._stream(2, "<stderr>")  # type: ignore[misc]
        self._streams = [sys.stdout, sys.stderr]
        self._log = os.dup(2)

    def _stream(self, descriptor: int, name: str) -> io.TextIOWrapper:
        raw = io.BufferedWriter(_Stream(descriptor, name, self._order))
        return io.TextIOWrapper(raw, encoding="utf-8", errors="backslashreplace", line_buffering=True)

    def say(self, text: str) -> None:
        """Write text to the log; a log that nobody can write to any more is no reason to fail."""
        data = memoryview(text.encode("utf-8", "replace"))
        try:
            self._order.before(2)
            while data:
                data = data[os.write(self._log, data) :]
        except OSError:
            return

    def flush(self) -> None:
        """Write out what Python and the C library hold back, whatever the script put in their place."""
        for stream in (sys.stdout, sys.stderr, *self._streams):
            try:
                stream.flush()
            except BaseException:  # noqa: S112 - the script may have closed or replaced it
                continue
        # The process ends without the interpreter's shutdown, which is what would flush C's own buffers.
        ctypes.CDLL(None).fflush(None)


def wait_for_go() -> bool:
    """Wait for the line that starts the job, ``{"go": 1}``; False when it does not come.

    Reads the descriptor itself, one byte at a time: nothing after the line may be taken, nor buffered.
    """
    line = b""
    while not line.endswith(b"\n") and len(line) < GO_LINE_BYTES:
        byte = os.read(0, 1)
        if not byte:
            return False
        line += byte
    return line.strip().replace(b" ", b"") == b'{"go":1}'


def close_standard_input() -> None:
    """Let whoever reads standard input meet its end at once."""
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
