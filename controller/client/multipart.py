"""A multipart/form-data body, streamed from disk: whatever its length, it costs one chunk of memory."""

from __future__ import annotations

import secrets
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from controller.client.errors import UnsendableFile

CHUNK_BYTES = 256 * 1024


@dataclass(frozen=True)
class Part:
    """One part of a form: text or JSON held in memory (bytes), or a file on disk (a path)."""

    name: str
    content: bytes | Path
    content_type: str
    file_name: str | None = None


class MultipartBody:
    """What `requests` needs to stream a form: an iterable of chunks that knows its whole length in bytes.

    The length is taken when the body is made and is kept to: a file that grows meanwhile is cut there, one
    that shrinks raises UnsendableFile, since the server has been promised more.
    """

    def __init__(self, parts: Sequence[Part]) -> None:
        self._boundary = f"airlock-{secrets.token_hex(16)}"
        self._pieces: list[tuple[bytes | Path, int]] = []
        for part in parts:
            head = self._head(part)
            self._pieces += [(head, len(head)), (part.content, _length(part.content)), (b"\r\n", 2)]
        end = f"--{self._boundary}--\r\n".encode("ascii")
        self._pieces.append((end, len(end)))

    @property
    def content_type(self) -> str:
        """The value for the request's Content-Type, with this body's boundary."""
        return f"multipart/form-data; boundary={self._boundary}"

    def __len__(self) -> int:
        return sum(length for _, length in self._pieces)

    def __iter__(self) -> Iterator[bytes]:
        for content, length in self._pieces:
            if isinstance(content, bytes):
                yield content
            else:
                yield from _file_chunks(content, length)

    def _head(self, part: Part) -> bytes:
        disposition = f'form-data; name="{_quoted(part.name)}"'
        if part.file_name is not None:
            disposition += f'; filename="{_quoted(part.file_name)}"'
        lines = (
            f"--{self._boundary}",
            f"Content-Disposition: {disposition}",
            f"Content-Type: {part.content_type}",
            "\r\n",
        )
        return "\r\n".join(lines).encode("utf-8", "replace")


def _quoted(name: str) -> str:
    """A name for a quoted header value: the three characters that would end it early, as browsers do it."""
    return name.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")


def _length(content: bytes | Path) -> int:
    if isinstance(content, bytes):
        return len(content)
    try:
        status = content.stat()
    except OSError as error:
        raise UnsendableFile(f"{content}: {error.strerror}") from error
    if not stat.S_ISREG(status.st_mode):
        raise UnsendableFile(f"{content}: not a regular file; its length must be known before it is sent")
    return status.st_size


def _file_chunks(path: Path, length: int) -> Iterator[bytes]:
    left = length
    try:
        with path.open("rb") as file:
            while left and (chunk := file.read(min(CHUNK_BYTES, left))):
                left -= len(chunk)
                yield chunk
    except OSError as error:
        raise UnsendableFile(f"{path}: {error.strerror}") from error
    if left:
        raise UnsendableFile(f"{path}: became {left} bytes shorter while it was being sent")
