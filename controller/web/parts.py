"""The parts of a multipart body, from the socket into the staging: each bounded, nothing kept in memory.

A part that may not come is refused when its head is read, and one that grows too large as soon as it is: nobody
uploads a gigabyte to learn of a misspelt name.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import NoReturn

from controller.config import KIB
from controller.errors import InvalidRequest, TooLarge
from controller.web.body import Body
from controller.web.multipart import Head, split
from controller.workspace import Staging, disk_errors


@dataclass(frozen=True)
class Rule:
    """What a part may be. `limit_bytes` None: as much as the body may have; `text`: a text field will do;
    `reference`: instead of a file, JSON that says where one is; `hashed`: its SHA-256 is wanted."""

    file: str
    limit_bytes: int | None = None
    text: bool = False
    code: str | None = None
    reference: bool = False
    hashed: bool = False


@dataclass(frozen=True)
class Part:
    """A part that was received; its bytes lie in the staging, in its rule's file."""

    file_name: str
    media_type: str
    is_reference: bool = False
    bytes: int = 0
    sha256: str = ""
    """Where the rule asks for it."""


REFERENCE_BYTES = 4 * KIB
_REFERENCE_TYPE = "application/json"
_OR_REFERENCE = f"; or without one as {_REFERENCE_TYPE}, when it names a dataset"


def receive_parts(
    body: Body, boundary: str, rules: Mapping[str, Rule], elsewhere: Mapping[str, str], staging: Staging
) -> dict[str, Part]:
    """Read the body to its end. InvalidRequest, TooLarge, StorageFull.

    `elsewhere`: names that have a meaning, though not as a part of this request, and what to say of them.
    """
    if not boundary.isascii() or not 0 < len(boundary) <= 200:
        raise InvalidRequest("the content type multipart/form-data needs a `boundary` of at most 200 ASCII characters")
    found: dict[str, Part] = {}
    pieces = _pieces(body, boundary.encode())
    piece = next(pieces, None)
    while isinstance(piece, Head):
        name = _permitted(piece, rules, elsewhere, found)
        rule = rules[name]
        is_reference = rule.reference and piece.file_name is None
        if is_reference:
            rule = replace(rule, limit_bytes=REFERENCE_BYTES)
        head, digest = piece, hashlib.sha256() if rule.hashed else None
        piece, size = _save(pieces, name, rule, staging, digest)
        found[name] = Part(
            file_name=head.file_name or "",
            media_type=head.media_type,
            is_reference=is_reference,
            bytes=size,
            sha256=digest.hexdigest() if digest else "",
        )
    return found


def _pieces(body: Body, boundary: bytes) -> Iterator[Head | bytes]:
    try:
        yield from split(body.read, boundary)
    except ValueError as e:
        raise InvalidRequest(f"the body is not well-formed multipart/form-data: {e}") from e


def _permitted(head: Head, rules: Mapping[str, Rule], elsewhere: Mapping[str, str], found: Mapping[str, Part]) -> str:
    name = head.name
    if name is None:
        _refuse("body", "a part has no name: its Content-Disposition must say `form-data; name=...`")
    if name in elsewhere:
        _refuse(name, elsewhere[name])
    if name not in rules:
        _refuse(name[:100], f"unknown part; known are {', '.join(rules)}")
    if name in found:
        _refuse(name, "was sent twice")
    rule = rules[name]
    if head.file_name is None and not rule.text and not (rule.reference and head.media_type == _REFERENCE_TYPE):
        _refuse(name, "must be sent as a file, with a file name" + (_OR_REFERENCE if rule.reference else ""))
    if head.encoding not in ("binary", "8bit", "7bit"):
        _refuse(name, "a Content-Transfer-Encoding is not read: send the bytes as they are")
    return name


def _refuse(where: str, message: str) -> NoReturn:
    raise InvalidRequest(f"{where}: {message}", errors=[{"where": where, "message": message}])


def _save(
    pieces: Iterator[Head | bytes], name: str, rule: Rule, staging: Staging, digest: hashlib._Hash | None
) -> tuple[Head | None, int]:
    """Write a part's data; return the head of the next one, and the bytes of this one."""
    size = 0
    with disk_errors():
        file = staging.open(rule.file)
        for piece in pieces:
            if isinstance(piece, Head):
                return piece, size
            size += len(piece)
            if rule.limit_bytes is not None and size > rule.limit_bytes:
                detail = f"{name}: more than {rule.limit_bytes} bytes were sent, which is the limit"
                raise TooLarge(detail, code=rule.code, limit=rule.limit_bytes)
            file.write(piece)
            if digest is not None:
                digest.update(piece)
    return None, size
