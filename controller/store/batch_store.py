"""What the store of batches is: one row for a batch, one for each of its items. An item stands as its present run does:
its state is kept nowhere else, and whoever gives it a run does so in the transaction that adds the run.

All methods may raise StoreError or StorageFull. Every such store keeps tests/contract/batch_store_contract.py.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol

from controller.model import DatasetUse, Job, Limits, Quotas, Reason, Run, ScriptError, ScriptUse, Slice, Word
from controller.store.audit_store import Entry
from controller.store.base import NO_QUOTAS, Added, Idempotent, Which


class BatchStatus(StrEnum):
    """Where a batch stands. `failed` is one that could not be prepared; failed items do not make it one."""

    PREPARING = "preparing"
    RUNNING = "running"
    FINISHED = "finished"
    CANCELLED = "cancelled"
    FAILED = "failed"


class ItemStatus(StrEnum):
    """Where an item stands: it waits for its run to begin to exist, or as that run does; REMOVED when that is gone."""

    WAITING = "waiting"
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    REMOVED = "removed"


class Template(Word):
    """What the runs of all items have in common. The item adds its table's slice, and itself as a parameter if
    `parameter` names one."""

    job: Job
    limits: Limits
    environment: str
    script_sha256: str
    script: ScriptUse | None = None
    at_most_once: bool = False
    parameter: str | None = None


class Batch(Word):
    id: str
    tenant_id: str
    template: Template
    source: dict[str, Any]
    """The tables that were asked for, as the API's documents have them."""
    parallel: int
    """How many of its items may be under way at once."""
    total: int | None = None
    """How many items it has; None until that is known."""
    cancel_requested: bool = False
    error: ScriptError | None = None
    """Why it could not be prepared."""
    group_run_id: str | None = None
    """The run that cuts the table by the values of a column."""
    output_run_id: str | None = None
    """The run that puts the items' results one after the other, once somebody asked for it."""
    created_at: datetime
    begun_at: datetime | None = None
    """When its items were known, or were begun again: the rate counts from here."""
    finished_at: datetime | None = None
    own_bytes: int = 0
    """Of the files that are nobody else's: a script and a bundle that came with it."""

    @property
    def status(self) -> BatchStatus:
        if self.error is not None:
            return BatchStatus.FAILED
        if self.finished_at is None:
            return BatchStatus.PREPARING if self.total is None else BatchStatus.RUNNING
        return BatchStatus.CANCELLED if self.cancel_requested else BatchStatus.FINISHED


class Item(Word):
    """One table of a batch: numbered from 1, and labelled for people."""

    number: int
    label: Any
    dataset: DatasetUse | None = None
    slice: Slice | None = None
    run_id: str | None = None
    retries: int = 0


class ItemState(Word):
    """An item with what its run says; a long message is cut."""

    item: Item
    status: ItemStatus
    reason: Reason | None = None
    error_code: str | None = None
    error_message: str | None = None


class Counts(Word):
    """How many items stand where; `ended` have come to an end since the batch began, or began again."""

    items: dict[ItemStatus, int]
    ended: int = 0


class BatchPage(Word):
    """A part of a list, newest first; `before` continues it, None at its end."""

    batches: tuple[Batch, ...]
    before: tuple[datetime, str] | None = None


class ItemPage(Word):
    """A part of a batch's items in their order; `after` continues it, None at its end."""

    items: tuple[ItemState, ...]
    after: int | None = None


class Begun(StrEnum):
    """What came of giving an item a run."""

    BEGUN = "begun"
    QUEUE_FULL = "queue_full"
    NOT_WANTED = "not_wanted"


class Retried(Word):
    """How many items are to be begun again, and the run whose result is no longer the batch's."""

    items: int
    output_run_id: str | None = None


class Deleted(Word):
    """The runs whose files may go. Not `done` when the batch has not ended, or its output is being put together."""

    done: bool
    run_ids: tuple[str, ...] = ()


