"""Docker's attach stream: one socket that carries a container's stdin, stdout and stderr."""

from __future__ import annotations

import select
import socket
import struct
from collections.abc import Iterator

from controller.engines.cgroup import Alarm

_HEADER = struct.Struct(">BxxxL")
_CHUNK = 1 << 16


class Demultiplexer:
    """Cuts the stream back into its parts; frames may arrive in pieces of any size."""

    def __init__(self) -> None:
        self._head = b""
        self._stream = 0
        self._left = 0

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """Yield (stream, bytes) as far as they are known; a frame may come out in several parts."""
        view = memoryview(data)
        while view:
            if self._left == 0:
                missing = _HEADER.size - len(self._head)
                self._head += bytes(view[:missing])
                view = view[missing:]
                if len(self._head) < _HEADER.size:
                    return
                self._stream, self._left = _HEADER.unpack(self._head)
                self._head = b""
                continue
            part, view = view[: self._left], view[self._left :]
            self._left -= len(part)
            yield self._stream, bytes(part)


class Attachment:
    """The controller's end of the stream, made before the container starts so that no byte is missed."""

    def __init__(self, response_socket: object) -> None:
        # docker-py hands out a SocketIO over the real socket, depending on the transport.
        self._owner = response_socket
        inner = getattr(response_socket, "_sock", response_socket)
        if not isinstance(inner, socket.socket):
            raise TypeError(f"cannot attach over {type(inner).__name__}: use a Unix or plain TCP socket for Docker")
        self._socket = inner
        self.alarm: Alarm | None = None
        """What makes `read` come back early, with nothing."""
        self._demultiplexer = Demultiplexer()

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def read(self, timeout_seconds: float) -> list[tuple[int, bytes]] | None:
        """What arrives within the time (it may be nothing: []), or None when the stream has ended."""
        # poll, not select: that one fails for descriptors above 1023, which a busy server has.
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        if self.alarm is not None:
            self.alarm.enlist(poll)
        ready = [fd for fd, _ in poll.poll(max(0.0, timeout_seconds) * 1000)]
        if self._socket.fileno() not in ready:
            return []
        data = self._socket.recv(_CHUNK)
        return list(self._demultiplexer.feed(data)) if data else None

    def close(self) -> None:
        for end in (self._owner, self._socket):
            close = getattr(end, "close", None)
            if close is not None:
                close()
