"""A real HTTP server for tests of the client: it says what a test tells it to, right or wrong."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = Callable[["Exchange"], None]


class Exchange(BaseHTTPRequestHandler):
    """One request and the means to answer it."""

    protocol_version = "HTTP/1.1"
    server: Server

    def _handle(self) -> None:
        path = self.path.partition("?")[0]
        answer = self.server.answers.get((self.command, path))
        self.server.seen.append((self.command, self.path, dict(self.headers)))
        if answer is None:
            self.say(404, {"code": "not_found", "detail": f"no {path}"}, "application/problem+json")
        else:
            answer(self)

    do_GET = do_POST = do_DELETE = _handle  # noqa: N815 - the names that http.server looks for

    def body(self) -> bytes:
        """The request's whole body."""
        return self.rfile.read(int(self.headers["Content-Length"]))

    def say(self, status: int, content: Any, kind: str = "application/json", **headers: str) -> None:
        """Answer with JSON, or with bytes as they are."""
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(data)

    def stream(self, pieces: Iterator[bytes] | list[bytes], kind: str = "text/event-stream") -> None:
        """Answer in chunks, each sent at once."""
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for piece in pieces:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, format: str, *args: object) -> None:
        """Nothing on the test's standard error."""


@dataclass
class Server(ThreadingHTTPServer):
    """The server, its answers by (method, path), and the requests that it saw."""

    answers: dict[tuple[str, str], Answer] = field(default_factory=dict)
    seen: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Exchange)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is part of some tests."""


def event(name: str, data: Any) -> bytes:
    """One server-sent event, as the API writes it."""
    return f"event: {name}\ndata: {json.dumps(data)}\n\n".encode()


@contextlib.contextmanager
def serving() -> Iterator[Server]:
    """A running server on a free port."""
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
