"""What the store is: rows that outlive the server. The row is the truth; whoever changes a state does it by one
conditional UPDATE, so of two that try exactly one succeeds. Every store keeps tests/contract/store_contract.py.

All methods may raise StoreError (the database does not answer) or StorageFull.
"""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from controller.model import Outcome, Run, Status, Word


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


class Page(Word):
    """A part of a list, newest first; `before` continues it, None at its end."""

    runs: tuple[Run, ...]
    before: tuple[datetime, str] | None = None


class Store(Protocol):
    def add_tenant(self, tenant_id: str, name: str, created_at: datetime) -> None: ...

    def tenant_named(self, name: str) -> str | None:
        """The tenant's id."""

    def add_key(self, key: Key) -> None: ...

    def key(self, key_id: str) -> Key | None: ...

    def has_keys(self) -> bool: ...

    def add_run(self, run: Run, max_queued: int) -> bool:
        """Durable when it returns True. False, and nothing is stored, when the tenant has that many queued."""

    def run(self, tenant_id: str, run_id: str) -> Run | None:
        """None for a missing run and for another tenant's alike."""

    def runs(
        self,
        tenant_id: str,
        limit: int,
        *,
        status: Status | None = None,
        created_after: datetime | None = None,
        before: tuple[datetime, str] | None = None,
    ) -> Page:
        """Newest first, at most `limit` of them (fewer when they are large); `before` is an earlier page's."""

    def reusable(self, tenant_id: str, content_sha256: str) -> Run | None:
        """The tenant's newest run of this content that succeeded."""

    def claim(self, run_id: str, now: datetime) -> Run | None:
        """queued -> running, attempt + 1, for exactly one caller; None for everybody else."""

    def release(self, run_id: str, attempt: int) -> bool:
        """running -> queued again, for the attempt that was claimed; False when its end was asked for meanwhile."""

    def finish(self, run_id: str, attempt: int, outcome: Outcome, now: datetime) -> bool:
        """running -> the outcome's status, only for the attempt that was claimed; False when it is no longer ours."""

    def request_cancel(self, tenant_id: str, run_id: str, now: datetime) -> Run | None:
        """queued -> cancelled at once; a running run is marked. The run afterwards; None when there is none."""

    def cancel_requested(self, run_id: str) -> bool: ...

    def recover(self, max_attempts: int, lost: Outcome, now: datetime) -> list[str]:
        """At start, before anything is claimed: running -> queued again, or -> `lost` after max_attempts.

        The ids of all queued runs, oldest first.
        """

    def delete_run(self, tenant_id: str, run_id: str) -> bool:
        """Forget a finished run; False when there is none, or it is not finished."""

    def run_ids(self) -> list[str]:
        """Every run's id, of all tenants."""

    def check(self) -> None:
        """Answer a trivial query, or raise StoreError."""

    def close(self) -> None: ...
