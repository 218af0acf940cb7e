"""A run's log on disk: what the script wrote to stdout and stderr, in order, told apart, and bounded.

The file is a row of frames: one byte (1 stdout, 2 stderr, 0 a remark of the controller), four bytes of length (big
endian), the bytes. The first half of the limit is written as it comes, so that readers can follow; the last half is
kept in memory and written at the end, after a remark that says how much was cut between them.
"""

from __future__ import annotations

import os
import struct
from collections import deque
from collections.abc import Iterator
from pathlib import Path

REMARK, STDOUT, STDERR = 0, 1, 2
_HEADER = struct.Struct(">BL")
_JOIN_BYTES = 4096


class RunLog:
    """The writing end; one thread. A disk that fails loses the log, never the run."""

    def __init__(self, path: Path, limit_bytes: int) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        self._head_left = limit_bytes - limit_bytes // 2
        self._tail_limit = limit_bytes // 2
        self._tail: deque[tuple[int, bytearray]] = deque()
        self._tail_bytes = 0
        self._cut = 0
        self.bytes = 0
        self.broken = False

    @property
    def truncated(self) -> bool:
        return self._cut > 0 or self.broken

    def write(self, stream: int, data: bytes) -> None:
        """Take what the script wrote; keeps only what the limit allows."""
        self.bytes += len(data)
        head, rest = data[: self._head_left], data[self._head_left :]
        if head:
            self._head_left -= len(head)
            self._put(stream, head)
        if rest:
            self._keep(stream, rest)

    def _keep(self, stream: int, data: bytes) -> None:
        # Small writes are joined: a script that prints byte by byte must not cost an object for each.
        if self._tail and self._tail[-1][0] == stream and len(self._tail[-1][1]) < _JOIN_BYTES:
            self._tail[-1][1].extend(data)
        else:
            self._tail.append((stream, bytearray(data)))
        self._tail_bytes += len(data)
        while (surplus := self._tail_bytes - self._tail_limit) > 0:
            oldest = self._tail[0][1]
            dropped = min(surplus, len(oldest))
            if dropped == len(oldest):
                self._tail.popleft()
            else:
                del oldest[:dropped]
            self._tail_bytes -= dropped
            self._cut += dropped

    def close(self) -> None:
        """Write the tail. After this the file is complete."""
        if self._cut:
            self._put(REMARK, f"\n[airlock: {self._cut} bytes of the log were cut here]\n".encode())
        for stream, data in self._tail:
            self._put(stream, data)
        self._tail.clear()
        os.close(self._fd)

    def _put(self, stream: int, data: bytes | bytearray) -> None:
        if self.broken:
            return
        try:
            frame = _HEADER.pack(stream, len(data)) + data
            while frame:
                frame = frame[os.write(self._fd, frame) :]
        except OSError:
            self.broken = True


def read_frames(path: Path, offset: int = 0) -> Iterator[tuple[int, bytes, int]]:
    """Yield (stream, bytes, offset after it) for every whole frame from `offset` on; a missing file has none."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return
    with file:
        file.seek(offset)
        while True:
            header = file.read(_HEADER.size)
            if len(header) < _HEADER.size:
                return
            stream, length = _HEADER.unpack(header)
            data = file.read(length)
            if len(data) < length:
                return
            offset += _HEADER.size + length
            yield stream, data, offset
