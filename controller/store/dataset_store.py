"""What the store of datasets is. A version of a dataset is a row here and an ingest run's row beside it: both are added
in one transaction, and how the version stands is read from the run.

All methods may raise StoreError or StorageFull. Every such store keeps tests/contract/dataset_store_contract.py.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Protocol

from controller.model import DatasetStatus, DatasetVersion, Quotas, Run, Status, Word
from controller.store.audit_store import Entry
from controller.store.base import NO_QUOTAS, Idempotent


class Dataset(Word):
    """A version of a dataset, and the run that makes or made it."""

    version: DatasetVersion
    run: Run

    @property
    def status(self) -> DatasetStatus:
        if not self.run.status.final:
            return DatasetStatus.INGESTING
        return DatasetStatus.READY if self.run.status is Status.SUCCEEDED else DatasetStatus.FAILED

    def has(self, content_sha256: str) -> bool:
        """Whether another version of this content would only repeat this one. What failed may be tried again."""
        return self.status is not DatasetStatus.FAILED and self.version.content_sha256 == content_sha256


class DatasetPage(Word):
    """A part of a list; `before` continues it, None at its end."""

    datasets: tuple[Dataset, ...]
    before: tuple[datetime, str] | None = None


class VersionPage(Word):
    """A part of the list of a name's versions; `below` continues it, None at its end."""

    datasets: tuple[Dataset, ...]
    below: int | None = None


class Expected(Word):
    """What must hold for a version to be added; nothing by default."""

    absent: bool = False
    """No version of this name is ready, or being made."""
    versions: tuple[str, ...] | None = None
    """The newest version is one of these, by its id; "*" is any."""

    def holds(self, newest: Dataset | None) -> bool:
        """Whether it holds for a name whose newest version (as Datasets.newest has it) is this one."""
        if self.absent and newest is not None and newest.status is not DatasetStatus.FAILED:
            return False
        if self.versions is None:
            return True
        return newest is not None and bool({"*", newest.version.id} & set(self.versions))


class Put(StrEnum):
    """What came of adding a version."""

    ADDED = "added"
    SAME = "same"
    UNEXPECTED = "unexpected"
    QUEUE_FULL = "queue_full"
    KEY_TAKEN = "key_taken"
    SECONDS_SPENT = "seconds_spent"
    STORAGE_SPENT = "storage_spent"
    NO_TENANT = "no_tenant"


class Removed(Word):
    """What came of a deletion: the runs that made what was deleted, or what keeps it from being deleted."""

    forgotten: tuple[str, ...] = ()
    """These are gone; their files may go."""
    stopping: tuple[str, ...] = ()
    """These were being executed: they are cancelled, and to be forgotten when they have ended."""
    users: tuple[str, ...] = ()
    """Nothing was deleted, because these use it."""


class Datasets(Protocol):
    def add(
        self,
        version: DatasetVersion,
        run: Run,
        max_queued: int,
        expected: Expected,
        idempotent: Idempotent | None,
        quotas: Quotas = NO_QUOTAS,
    ) -> tuple[Put, DatasetVersion | None]:
        """Add a version and its run, both or neither, and give the version as it was stored: with its number, the
        next one of its name.

        SAME: the newest version of the name has the same content (and did not fail); it is given, nothing is added.
        UNEXPECTED, QUEUE_FULL and whatever else Store.add_run may say: nothing is added, and there is no version to
        give.
        """

    def by_id(self, tenant_id: str, version_id: str) -> Dataset | None: ...

    def version(self, tenant_id: str, name: str, number: int) -> Dataset | None:
        """None for a missing one, a deleted one, and another tenant's."""

    def newest(self, tenant_id: str, name: str, *, ready: bool = False) -> Dataset | None:
        """The newest version that has not failed, or the newest of all when every one has; with `ready`, the newest
        that can be used."""

    def versions(self, tenant_id: str, name: str, limit: int, below: int | None = None) -> VersionPage:
        """The versions of a name below a number, newest first, at most `limit` (fewer when they are large)."""

    def page(
        self, tenant_id: str, limit: int, prefix: str = "", before: tuple[datetime, str] | None = None
    ) -> DatasetPage:
        """The newest version of each name, newest first, at most `limit` of them (fewer when they are large)."""

    def delete(
        self, tenant_id: str, name: str, number: int | None, now: datetime, entry: Entry | None = None
    ) -> Removed | None:
        """Delete one version, or all of a name; None when there is none. All of it or, while it is used, nothing."""

    def in_use(self, version_id: str) -> list[str]:
        """What works on this version and has not taken its file yet, in words: "batch bat_..."."""

    def untidy(self, limit: int, run_id: str | None = None) -> list[Dataset]:
        """Versions whose run has ended, and whose source still lies there; of all, or of one run."""

    def forgettable(self, limit: int, run_id: str | None = None) -> list[str]:
        """Runs that have ended and whose version was deleted meanwhile; of all, or this one."""

    def forget(self, run_id: str) -> None:
        """Remove the row of such a run."""
