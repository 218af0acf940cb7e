"""What the web tests share: bodies written by hand, sockets driven by hand, and the form of a refusal."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from email.parser import BytesParser
from typing import Any, NamedTuple

SCRIPT = b"def azureml_main(dataframe1=None, dataframe2=None):\n    return dataframe1\n"
SLEEPER = "import time\ndef azureml_main(a=None, b=None):\n    time.sleep(60)\n"
BOUNDARY = "----boundary-7d1f"
JSON = "application/json"
MULTIPART = f"multipart/form-data; boundary={BOUNDARY}"
INVALID = (422, "invalid_request")
SECURITY_HEADERS = (
    "X-Content-Type-Options",
    "X-Frame-Options",
    "Referrer-Policy",
    "Content-Security-Policy",
    "Cross-Origin-Resource-Policy",
    "Cache-Control",
)


class Part(NamedTuple):
    """One part of a multipart body; a file when it has a file name, a text field when it has none."""

    name: str
    data: bytes
    file_name: str | None = None
    content_type: str | None = None
    head: str = ""


SCRIPT_PART = Part("script", SCRIPT, "script.py")


def part_head(part: Part) -> bytes:
    """The boundary and the header lines of a part."""
    file_name = "" if part.file_name is None else f'; filename="{part.file_name}"'
    content_type = "" if part.content_type is None else f"Content-Type: {part.content_type}\r\n"
    disposition = f'Content-Disposition: form-data; name="{part.name}"{file_name}\r\n'
    return f"--{BOUNDARY}\r\n{disposition}{content_type}{part.head}\r\n".encode()


def multipart(*parts: Part) -> bytes:
    """The body of these parts, to be sent with the content type MULTIPART."""
    return b"".join(part_head(part) + part.data + b"\r\n" for part in parts) + f"--{BOUNDARY}--\r\n".encode()


def options_part(text: str) -> bytes:
    """A multipart body with a script and this text as its options."""
    return multipart(SCRIPT_PART, Part("options", text.encode()))


def json_body(**fields: Any) -> bytes:
    """A JSON body with a script and these fields."""
    return json.dumps({"script": SCRIPT.decode()} | fields).encode()


def script_of(size: int) -> bytes:
    """A script of exactly this many bytes."""
    return SCRIPT + b"#" * (size - len(SCRIPT))


def refused(answer: Any, status: int, code: str, *words: str) -> dict[str, Any]:
    """Assert that this is a whole problem document with this status and code, whose detail has these words."""
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    problem: dict[str, Any] = json.loads(answer.content)
    assert problem["code"] == code, problem
    assert problem["status"] == status
    assert problem["type"] == f"urn:airlock:error:{code}"
    assert problem["title"]
    assert problem["instance"] == answer.headers["X-Request-Id"] != ""
    said = json.dumps(problem, ensure_ascii=False).lower()
    missing = [word for word in words if word.lower() not in said]
    assert not missing, f"{missing} are not in {problem}"
    return problem


def well_formed(answer: Any) -> None:
    """Assert what every answer has in common, whatever it says."""
    assert answer.status_code != 500, answer.text
    assert answer.headers["X-Request-Id"].startswith("req_")
    assert [name for name in SECURITY_HEADERS if name not in answer.headers] == []
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


@dataclass
class Answer:
    """An answer read from a bare socket, with the names that `requests` gives its fields."""

    status_code: int
    headers: Any
    content: bytes

    @property
    def text(self) -> str:
        return self.content.decode(errors="replace")


class Wire:
    """One TCP connection to a server, on which a test sends exactly the bytes that it wants to."""

    def __init__(self, server: Any, timeout: float = 60) -> None:
        host, _, port = server.url.removeprefix("http://").partition(":")
        self.socket = socket.create_connection((host, int(port)), timeout)
        self._file = self.socket.makefile("rb")

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._file.close()
        self.socket.close()

    def send_head(self, server: Any, method: str, path: str, **headers: str) -> None:
        """The request line and headers; an underscore in a header's name stands for a hyphen."""
        lines = [f"{method} {path} HTTP/1.1", "Host: test"]
        fields = {"Authorization": f"Bearer {server.key}"} | headers
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in fields.items()]
        self.socket.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())

    def send_body(self, data: bytes | Iterable[bytes]) -> None:
        for piece in (data,) if isinstance(data, bytes) else data:
            self.socket.sendall(piece)

    def send_chunks(self, pieces: Iterable[bytes]) -> None:
        """In the chunked transfer coding, with its end."""
        for piece in pieces:
            self.socket.sendall(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
        self.socket.sendall(b"0\r\n\r\n")

    def answer(self) -> Answer:
        """The next answer on this connection; its length must be told."""
        status = int(self._file.readline().split()[1])
        head = b""
        while (line := self._file.readline()) not in (b"\r\n", b""):
            head += line
        headers = BytesParser().parsebytes(head)
        return Answer(status, headers, self._file.read(int(headers["Content-Length"])))
