"""Tenants and their API keys: `alk_<key id>_<secret>_<checksum>`, shown once, kept as a keyed hash."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
import zlib
from datetime import datetime
from pathlib import Path

from controller.errors import Unauthorized
from controller.model import SCOPES, Caller
from controller.store.base import Key, Store

DEFAULT_TENANT = "default"
_KEY = re.compile(r"alk_([a-z0-9]{16})_([A-Za-z0-9]{43})_([0-9a-f]{8})")
_ALPHABET = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"


def read_pepper(path: Path) -> bytes:
    """The secret that keys the hashes; made at the first start. A stolen database alone proves no key."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        return path.read_bytes()
    with os.fdopen(fd, "wb") as file:
        file.write(secrets.token_bytes(32))
        file.flush()
        os.fsync(file.fileno())
    return path.read_bytes()


def first_key(store: Store, pepper: bytes, at: datetime) -> str | None:
    """At the very first start: the default tenant and a key with every scope. None when there are keys already."""
    if store.has_keys():
        return None
    tenant_id = store.tenant_named(DEFAULT_TENANT)
    if tenant_id is None:
        tenant_id = new_id("ten")
        store.add_tenant(tenant_id, DEFAULT_TENANT, at)
    return create_key(store, pepper, tenant_id, "first key", SCOPES, at)


def create_key(
    store: Store, pepper: bytes, tenant_id: str, name: str, scopes: tuple[str, ...], at: datetime
) -> str:
    """Make a key and return it: the only time that anybody sees it."""
    key_id = "".join(secrets.choice("abcdefghijklmnopqrstuvwxyz0123456789") for _ in range(16))
    secret = "".join(secrets.choice(_ALPHABET) for _ in range(43))
    body = f"alk_{key_id}_{secret}"
    store.add_key(
        Key(id=key_id, tenant_id=tenant_id, name=name, mac=_mac(pepper, body), scopes=scopes, created_at=at)
    )
    return f"{body}_{_checksum(body)}"


def authenticate(store: Store, pepper: bytes, presented: str, at: datetime) -> Caller:
    """Who presents this key. Unauthorized, in the same words, for every kind of key that is not live."""
    match = _KEY.fullmatch(presented)
    body = presented.rpartition("_")[0]
    if match is None or not hmac.compare_digest(match[3], _checksum(body)):
        raise Unauthorized("this is not an API key: check that it was copied whole (alk_<id>_<secret>_<checksum>)")
    key = store.key(match[1])
    proof = _mac(pepper, body)
    if key is None or not hmac.compare_digest(key.mac, proof) or not _live(key, at):
        raise Unauthorized("the API key is unknown, expired or revoked")
    return Caller(tenant_id=key.tenant_id, key_id=key.id, scopes=frozenset(key.scopes))


def new_id(prefix: str) -> str:
    """An opaque id with 128 random bits."""
    return f"{prefix}_{secrets.token_hex(16)}"


def _live(key: Key, at: datetime) -> bool:
    return key.revoked_at is None and (key.expires_at is None or at < key.expires_at)


def _mac(pepper: bytes, body: str) -> str:
    return hmac.new(pepper, body.encode(), hashlib.sha256).hexdigest()


def _checksum(body: str) -> str:
    """Tells a mistyped key from a wrong one without asking the database, and lets secret scanners be sure."""
    return f"{zlib.crc32(body.encode()):08x}"