class Batches(Protocol):
    # -- accepting and showing -------------------------------------------------------------------------------------

    def add(
        self,
        batch: Batch,
        items: Iterable[Item],
        version_ids: Iterable[str],
        group_run: Run | None,
        max_queued: int,
        idempotent: Idempotent | None = None,
        max_batches: int | None = None,
        quotas: Quotas = NO_QUOTAS,
    ) -> Added:
        """Durable when it returns ADDED: the batch with its items, or with the run that will tell them, the versions
        of datasets that it uses, and the idempotency key. Else nothing is stored.

        QUEUE_FULL: of the tenant's, `max_batches` have not ended, or `max_queued` such runs wait. Else as
        Store.add_run.
        """

    def batch(self, tenant_id: str, batch_id: str) -> Batch | None:
        """None for a missing batch and for another tenant's alike."""

    def page(self, tenant_id: str, limit: int, before: tuple[datetime, str] | None = None) -> BatchPage:
        """At most `limit` of them, fewer when they are large."""

    def counts(self, batch: Batch) -> Counts: ...

    def items(self, batch: Batch, limit: int, after: int = 0, status: ItemStatus | None = None) -> ItemPage: ...

    def results(self, batch: Batch) -> list[tuple[int, str]]:
        """Number and run of each item that succeeded, in their order."""

    # -- executing -------------------------------------------------------------------------------------------------

    def unfinished(self) -> list[Which]:
        """Of all tenants, the oldest first."""

    def prepared(self, batch_id: str, items: Iterable[Item], now: datetime) -> bool:
        """The items are known; False when they were already, or are not wanted any more."""

    def failed(self, batch_id: str, error: ScriptError, now: datetime) -> bool:
        """It could not be prepared, and has ended."""

    def group_run(self, batch: Batch) -> Run | None: ...

    def next_items(self, batch: Batch) -> list[Item]:
        """Items without a run, in their order, as many as may be begun now."""

    def begin(self, run: Run, parallel: int, max_queued: int, quotas: Quotas = NO_QUOTAS) -> Begun:
        """Add the run and make it its item's (`run.batch_id`, `run.item`), both or neither.

        NOT_WANTED: the item has a run, the batch is to end, or as many as may are under way.
        """

    def under_way(self, batch_id: str) -> list[str]:
        """The runs of items and of the preparation that have not ended."""

    def finish(self, batch_id: str, now: datetime) -> bool:
        """Nothing is under way and nothing is left to be begun: it has ended. False when that is not so."""

    def request_cancel(self, tenant_id: str, batch_id: str, entry: Entry | None = None) -> bool:
        """From now on nothing of it begins. False when there is none, or it has ended."""

    def retry(self, tenant_id: str, batch_id: str, now: datetime, entry: Entry | None = None) -> Retried | None:
        """Have the items that failed, were cancelled or never begun begin again; the runs that they had are then no
        item's. None while it has not ended; nothing is changed when there are none."""

    def begin_output(self, run: Run, max_queued: int, quotas: Quotas = NO_QUOTAS) -> str | None:
        """Add the run that puts the results together, unless there is one already: the id of the one there is.

        None when the batch has not ended, or the queue is full, or a quota is spent.
        """

    def forget_output(self, batch_id: str, run_id: str) -> None:
        """That run did not do it: the next who asks begins another."""

    # -- removing --------------------------------------------------------------------------------------------------

    def delete(self, tenant_id: str, batch_id: str, entry: Entry | None = None) -> Deleted:
        """Forget a batch that has ended: all its runs, some at a time, then its items, itself and the key that made it.

        Interrupted, it can be done again; the batch says so far that those runs are removed.
        """

    def known(self, batch_ids: Iterable[str]) -> set[str]:
        """Which of these are there, of all tenants."""

    def expired(self, before: datetime, limit: int) -> list[Which]:
        """Batches that ended before this moment."""
