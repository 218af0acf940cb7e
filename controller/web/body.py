"""A request's body: read once from the front, counted, and never waited for without end.

Werkzeug's own stream is not used: it refuses a body of exactly the limit, and waits for ever for one that stalls.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from flask import Request
from gunicorn.http.errors import ParseException
from werkzeug.exceptions import BadRequest, ClientDisconnected, RequestTimeout

from controller.errors import TooLarge

JSON_ADVICE = "send tables as files, in a multipart/form-data body"
BODY_ADVICE = "send less data, or ask the operator for a larger max_body_bytes"
CHUNK_BYTES = 1 << 20
CHUNK_SECONDS = 120.0
"""For that much to arrive: who sends a byte now and then never stalls, and holds a thread all the same."""
STALL_SECONDS = 60.0
"""A client that sends nothing for so long has gone, or holds a thread of ours on purpose."""
DISCARD_SECONDS = 30.0
STRANGER_SECONDS = 2.0
"""For a client that has proved no key."""
_DISCARD_STALL_SECONDS = 5.0


class Deadlines:
    """Of reads that are under way, when each must be over. Thread-safe.

    gunicorn's reader goes on as long as a byte comes now and then, so somebody else has to end it: the server's
    main thread, which looks once a second.
    """

    def __init__(self) -> None:
        self._due: dict[Any, float] = {}

    @contextmanager
    def within(self, connection: Any, seconds: float) -> Iterator[Callable[[], bool]]:
        """Read in here; afterwards ask whether it was ended."""
        due = time.monotonic() + seconds
        if connection is not None:
            self._due[connection] = due
        try:
            yield lambda: time.monotonic() >= due
        finally:
            self._due.pop(connection, None)

    def end_late_reads(self) -> None:
        """The reader finds the end of the stream; the answer that says why can still be written."""
        for connection, due in list(self._due.items()):
            if due <= time.monotonic():
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RD)


DEADLINES = Deadlines()


class Body:
    """The reading end. `advice` tells the sender of a body over the limit what to do instead."""

    def __init__(self, request: Request, limit_bytes: int, advice: str) -> None:
        self._stream = request.environ["wsgi.input"]
        self._socket = request.environ.get("gunicorn.socket")
        self._limit = limit_bytes
        self._advice = advice
        self._count = 0
        self._whole = request.content_length
        if request.content_length is not None and request.content_length > limit_bytes:
            raise self._too_large(f"{request.content_length} bytes", request.content_length)

    def read(self, count: int = CHUNK_BYTES) -> bytes:
        """At most `count` bytes; none at the end. TooLarge; RequestTimeout, ClientDisconnected, BadRequest."""
        if self._count == self._whole:
            return b""
        _set_patience(self._socket, STALL_SECONDS)
        try:
            with DEADLINES.within(self._socket, CHUNK_SECONDS) as is_late:
                data: bytes = self._stream.read(count)
        except TimeoutError as e:
            raise RequestTimeout(f"nothing of the body arrived for {STALL_SECONDS:g} seconds") from e
        except OSError as e:
            if is_late():
                raise self._too_slow() from e
            raise ClientDisconnected from e
        except ParseException as e:
            if is_late():
                raise self._too_slow() from e
            raise BadRequest(f"the body's chunked transfer coding is malformed: {e}") from e
        finally:
            _set_patience(self._socket, None)
        if len(data) < count and is_late():
            raise self._too_slow()
        self._count += len(data)
        if self._count > self._limit:
            raise self._too_large(f"more than {self._limit} bytes", None)
        return data

    def read_all(self) -> bytes:
        """The whole body, which is as large as the limit at most."""
        parts = []
        while data := self.read():
            parts.append(data)
        return b"".join(parts)

    def _too_slow(self) -> RequestTimeout:
        return RequestTimeout(f"less than {CHUNK_BYTES} bytes of the body arrived in {CHUNK_SECONDS:g} seconds")

    def _too_large(self, has: str, value: int | None) -> TooLarge:
        detail = f"the body has {has}, the limit is {self._limit}: {self._advice}"
        return TooLarge(detail, limit=self._limit, value=value)


def expected(environ: dict[str, Any]) -> bool:
    """Does a body come with this request?"""
    return environ.get("CONTENT_LENGTH", "0") not in ("", "0") or "HTTP_TRANSFER_ENCODING" in environ


def discard(environ: dict[str, Any], seconds: float) -> None:
    """After a refusal: take in what the client still sends, for so long at most.

    Most clients send everything before they read. Were the connection closed on them, they would see a broken pipe
    and never the answer that says why.
    """
    stream, connection = environ["wsgi.input"], environ.get("gunicorn.socket")
    deadline = time.monotonic() + seconds
    _set_patience(connection, min(seconds, _DISCARD_STALL_SECONDS))
    try:
        with DEADLINES.within(connection, seconds):
            while time.monotonic() < deadline and stream.read(CHUNK_BYTES):
                pass
    except (OSError, ParseException):
        return  # the client is gone, or nobody can say where its next request would begin: gunicorn closes
    finally:
        _set_patience(connection, None)


def departure(environ: dict[str, Any]) -> Callable[[], bool]:
    """A question to ask while a request waits: has its client gone?"""
    connection = environ.get("gunicorn.socket")
    if connection is None:
        return lambda: False

    def is_gone() -> bool:
        try:
            return not connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False  # nothing to read, and nobody has hung up
        except OSError:
            return True

    return is_gone


def _set_patience(connection: Any, seconds: float | None) -> None:
    if connection is not None:
        connection.settimeout(seconds)
