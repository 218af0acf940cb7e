"""A run's log on disk: what the script wrote to stdout and stderr, in order, told apart, and bounded.

The file is a row of frames: one byte (what it is), four bytes of length (big endian), the bytes. The first half of the
limit is written as it comes, so that readers can follow; the last half is kept in memory and written at the end, after
a remark that says how much was cut between them.

Each attempt of a run writes a log of its own in the place of the one before. Its number is the first frame: so a place
in a log, an attempt and an offset, means the same bytes for ever.
"""

from __future__ import annotations

import codecs
import os
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

REMARK, STDOUT, STDERR, BEGUN, END = range(5)
"""A frame: a remark of the controller, what the script wrote to one stream, the attempt that begins (the first frame),
the stream (0 to 2, in one byte) on which nothing more comes."""
_HEADER = struct.Struct(">BL")
_JOIN_BYTES = 4096
_ENDS = b"".join(_HEADER.pack(END, 1) + bytes([stream]) for stream in (REMARK, STDOUT, STDERR))


class RunLog:
    """The writing end; one thread. A disk that fails loses the log, never the run.

    `grown` is called whenever readers find more in the file.
    """

    def __init__(self, path: Path, limit_bytes: int, attempt: int, grown: Callable[[], None]) -> None:
        new = f"{path}.new"
        self._fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        self._grown = grown
        self._head_left = limit_bytes - limit_bytes // 2
        self._tail_limit = limit_bytes // 2
        self._tail = bytearray()
        self._tail_bytes = 0
        self._last = (END, 0)
        self._cut = 0
        self.bytes = 0
        self.broken = False
        self._put(BEGUN, b"%d" % attempt)
        os.replace(new, path)  # another file: whoever reads the earlier attempt's reads that one to its end
        grown()

    @property
    def truncated(self) -> bool:
        return self._cut > 0 or self.broken

    def write(self, stream: int, data: bytes) -> None:
        """Take what the script wrote to stdout or stderr; keeps only what the limit allows."""
        self.bytes += len(data)
        head, rest = data[: self._head_left], data[self._head_left :]
        if head:
            self._head_left -= len(head)
            self._put(stream, head)
            self._grown()
        if rest:
            self._keep(stream, rest)

    def _keep(self, stream: int, data: bytes) -> None:
        # Frames already, one behind the other: a script that prints byte by byte, to one stream or to both in turn,
        # must not cost an object for each. Of one stream, small writes are joined.
        last, size = self._last
        if last == stream and size < _JOIN_BYTES:
            _HEADER.pack_into(self._tail, len(self._tail) - size - _HEADER.size, stream, size + len(data))
        else:
            size = 0
            self._tail += _HEADER.pack(stream, len(data))
        self._tail += data
        self._last = stream, size + len(data)
        self._tail_bytes += len(data)
        while (surplus := self._tail_bytes - self._tail_limit) > 0:
            self._drop(surplus)

    def _drop(self, surplus: int) -> None:
        """At most so many of the oldest bytes: of the first frame, or all of it."""
        stream, size = _HEADER.unpack_from(self._tail)
        dropped = min(surplus, size)
        if dropped == size:
            del self._tail[: _HEADER.size + size]
        else:
            _HEADER.pack_into(self._tail, dropped, stream, size - dropped)
            del self._tail[:dropped]
        if len(self._tail) < _HEADER.size + self._last[1]:  # it was the last one, too
            self._last = (stream, size - dropped) if self._tail else (END, 0)
        self._tail_bytes -= dropped
        self._cut += dropped

    def close(self) -> None:
        """Write the tail. After this the file is complete."""
        if self._cut:
            self._put(REMARK, f"\n[airlock: {self._cut} bytes of the log were cut here]\n".encode())
        self._write(self._tail + _ENDS)
        self._tail.clear()
        os.close(self._fd)
        self._grown()

    def _put(self, stream: int, data: bytes) -> None:
        self._write(_HEADER.pack(stream, len(data)) + data)

    def _write(self, frames: bytes | bytearray) -> None:
        if self.broken:
            return
        try:
            while frames:
                frames = frames[os.write(self._fd, frames) :]
        except OSError:
            self.broken = True


