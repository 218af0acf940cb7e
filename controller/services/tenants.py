"""Tenants and their API keys: `alk_<key id>_<secret>_<checksum>`, shown once, kept as a keyed hash."""

from __future__ import annotations

import os
import secrets
from datetime import datetime
from pathlib import Path

from controller.errors import InvalidRequest, Unauthorized
from controller.model import SCOPES, Caller, Quotas
from controller.services.key_text import Minted, key_id, mint, proves, taken
from controller.store.audit_store import Entry
from controller.store.base import NO_QUOTAS
from controller.store.tenant_store import Key, Tenant, Tenants

DEFAULT_TENANT = "default"
KEY = "alk"
_NOT_LIVE = "the API key is unknown, expired or revoked"


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


def first_key(store: Tenants, pepper: bytes, at: datetime, given: str | None = None) -> str | None:
    """At the very first start: the default tenant and a key with every scope. None when there are keys already.

    `given` is a key that the operator made, and wants to be this one. InvalidRequest when it is none.
    """
    if store.has_keys():
        return None
    minted = mint(KEY, pepper) if given is None else taken(KEY, pepper, given)
    if minted is None:
        raise InvalidRequest("what was given as the first API key is none: alk_<id>_<secret>_<checksum> is needed")
    tenant = store.named(DEFAULT_TENANT)
    if tenant is None:
        tenant = Tenant(id=new_id("ten"), name=DEFAULT_TENANT, created_at=at)
        store.add(tenant, Entry(action="tenant.create", at=at, subject=tenant.id, details={"name": tenant.name}))
    key = key_of(minted, tenant.id, "first key", SCOPES, at)
    entry = Entry(action="key.create", at=at, subject=key.id, details={"name": key.name, "scopes": list(SCOPES)})
    store.add_key(key, 1, entry)
    return minted.text


def key_of(
    minted: Minted,
    tenant_id: str,
    name: str,
    scopes: tuple[str, ...],
    at: datetime,
    expires_at: datetime | None = None,
) -> Key:
    """What is kept of a key: its secret is only in what was minted."""
    return Key(
        id=minted.id,
        tenant_id=tenant_id,
        name=name,
        mac=minted.mac,
        scopes=scopes,
        created_at=at,
        expires_at=expires_at,
    )


def authenticate(
    store: Tenants, pepper: bytes, presented: str, at: datetime, defaults: Quotas = NO_QUOTAS
) -> Caller:
    """Who presents this key. Unauthorized, in the same words, for every kind of key that is not live.

    A suspended tenant's caller says so: what it may do is for others to decide.
    """
    id = key_id(KEY, presented)
    if id is None:
        raise Unauthorized("this is not an API key: check that it was copied whole (alk_<id>_<secret>_<checksum>)")
    found = store.presented(id)
    if found is None or not proves(pepper, presented, found[0].mac) or not found[0].live(at):
        raise Unauthorized(_NOT_LIVE)
    key, tenant = found
    return standing(Caller(tenant_id=key.tenant_id, key_id=key.id, scopes=frozenset(key.scopes)), tenant, defaults)


def standing(caller: Caller, tenant: Tenant | None, defaults: Quotas = NO_QUOTAS) -> Caller:
    """The caller, with what holds for its tenant now. Unauthorized when that is being deleted, or gone."""
    if tenant is None or tenant.deleting_at is not None:
        raise Unauthorized(_NOT_LIVE)
    suspended = tenant.suspended_at is not None
    return caller.model_copy(update={"suspended": suspended, "quotas": tenant.quotas.over(defaults)})


def new_id(prefix: str) -> str:
    """An opaque id with 128 random bits."""
    return f"{prefix}_{secrets.token_hex(16)}"
