"""The text of keys: `<prefix>_<key id>_<secret>_<checksum>`. The key id finds the row, the MAC in it proves the secret,
and the checksum tells a mistyped key from a wrong one without asking the database."""

from __future__ import annotations

import hmac
import re
import secrets
import zlib
from typing import NamedTuple

_ID = "abcdefghijklmnopqrstuvwxyz0123456789"
_ALPHABET = _ID + "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_FORM = re.compile(r"([a-z]{3})_([a-z0-9]{16})_([A-Za-z0-9]{43})_([0-9a-f]{8})")


class Minted(NamedTuple):
    """A new key. `text` is shown once and kept nowhere."""

    id: str
    text: str
    mac: str


def mint(prefix: str, pepper: bytes) -> Minted:
    """A key with 256 random bits."""
    key_id = "".join(secrets.choice(_ID) for _ in range(16))
    secret = "".join(secrets.choice(_ALPHABET) for _ in range(43))
    body = f"{prefix}_{key_id}_{secret}"
    return Minted(key_id, f"{body}_{_checksum(body)}", _mac(pepper, body))


def taken(prefix: str, pepper: bytes, text: str) -> Minted | None:
    """A key that somebody else minted; None when it is none."""
    id = key_id(prefix, text)
    return Minted(id, text, _mac(pepper, text.rpartition("_")[0])) if id else None


def key_id(prefix: str, presented: str) -> str | None:
    """The id of a key of this kind, as far as the text tells; None when it is none."""
    match = _FORM.fullmatch(presented)
    if match is None or match[1] != prefix:
        return None
    return match[2] if hmac.compare_digest(match[4], _checksum(presented.rpartition("_")[0])) else None


def proves(pepper: bytes, presented: str, mac: str) -> bool:
    """Whether this is the key that the MAC was made of."""
    return hmac.compare_digest(mac, _mac(pepper, presented.rpartition("_")[0]))


def _mac(pepper: bytes, body: str) -> str:
    return hmac.digest(pepper, body.encode(), "sha256").hex()


def _checksum(body: str) -> str:
    return f"{zlib.crc32(body.encode()):08x}"
