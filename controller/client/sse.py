"""Server-sent events (the WHATWG event stream), parsed from chunks of bytes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Event:
    """One event: its name ("message" when the server gave none), its data lines, joined, and the last id given."""

    name: str
    data: str
    id: str = ""


def parse_events(chunks: Iterable[bytes]) -> Iterator[Event]:
    """Each complete event, as soon as its closing blank line has arrived.

    Lines end in LF or CRLF. Comments (keep-alives) and retry times are skipped; an event that is cut off by the
    end of the stream is dropped, as the standard wants it.
    """
    name, last_id, data = "", "", list[str]()
    for line in _lines(chunks):
        if not line:
            if data:
                yield Event(name or "message", "\n".join(data), last_id)
            name, data = "", []
            continue
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "event":
            name = value
        elif field == "data":
            data.append(value)
        elif field == "id":
            last_id = value


def _lines(chunks: Iterable[bytes]) -> Iterator[str]:
    rest = bytearray()
    for chunk in chunks:
        *lines, begun = chunk.split(b"\n")  # a line may be long, and arrive byte by byte
        for line in lines:
            rest += line
            yield rest.removesuffix(b"\r").decode("utf-8", "replace")
            rest.clear()
        rest += begun
