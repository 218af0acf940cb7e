"""A tenant's API keys: made, rotated, revoked; and when each was used last."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection
from datetime import datetime, timedelta

from controller.errors import Conflict, Forbidden, InvalidRequest, NotFound, QuotaSpent
from controller.model import SCOPES, Caller
from controller.services.audit import entry
from controller.services.backend import Backend, now
from controller.services.key_text import mint
from controller.services.tenants import KEY, key_of
from controller.store.tenant_store import Key, KeyPage, Rotated, Tenants

NO_KEY = "there is no API key with this id"
USED_SECONDS = 60.0
"""Between two times that the use of a key is written down."""


def page(backend: Backend, tenant_id: str, limit: int, before: tuple[datetime, str] | None) -> KeyPage:
    return backend.tenants.keys(tenant_id, limit, before)


def get(backend: Backend, tenant_id: str, key_id: str) -> Key:
    """NotFound for a missing one and for another tenant's, in the same words."""
    key = backend.tenants.key(tenant_id, key_id)
    if key is None:
        raise NotFound(NO_KEY)
    return key


def create(
    backend: Backend,
    caller: Caller,
    pepper: bytes,
    tenant_id: str,
    name: str,
    scopes: tuple[str, ...],
    expires_at: datetime | None,
) -> tuple[Key, str]:
    """A new key, and its secret: the only time that anybody sees it.

    Forbidden when the caller gives a scope that it does not hold, and is not the operator; InvalidRequest,
    QuotaSpent (`too_many_keys`).
    """
    _check(caller, tenant_id, scopes)
    done = entry(caller, "key.create", tenant=tenant_id, name=name, scopes=list(scopes), expires_at=_text(expires_at))
    if expires_at is not None and expires_at <= done.at:
        message = "lies in the past: the key would be none"
        raise InvalidRequest(f"expires_at {message}", errors=[{"where": "expires_at", "message": message}])
    minted = mint(KEY, pepper)
    key = key_of(minted, tenant_id, name, scopes, done.at, expires_at)
    limit = backend.settings.max_keys
    if not backend.tenants.add_key(key, limit, done.model_copy(update={"subject": key.id})):
        raise _too_many(limit, "which is the limit: revoke one first", limit)
    return key, minted.text


def _too_many(limit: int, why: str, used: int) -> QuotaSpent:
    return QuotaSpent(
        f"{used} keys of this tenant are live, {why}",
        code="too_many_keys",
        quota="keys",
        limit=limit,
        value=1,
        used=used,
    )


def rotate(
    backend: Backend, caller: Caller, pepper: bytes, tenant_id: str, key_id: str, grace_seconds: float | None
) -> tuple[Key, str]:
    """A new key in the place of this one, which lives on for a while: both prove the same. The new one and its secret.

    A key that was to end lives as long anew as it did before. NotFound; Conflict when it was rotated or revoked, or has
    expired; Forbidden as of `create`; QuotaSpent when another rotated key still fills the one place above the limit.
    """
    key = get(backend, tenant_id, key_id)
    _check(caller, tenant_id, key.scopes)
    grace = backend.settings.key_grace_seconds if grace_seconds is None else grace_seconds
    done = entry(caller, "key.rotate", key.id, tenant=tenant_id, grace_seconds=grace)
    minted = mint(KEY, pepper)
    successor = key_of(minted, tenant_id, key.name, key.scopes, done.at, _lives_anew(key, done.at))
    done = done.model_copy(update={"details": done.details | {"successor": successor.id}})
    limit = backend.settings.max_keys
    rotated = backend.tenants.rotate(key, successor, done.at + timedelta(seconds=grace), limit, done)
    if rotated is Rotated.FULL:
        raise _too_many(limit, "one above the limit: revoke one that was rotated, or wait for its end", limit + 1)
    if rotated is Rotated.ENDED:
        raise Conflict("the key was rotated or revoked before, or has expired: make another one", code="key_ended")
    return successor, minted.text


def _lives_anew(key: Key, moment: datetime) -> datetime | None:
    """When a key from this moment on ends that lives as long as this one; with it, where the calendar ends before."""
    if key.expires_at is None:
        return None
    try:
        return moment + (key.expires_at - key.created_at)
    except OverflowError:
        return key.expires_at


def revoke(backend: Backend, caller: Caller, tenant_id: str, key_id: str) -> Key:
    """From now on the key proves nothing; twice is once. NotFound; Conflict `last_admin_key`; Forbidden for the key of
    an operator, unless an operator asks: its tenant may have others who administer no more than the tenant."""
    if "admin" in get(backend, tenant_id, key_id).scopes and "admin" not in caller.scopes:
        message = "your key does not hold the scope 'admin', so it cannot revoke a key that does"
        raise Forbidden(message, code="scope_not_held")
    key = backend.tenants.revoke(tenant_id, key_id, entry(caller, "key.revoke", key_id, tenant=tenant_id))
    if key is None:
        raise NotFound(NO_KEY)
    return key


def _check(caller: Caller, tenant_id: str, scopes: Collection[str]) -> None:
    """A key gives what its maker holds, and nothing more; the operator gives whatever there is."""
    allowed = set(SCOPES) if "admin" in caller.scopes else caller.scopes
    if missing := [scope for scope in scopes if scope not in allowed]:
        raise Forbidden(f"your key does not hold the scope {missing[0]!r}, so it cannot give it", code="scope_not_held")


def _text(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment is not None else None


class Uses:
    """When keys were used: noted in memory by each request, and written down once a minute for each key."""

    def __init__(self, store: Tenants, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._clock = clock
        self._lock = threading.Lock()
        self._seen: dict[str, datetime] = {}
        self._written: dict[str, float] = {}

    def note(self, key_id: str) -> None:
        self._seen[key_id] = now()

    def flush(self) -> None:
        """Write down what is due. Called every second or so."""
        moment = self._clock()
        with self._lock:
            due = [key_id for key_id in list(self._seen) if moment - self._written.get(key_id, -1e9) >= USED_SECONDS]
            if not due:
                return
            self._store.used({key_id: self._seen.pop(key_id) for key_id in due})
            self._written = {key_id: at for key_id, at in self._written.items() if moment - at < USED_SECONDS}
            self._written |= dict.fromkeys(due, moment)
