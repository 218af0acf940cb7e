"""The log: descriptors 1 and 2, which the script shares with its children and its C libraries."""

import ctypes
import io
import os
import sys

GO_LINE_BYTES = 4096


class Console:
    """Standard output and error of a job.

    Prints appear at once, as UTF-8; what the encoding cannot hold is written as an escape.  The runner's
    own lines go through a copy of descriptor 2, so that they still appear when the script has closed it.
    """

    def __init__(self) -> None:
        self._streams = [stream for stream in (sys.stdout, sys.stderr) if isinstance(stream, io.TextIOWrapper)]
        for stream in self._streams:
            stream.reconfigure(encoding="utf-8", errors="backslashreplace", line_buffering=True)
        self._log = os.dup(2)

    def say(self, text: str) -> None:
        """Write text to the log; a log that nobody can write to any more is no reason to fail."""
        data = memoryview(text.encode("utf-8", "replace"))
        try:
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
