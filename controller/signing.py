"""Signed documents: the server's Ed25519 key, the one way in which a document is written down, and the check of both.

A signed document is canonical JSON (RFC 8259, UTF-8): members sorted by their names' code points, no blanks, numbers
as Python's json module writes them. What is signed is DOMAIN, then the canonical JSON of the document without its
member `signature`. docs/receipts.md says so for people who check with a program of their own.

Needs `cryptography` and nothing else: `airlock verify` works where no server is installed.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import secrets
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from controller.errors import ReceiptKeyUnusable

ALGORITHM = "Ed25519"
DOMAIN = b"airlock-receipt-v1\n"
"""Signed ahead of the document: a signature of ours means nothing in any other protocol."""
MAX_DOCUMENT_BYTES = 16 << 20
"""Above it, a document is none of ours: the largest part of a receipt is the options that came with its run."""
_MAX_KEY_BYTES = 64 << 10
_BLOCK = {"algorithm", "key_id", "public_key", "signature"}
_ADVICE = (
    "restore it from a backup; or move it away, and the next start makes a new key "
    "(receipts of the old one are then checked with the old public key)"
)


class NotGenuine(Exception):
    """A document is not what its signature was made for; the message says what is wrong with it."""


def canonical(value: Any) -> bytes:
    """The value as canonical JSON. ValueError, RecursionError for what JSON cannot hold."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode()


@dataclass(frozen=True)
class PublicKey:
    """The half of a key that may be given to everybody: 32 bytes."""

    raw: bytes

    @property
    def key_id(self) -> str:
        """SHA-256 of the raw key, in hexadecimal."""
        return hashlib.sha256(self.raw).hexdigest()

    @property
    def base64(self) -> str:
        return base64.b64encode(self.raw).decode()

    def pem(self) -> bytes:
        """As the PEM file that other programs read."""
        key = Ed25519PublicKey.from_public_bytes(self.raw)
        return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)

    def made(self, signature: bytes, message: bytes) -> bool:
        """Was this signature made over this message with the other half of this key?"""
        try:
            Ed25519PublicKey.from_public_bytes(self.raw).verify(signature, message)
        except (InvalidSignature, ValueError):
            return False
        return True


class SigningKey:
    """The secret half."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.public = PublicKey(key.public_key().public_bytes_raw())

    def signed(self, document: Mapping[str, Any]) -> bytes:
        """The document with its signature, as canonical JSON."""
        block = {
            "algorithm": ALGORITHM,
            "key_id": self.public.key_id,
            "public_key": self.public.base64,
            "signature": base64.b64encode(self._key.sign(DOMAIN + canonical(document))).decode(),
        }
        return canonical({**document, "signature": block})


def read_signing_key(path: Path) -> SigningKey:
    """The server's key, made at the first start; private to its user. ReceiptKeyUnusable."""
    try:
        if not path.exists():
            _make_key(path)
        with path.open("rb") as file:
            data = file.read(_MAX_KEY_BYTES)
    except OSError as e:
        raise ReceiptKeyUnusable(f"{path} cannot be read or made: {e.strerror or e}; {_ADVICE}") from e
    try:
        key = serialization.load_pem_private_key(data, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as e:
        raise ReceiptKeyUnusable(f"{path} holds no private key in PEM form without a password; {_ADVICE}") from e
    if not isinstance(key, Ed25519PrivateKey):
        raise ReceiptKeyUnusable(f"{path} holds a key that is not {ALGORITHM}; {_ADVICE}")
    return SigningKey(key)


def _make_key(path: Path) -> None:
    """A new key, whole or not at all: it is linked to its place when all of it is on the disk."""
    data = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    part = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):  # another process was faster: its key is the key
            os.link(part, path)
    finally:
        part.unlink()
    directory = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def read_public_key(pem: bytes) -> PublicKey:
    """The public key in a PEM file. ValueError when there is none of Ed25519."""
    try:
        key = serialization.load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm) as e:
        raise ValueError("it holds no public key in PEM form") from e
    if not isinstance(key, Ed25519PublicKey):
        raise ValueError(f"its key is not {ALGORITHM}")
    return PublicKey(key.public_bytes_raw())


def verified(data: bytes, trusted: PublicKey | None = None) -> tuple[dict[str, Any], PublicKey]:
    """The document in these bytes and the key that signed it, which is the trusted one where one is given.

    NotGenuine when a single bit is not as it was signed. A line break at the end is not looked at.
    """
    document = _parsed(data)
    block = document.get("signature")
    if not (isinstance(block, dict) and set(block) == _BLOCK and all(isinstance(v, str) for v in block.values())):
        raise NotGenuine("it has no signature: it is not a receipt, or it was changed")
    if block["algorithm"] != ALGORITHM:
        raise NotGenuine(f"its signature is not made with {ALGORITHM}")
    key, signature = PublicKey(_decoded(block["public_key"])), _decoded(block["signature"])
    if block["key_id"] != key.key_id:
        raise NotGenuine("its key_id is not that of its public key: it was changed")
    if trusted is not None and key != trusted:
        raise NotGenuine(f"it is signed by the key {key.key_id}, not by the given one, {trusted.key_id}")
    content = {name: value for name, value in document.items() if name != "signature"}
    if not key.made(signature, DOMAIN + canonical(content)):
        raise NotGenuine("it was changed since it was signed")
    return document, key


def _parsed(data: bytes) -> dict[str, Any]:
    """The document, when it is written just as it would be written by us: then nothing in the bytes is unsigned."""
    if len(data) > MAX_DOCUMENT_BYTES:
        raise NotGenuine(f"it has {len(data)} bytes or more, a receipt has at most {MAX_DOCUMENT_BYTES}")
    try:
        document = json.loads(data.decode())
    except (ValueError, RecursionError) as e:
        raise NotGenuine("it is not JSON: it is cut off, damaged, or no receipt") from e
    if not isinstance(document, dict):
        raise NotGenuine("it is not a JSON object: it is no receipt")
    try:
        as_written = canonical(document)
    except (ValueError, RecursionError):
        as_written = b""
    if as_written != data.removesuffix(b"\n"):
        raise NotGenuine("it is not written as receipts are: it was changed, or written anew by another program")
    return document


def _decoded(text: str) -> bytes:
    """The bytes in base64 text, of which there is one form only: no two texts mean the same bytes."""
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError as e:
        raise NotGenuine("its signature is damaged: it is not base64") from e
    if base64.b64encode(data).decode() != text:
        raise NotGenuine("its signature is damaged: it is not base64 as it is written here")
    return data