def read_text(path: Path) -> Iterator[str]:
    """A log in pieces, as UTF-8, whatever the script printed: each stream by itself, as a character may be cut by what
    the other one says."""
    decoders: dict[int, codecs.IncrementalDecoder] = {}
    for stream, data in read_frames(path):
        if stream not in decoders:
            decoders[stream] = codecs.getincrementaldecoder("utf-8")("replace")
        yield decoders[stream].decode(data)
    for stream in sorted(decoders):
        yield decoders[stream].decode(b"", final=True)


@dataclass(frozen=True)
class Position:
    """A place in the log of a run, after a frame. Offset 0 is the beginning of any attempt's."""

    attempt: int
    offset: int

    def __str__(self) -> str:
        return f"{self.attempt}-{self.offset}"


START = Position(0, 0)


@dataclass(frozen=True)
class Piece:
    """A frame as its reader meets it; `position` is after it. BEGUN: what was read before is another attempt's.

    `seen`: it lies before the place from which the reader wants to go on.
    """

    stream: int
    data: bytes
    position: Position
    seen: bool = False


class LogReader:
    """The reading end. It goes on where it was, also in the log of another attempt, which it reads from the start.

    With `after` it goes on where an earlier reader was: what lies before is read again, and marked as seen. A place
    that is none in this log counts as one in an earlier attempt's.
    """

    def __init__(self, path: Path, after: Position = START) -> None:
        self._path = path
        self._after = after
        self.position = START

    @property
    def place(self) -> Position:
        """Where a later reader goes on: at what was read, or where this one wanted to begin."""
        return self.position if self.position.offset or not self._after.offset else self._after

    def is_behind(self) -> bool:
        """Whether there seems to be more. Costs next to nothing."""
        try:
            return os.stat(self._path).st_size != self.position.offset
        except FileNotFoundError:
            return False

    def read(self) -> Iterator[Piece]:
        """What has come since the last time; nothing when there is no log."""
        try:
            file = self._path.open("rb")
        except FileNotFoundError:
            return
        with file:
            attempt = _attempt(file)
            if attempt != self.position.attempt or self.position.offset == 0:
                yield from self._begin(file, attempt)
            file.seek(self.position.offset)
            for stream, data, end in _frames(file, self.position.offset):
                if stream == BEGUN:
                    continue
                self.position = Position(attempt, end)
                yield Piece(stream, data, self.position, end <= self._after.offset)

    def _begin(self, file: BinaryIO, attempt: int) -> Iterator[Piece]:
        """Go to the start of this attempt's log; say so, if the reader knows something that is not in it."""
        wanted = self.place
        self.position = Position(attempt, 0)
        if wanted.offset and not (wanted.attempt == attempt and _is_place(file, wanted.offset)):
            self._after = START
            yield Piece(BEGUN, b"", self.position)


def _attempt(file: BinaryIO) -> int:
    """Which attempt's log this is; 0 when the disk was too full to say."""
    for stream, data, _ in _frames(file, 0):
        return int(data) if stream == BEGUN else 0
    return 0


def _is_place(file: BinaryIO, offset: int) -> bool:
    """Whether a frame ends here."""
    file.seek(0)
    ends = (end for _, _, end in _frames(file, 0) if end >= offset)
    return next(ends, None) == offset


def read_frames(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield (stream, bytes) of everything that was written so far; a missing file has nothing."""
    for piece in LogReader(path).read():
        if piece.stream in (REMARK, STDOUT, STDERR):
            yield piece.stream, piece.data


def _frames(file: BinaryIO, offset: int) -> Iterator[tuple[int, bytes, int]]:
    """Yield (what it is, bytes, offset after it) for every whole frame from here on, which is at `offset`."""
    while len(header := file.read(_HEADER.size)) == _HEADER.size:
        stream, length = _HEADER.unpack(header)
        data = file.read(length)
        if len(data) < length:
            return
        offset += _HEADER.size + length
        yield stream, data, offset
