"""multipart/form-data from the socket into the staging: part by part, bounded, nothing kept in memory.

A part that may not come is refused when its head is read, and one that grows too large as soon as it is: nobody
uploads a gigabyte to learn of a misspelt name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NoReturn

from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.http import parse_options_header
from werkzeug.sansio.multipart import Data, Epilogue, Event, Field, File, MultipartDecoder, NeedData

from controller.config import KIB
from controller.errors import InvalidRequest, TooLarge
from controller.web.body import CHUNK_BYTES, Body
from controller.workspace import Staging, disk_errors

HEAD_BYTES = 64 * KIB
"""The head of a part, or what stands around the parts, is cut off here: nothing that is meant is as long."""


@dataclass(frozen=True)
class Rule:
    """What a part may be. `limit_bytes` None: as much as the body may have; `text`: a text field will do."""

    file: str
    limit_bytes: int | None = None
    text: bool = False
    code: str | None = None


@dataclass(frozen=True)
class Part:
    """A part that was received; its bytes lie in the staging, in its rule's file."""

    file_name: str
    media_type: str


def receive_parts(
    body: Body, boundary: str, rules: Mapping[str, Rule], elsewhere: Mapping[str, str], staging: Staging
) -> dict[str, Part]:
    """Read the body to its end. InvalidRequest, TooLarge, StorageFull.

    `elsewhere`: names that have a meaning, though not as a part of this request, and what to say of them.
    """
    if not boundary.isascii() or not 0 < len(boundary) <= 200:
        raise InvalidRequest("the content type multipart/form-data needs a `boundary` of at most 200 ASCII characters")
    found: dict[str, Part] = {}
    events = _events(body, boundary.encode())
    for event in events:
        if isinstance(event, Field | File):
            rule = _rule(event, rules, elsewhere, found)
            file_name = event.filename if isinstance(event, File) else ""
            media_type = parse_options_header(event.headers.get("Content-Type"))[0].lower()
            found[event.name] = Part(file_name=file_name or "", media_type=media_type)
            _save(events, event.name, rule, staging)
    return found


def _rule(
    event: Field | File, rules: Mapping[str, Rule], elsewhere: Mapping[str, str], found: Mapping[str, Part]
) -> Rule:
    name = event.name
    if name is None:
        _refuse("body", "a part has no name: its Content-Disposition must say `form-data; name=...`")
    if name in elsewhere:
        _refuse(name, elsewhere[name])
    if name not in rules:
        _refuse(name[:100], f"unknown part; known are {', '.join(rules)}")
    if name in found:
        _refuse(name, "was sent twice")
    if isinstance(event, Field) and not rules[name].text:
        _refuse(name, "must be sent as a file, with a file name")
    if event.headers.get("Content-Transfer-Encoding", "binary").lower() not in ("binary", "8bit", "7bit"):
        _refuse(name, "a Content-Transfer-Encoding is not read: send the bytes as they are")
    return rules[name]


def _refuse(where: str, message: str) -> NoReturn:
    raise InvalidRequest(f"{where}: {message}", errors=[{"where": where, "message": message}])


def _save(events: Iterator[Event], name: str, rule: Rule, staging: Staging) -> None:
    size = 0
    with disk_errors(), staging.open(rule.file) as file:
        for event in events:
            if not isinstance(event, Data):
                continue
            size += len(event.data)
            if rule.limit_bytes is not None and size > rule.limit_bytes:
                detail = f"{name}: more than {rule.limit_bytes} bytes were sent, which is the limit"
                raise TooLarge(detail, code=rule.code, limit=rule.limit_bytes)
            file.write(event.data)
            if not event.more_data:
                return


def _events(body: Body, boundary: bytes) -> Iterator[Event]:
    """What the body says, in order. The decoder holds back no more than a chunk and a head."""
    decoder = MultipartDecoder(boundary, max_form_memory_size=CHUNK_BYTES + HEAD_BYTES)
    while True:
        data = body.read()
        try:
            decoder.receive_data(data or None)
            while not isinstance(event := decoder.next_event(), NeedData):
                yield event
                if isinstance(event, Epilogue):
                    return
        except RequestEntityTooLarge as e:
            raise InvalidRequest(
                f"the body is not well-formed multipart/form-data: more than {HEAD_BYTES} bytes stand before the "
                f"first boundary, after the last, or in the head of a part"
            ) from e
        except ValueError as e:
            why = str(e) if data else "it ends before its closing boundary"
            raise InvalidRequest(f"the body is not well-formed multipart/form-data: {why}") from e
