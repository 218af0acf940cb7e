"""What the store of tenants is: tenants, their API keys and what they used. Whatever changes takes the audit log's
entry along, and both are one transaction.

All methods may raise StoreError or StorageFull. Every such store keeps tests/contract/tenant_store_contract.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from enum import StrEnum
from typing import NamedTuple, Protocol

from controller.model import Quotas, Word
from controller.store.audit_store import Entry


class Tenant(Word):
    """Somebody who is hosted; `quotas` has what was set for this one."""

    id: str
    name: str
    created_at: datetime
    quotas: Quotas = Quotas()
    suspended_at: datetime | None = None
    deleting_at: datetime | None = None
    """Since when its deletion is under way: its keys prove nothing any more."""


class Key(Word):
    """An API key as it is stored: `mac` proves the secret, the secret itself is nowhere."""

    id: str
    tenant_id: str
    name: str
    mac: str
    scopes: tuple[str, ...]
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    last_used_at: datetime | None = None
    """By the minute."""
    replaced_by: str | None = None
    """The key that this one was rotated to."""

    def live(self, at: datetime) -> bool:
        return self.revoked_at is None and (self.expires_at is None or at < self.expires_at)


class TenantPage(Word):
    """A part of a list, newest first; `before` continues it, None at its end."""

    tenants: tuple[Tenant, ...]
    before: tuple[datetime, str] | None = None


class KeyPage(Word):
    """Likewise."""

    keys: tuple[Key, ...]
    before: tuple[datetime, str] | None = None


class UsageDay(Word):
    """What a tenant used in one day, UTC: the runs of scripts that ended, and what all of its sandboxes took."""

    tenant_id: str
    day: date
    runs: int = 0
    run_seconds: float = 0.0
    cpu_seconds: float = 0.0


class UsagePage(Word):
    """Newest day first; `before` continues it, None at its end."""

    days: tuple[UsageDay, ...]
    before: tuple[date, str] | None = None


class InUse(Word):
    """What a tenant has at this moment; `run_seconds` are today's, those of running runs included."""

    queued_runs: int
    running_runs: int
    run_seconds: float
    stored_bytes: int


class Erased(NamedTuple):
    """Rows that are gone: their files may go."""

    run_ids: list[str]
    batch_ids: list[str]
    script_ids: list[str]
    """Of versions of stored scripts."""


class Rotated(StrEnum):
    """What came of a rotation."""

    DONE = "done"
    ENDED = "ended"
    FULL = "full"


class Tenants(Protocol):
    def add(self, tenant: Tenant, entry: Entry) -> None:
        """Conflict when there is a tenant of this name."""

    def tenant(self, tenant_id: str) -> Tenant | None: ...

    def named(self, name: str) -> Tenant | None: ...

    def page(self, limit: int, before: tuple[datetime, str] | None = None) -> TenantPage: ...

    def change(self, tenant_id: str, name: str | None, quotas: Quotas | None, entry: Entry) -> Tenant | None:
        """The tenant afterwards; what is None stays. Conflict when the name is taken; None when there is no tenant."""

    def suspend(self, tenant_id: str, at: datetime | None, entry: Entry) -> Tenant | None:
        """Suspended since `at`, or no longer. What is so already stays as it is, and is not written down again."""

    # -- keys ----------------------------------------------------------------------------------------------------

    def has_keys(self) -> bool: ...

    def add_key(self, key: Key, max_live: int, entry: Entry) -> bool:
        """False, and nothing is done, when the tenant has so many live ones already."""

    def presented(self, key_id: str) -> tuple[Key, Tenant] | None:
        """A key and whose it is, for whoever presents it."""

    def key(self, tenant_id: str, key_id: str) -> Key | None:
        """None for a missing one and for another tenant's alike."""

    def keys(self, tenant_id: str, limit: int, before: tuple[datetime, str] | None = None) -> KeyPage: ...

    def revoke(self, tenant_id: str, key_id: str, entry: Entry) -> Key | None:
        """From now on it proves nothing; one that is revoked already stays as it is. None when there is none.

        Conflict for the last live key with the scope `admin` of a tenant that is not suspended: nobody could make
        another one. Keys that were rotated, or end within a day, are none that is left.
        """

    def rotate(self, key: Key, successor: Key, expires_at: datetime, max_live: int, entry: Entry) -> Rotated:
        """Add the successor, and let the key end at that moment, or when it would have ended anyway.

        ENDED, and nothing is done, when it was rotated or revoked before; FULL when more than one key above `max_live`
        would be live then: a tenant with all its keys can rotate them, one after the other.
        """

    def used(self, moments: Mapping[str, datetime]) -> None:
        """When each of these keys was used last."""

    # -- use -----------------------------------------------------------------------------------------------------

    def in_use(self, tenant_id: str, at: datetime) -> InUse: ...

    def usage(
        self,
        limit: int,
        tenant_id: str | None = None,
        since: date | None = None,
        before: tuple[date, str] | None = None,
    ) -> UsagePage:
        """By day, and within a day by tenant."""

    def shares(self) -> list[tuple[Tenant, float]]:
        """The tenants that are suspended, or have quotas of their own, or used seconds today; with these seconds."""

    # -- deleting ------------------------------------------------------------------------------------------------

    def begin_deletion(self, tenant_id: str, entry: Entry) -> Tenant | None:
        """Its keys end now, and nothing more is accepted. Told again, it changes nothing. None when there is none."""

    def deleting(self) -> list[str]:
        """The tenants whose deletion is under way."""

    def live_runs(self, tenant_id: str) -> list[str]:
        """Its queued and running runs."""

    def erase(self, tenant_id: str, limit: int) -> Erased:
        """Of a tenant whose deletion is under way: remove so many rows of runs that have ended; or when there are no
        runs, of batches and of stored scripts."""

    def forget(self, tenant_id: str, entry: Entry) -> bool:
        """Remove all rows that are left; False when it is not being deleted, or has runs, batches or scripts yet."""
