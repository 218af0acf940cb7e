"""The user's terminal: two streams, a progress line, and text that cannot take the terminal over.

What a script prints is shown while it runs. A terminal obeys control characters in it: they could retitle the
window, rewrite what stands above, or hide what follows. So they are shown as escapes there; a pipe or a file
gets the text as it is.
"""

from __future__ import annotations

import contextlib
import io
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Literal, TextIO

# C0 but tab and newline, DEL, C1; then the characters that reorder text for the eye; then lone surrogates.
_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_ERASE_LINE = "\r\x1b[K"
_TICK_SECONDS = 0.5

StreamName = Literal["stdout", "stderr"]


def safe_text(text: str) -> str:
    """The text with every character that a terminal could obey written as an escape, like \\x1b."""
    return _UNSAFE.sub(_escape, text.replace("\r\n", "\n"))


def size(count: float) -> str:
    """A number of bytes for people: 512 B, 1.5 KiB, 20 MiB."""
    units = ["B", "KiB", "MiB", "GiB"]
    while count >= 1024 and len(units) > 1:
        count /= 1024
        units.pop(0)
    return f"{count:.1f} {units[0]}" if count < 10 and units[0] != "B" else f"{count:.0f} {units[0]}"


def _escape(match: re.Match[str]) -> str:
    number = ord(match[0])
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}"


class Screen:
    """Standard output and error; on a terminal also a progress line that makes room for what is written."""

    def __init__(self, out: TextIO | None = None, err: TextIO | None = None) -> None:
        self._streams: dict[StreamName, TextIO] = {"stdout": out or sys.stdout, "stderr": err or sys.stderr}
        for stream in self._streams.values():
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")  # a latin-1 terminal must not end the run
        self._lock = threading.Lock()
        self._pending: dict[StreamName, str] = {"stdout": "", "stderr": ""}
        self._at_line_start = True
        self._drawn = False

    def is_terminal(self, name: StreamName) -> bool:
        """Whether that stream is a terminal."""
        return self._streams[name].isatty()

    def script_text(self, name: StreamName, text: str) -> None:
        """Write a piece of a script's log, made harmless when it goes to a terminal."""
        if self.is_terminal(name):
            text = self._pending[name] + text
            self._pending[name] = "\r" if text.endswith("\r") else ""  # its "\n" may come with the next piece
            text = safe_text(text.removesuffix(self._pending[name]))
        self._write(name, text)

    def end_script_text(self) -> None:
        """The log is over: write what was held back, and begin a new line if a terminal's is not finished."""
        for name in self._streams:
            pending, self._pending[name] = self._pending[name], ""
            self._write(name, safe_text(pending))
        if not self._at_line_start:
            self._write("stderr", "\n")

    def line(self, text: str = "", name: StreamName = "stdout") -> None:
        """Write a line of ours; anything in it that others made must have gone through safe_text()."""
        self._write(name, text + "\n")

    @contextlib.contextmanager
    def progress(self, label: str | Callable[[], str]) -> Iterator[None]:
        """Show `label`, or what it says by then, and the seconds that pass, on standard error, if that is a terminal.
        """
        if not self.is_terminal("stderr"):
            yield
            return
        stop = threading.Event()
        thread = threading.Thread(target=self._tick, args=(label, stop), name="progress", daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
            with self._lock:
                self._erase()

    def _tick(self, label: str | Callable[[], str], stop: threading.Event) -> None:
        start = time.monotonic()
        while not stop.wait(_TICK_SECONDS):
            with self._lock:
                if self._at_line_start:
                    err = self._streams["stderr"]
                    said = label if isinstance(label, str) else label()
                    err.write(f"{_ERASE_LINE}{said} {time.monotonic() - start:.0f} s")
                    err.flush()
                    self._drawn = True

    def _write(self, name: StreamName, text: str) -> None:
        if not text:
            return
        with self._lock:
            self._erase()
            stream = self._streams[name]
            stream.write(text)
            stream.flush()
            if stream.isatty():
                self._at_line_start = text.endswith("\n")

    def _erase(self) -> None:
        if self._drawn:
            err = self._streams["stderr"]
            err.write(_ERASE_LINE)
            err.flush()
            self._drawn = False
