"""What the store is: rows that outlive the server. The row is the truth; whoever changes a state does it by one
conditional UPDATE, so of two that try exactly one succeeds. Every store keeps tests/contract/store_contract.py.

A run that is executed belongs to the process that claimed it (`owner`) until its lease ends. The attempt's number
fences: what an earlier attempt still has to say is not written down.

All methods may raise StoreError (the database does not answer) or StorageFull.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple, Protocol

from controller.model import Outcome, Part, Priority, Quotas, Run, Status, Stored, Waiting, Word
from controller.store.audit_store import Entry

NO_QUOTAS = Quotas()


class RunFilter(Word):
    """Which of a tenant's runs a list shows; what is None does not matter."""

    status: Status | None = None
    script_sha256: str | None = None
    batch_id: str | None = None
    endpoint_id: str | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None


class Which(NamedTuple):
    """A run or a batch, and whose: where many are told, as all that is known of one may be large."""

    tenant_id: str
    id: str


class Page(Word):
    """A part of a list, newest first; `before` continues it, None at its end."""

    runs: tuple[Run, ...]
    before: tuple[datetime, str] | None = None


class Idempotent(Word):
    """A request that must not be done twice: the client's name for it, what it asked for, and what it made."""

    tenant_id: str
    key: str
    payload_sha256: str
    resource_id: str
    created_at: datetime


class Added(StrEnum):
    """What came of adding a run."""

    ADDED = "added"
    QUEUE_FULL = "queue_full"
    KEY_TAKEN = "key_taken"
    SECONDS_SPENT = "seconds_spent"
    STORAGE_SPENT = "storage_spent"
    NO_TENANT = "no_tenant"


class Claim(Word):
    """Who executes a run, and until when nobody else may take it for abandoned."""

    owner: str
    lease_until: datetime


class Backlog(Word):
    """How many runs of a class wait, and since when the first of them does."""

    priority: Priority
    count: int
    oldest: datetime


class Store(Protocol):
    # -- accepting and showing runs ------------------------------------------------------------------------------

    def add_run(
        self, run: Run, max_queued: int, idempotent: Idempotent | None = None, quotas: Quotas = NO_QUOTAS
    ) -> Added:
        """Durable when it returns ADDED, together with the idempotency key; else nothing is stored.

        QUEUE_FULL: the tenant has that many queued. KEY_TAKEN: `idempotent` tells what the key's first request made.
        SECONDS_SPENT, STORAGE_SPENT: by the quotas, its runs have had their seconds of the day, or their files and
        these would be too large. NO_TENANT: the tenant is gone, or going.
        """

    def idempotent(self, tenant_id: str, key: str) -> Idempotent | None: ...

    def forget_keys(self, before: datetime) -> int:
        """Idempotency keys of requests older than this have done their duty."""

    def run(self, tenant_id: str, run_id: str) -> Run | None:
        """None for a missing run and for another tenant's alike."""

    def runs(
        self, tenant_id: str, limit: int, wanted: RunFilter | None = None, before: tuple[datetime, str] | None = None
    ) -> Page:
        """Newest first, at most `limit` of them (fewer when they are large); `before` is an earlier page's.

        Only runs of scripts: what the server does for itself (ingesting a dataset, say) is not in the list.
        """

    def any_run(self, run_id: str) -> Run | None:
        """Whosever it is: for the operator, and for nobody else."""

    def everybodys_runs(
        self,
        limit: int,
        wanted: RunFilter | None = None,
        before: tuple[datetime, str] | None = None,
        tenant_id: str | None = None,
    ) -> Page:
        """For the operator: whatever is executed, of all tenants or of one; else as `runs`."""

    def counts(self) -> dict[Status, int]:
        """How many of all tenants' runs are queued, and how many running."""

    def reusable(self, tenant_id: str, content_sha256: str) -> Run | None:
        """The tenant's newest run of this content that succeeded."""

    # -- executing them ------------------------------------------------------------------------------------------

    def claim(self, run_id: str, claim: Claim, now: datetime, defaults: Quotas = NO_QUOTAS) -> Run | None:
        """queued -> running, attempt + 1, for exactly one caller; None for everybody else, and while the run's tenant
        is suspended, has as many running as its `concurrent_runs` allows (its own, or else the defaults'), or has had
        its seconds of the day.

        `not_before` is the dispatcher's to keep: a clock that jumps must not hold up a run.
        """

    def renew(self, run_ids: Collection[str], claim: Claim) -> None:
        """The owner still executes these."""

    def release(
        self,
        run_id: str,
        attempt: int,
        not_before: datetime | None = None,
        *,
        failed: bool = False,
        begun: bool = True,
    ) -> bool:
        """running -> queued again, for the attempt that was claimed. `failed` counts as a failure of the server; an
        attempt for which nothing was made (not `begun`) does not count.

        False when it is no longer ours, or when its end was asked for meanwhile.
        """

    def finish(self, run_id: str, attempt: int, outcome: Outcome, now: datetime, stored: Stored) -> bool:
        """running -> the outcome's status, only for the attempt that was claimed; False when it is no longer ours.

        What it used goes onto its tenant's account of the day.
        """

    def request_cancel(
        self, tenant_id: str, run_id: str, now: datetime, entry: Entry | None = None
    ) -> Run | None:
        """queued -> cancelled at once; a running run is marked. The run afterwards; None when there is none.

        With an entry of the audit log, if it is somebody else than its tenant.
        """

    def cancel_requested(self, run_id: str) -> bool: ...

    def recover(self, max_failures: int, lost: Outcome, now: datetime, *, all_owners: bool) -> list[str]:
        """Put right what was abandoned: every running run (`all_owners`: at the start of the only server), or those
        whose lease has ended.

        Each is cancelled when that was asked for, ended with `lost` when it may not be begun again (at most once, or
        its last failure), and else queued again. The ids of all that were ended.
        """

    def waiting(self) -> list[Waiting]:
        """The queued runs of all tenants, the oldest first."""

    def backlog(self) -> list[Backlog]:
        """Of each class of which a run is queued, all tenants together."""

    def named(self, run_ids: Collection[str]) -> list[Run]:
        """These runs, as far as they are there, whosever they are."""

    # -- removing ------------------------------------------------------------------------------------------------

    def delete_run(self, tenant_id: str, run_id: str, entry: Entry | None = None) -> bool:
        """Forget a finished run, and the idempotency key that made it; False when there is none, or not finished."""

    def known_runs(self, run_ids: Iterable[str]) -> set[str]:
        """Which of these are there, of all tenants."""

    def expired(self, part: Part | None, before: datetime, limit: int) -> list[Which]:
        """Finished runs that ended before this moment and still have this part's files; None: the row itself."""

    def oldest_stored(self, tenant_id: str, limit: int) -> list[Which]:
        """The tenant's finished runs that still have files, the longest ended first."""

    def stored_bytes(self) -> dict[str, int]:
        """What each tenant's runs keep on the disk."""

    def mark_removed(self, run_id: str, parts: Collection[Part]) -> None:
        """These parts' files are about to be removed: from now on the run says so, and counts them no more."""

    def grow(self, run_id: str, output_bytes: int) -> None:
        """A finished run has one more file."""

    def check(self) -> None:
        """Answer a trivial query, or raise StoreError."""

    def close(self) -> None: ...
