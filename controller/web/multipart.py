"""Cuts multipart/form-data (RFC 7578, RFC 2046 5.1) into heads and data while it arrives.

Werkzeug has a decoder too. It is not used, because what it gives depends on where the network cut the stream: when
a piece ends inside the line of a boundary, it adds a byte to the file before it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from werkzeug.http import parse_options_header

from controller.config import KIB

HEAD_BYTES = 16 * KIB
"""The head of a part, and what stands before the first boundary or after the last, may be as long."""
_PADDING_BYTES = 256
_LINE, _BLANK = b"\r\n", b"\r\n\r\n"


@dataclass(frozen=True)
class Head:
    """What a part says of itself. `file_name` is None for a text field; `encoding` is its transfer encoding."""

    name: str | None
    file_name: str | None
    media_type: str
    encoding: str


def split(read: Callable[[], bytes], boundary: bytes) -> Iterator[Head | bytes]:
    """Yield each part's Head, then its data in pieces. `read` gives the next piece of the body, none at its end.

    ValueError, saying what is wrong, when it is not well-formed. No more than a piece and a head is held.
    """
    delimiter = _LINE + b"--" + boundary
    window = _Window(read)
    window.until(delimiter, HEAD_BYTES, "before the first boundary")
    while not _is_last(window):
        yield _head(window.until(_BLANK, HEAD_BYTES, "in the head of a part").decode())
        while (at := window.data.find(delimiter)) < 0:
            yield window.take(len(window.data) - len(delimiter) + 1)
            window.more()
        yield window.take(at)
        window.take(len(delimiter))
    rest = len(window.data)
    while piece := read():
        rest += len(piece)
        if rest > HEAD_BYTES:
            raise ValueError(f"more than {HEAD_BYTES} bytes stand after the last boundary")


class _Window:
    """The part of the body that is looked at. It begins with a line break, which the first boundary may lack."""

    def __init__(self, read: Callable[[], bytes]) -> None:
        self._read = read
        self.data = bytearray(_LINE)

    def more(self) -> None:
        piece = self._read()
        if not piece:
            raise ValueError("it ends before its closing boundary")
        self.data += piece

    def take(self, count: int) -> bytes:
        """Remove and return so many bytes; none for a count below 1."""
        taken = bytes(self.data[: max(0, count)])
        del self.data[: len(taken)]
        return taken

    def until(self, mark: bytes, limit: int, where: str) -> bytes:
        """Remove everything to the mark, with it; return what stood before it."""
        seen = 0
        while (at := self.data.find(mark, seen)) < 0 and len(self.data) <= limit:
            seen = max(0, len(self.data) - len(mark) + 1)
            self.more()
        if not 0 <= at <= limit:
            raise ValueError(f"more than {limit} bytes stand {where}")
        found = self.take(at)
        self.take(len(mark))
        return found


def _is_last(window: _Window) -> bool:
    """Look at what follows a boundary on its line. The line break stays: it belongs to an empty head as well."""
    while len(window.data) < len(b"--"):
        window.more()
    if window.data.startswith(b"--"):
        return True
    padding = window.until(_LINE, _PADDING_BYTES, "behind a boundary, on its line")
    if padding.strip(b" \t"):
        raise ValueError("something stands behind a boundary, on its line")
    window.data[:0] = _LINE
    return False


def _head(text: str) -> Head:
    fields: dict[str, str] = {}
    for line in text.replace("\r\n ", " ").replace("\r\n\t", " ").split("\r\n"):
        name, _, value = line.partition(":")
        if fields.setdefault(name.strip().lower(), value.strip()) != value.strip():
            raise ValueError(f"{name.strip()[:100]} stands twice in the head of a part")
    if "content-disposition" not in fields:
        raise ValueError("a part has no Content-Disposition")
    _, parameters = parse_options_header(fields["content-disposition"])
    return Head(
        name=parameters.get("name"),
        file_name=parameters.get("filename"),
        media_type=parse_options_header(fields.get("content-type"))[0].lower(),
        encoding=fields.get("content-transfer-encoding", "binary").lower(),
    )
