"""Datasets on SQLAlchemy."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, RowMapping, Select, delete, func, insert, select, tuple_, update

from controller.model import DatasetVersion, Quotas, Run, Status, TaskKind
from controller.store import trail
from controller.store.audit_store import Entry
from controller.store.base import NO_QUOTAS, Added, Idempotent
from controller.store.batches import users_of
from controller.store.database import Database
from controller.store.dataset_store import Dataset, DatasetPage, Expected, Put, Removed, VersionPage
from controller.store.rows import FINAL, RUN_WEIGHT, first_rows, insert_run, key_taken, run_of
from controller.store.statements import Hand
from controller.store.tables import dataset_versions, idempotency_keys, runs

_PREFIX = "version_"
_LABELLED = [column.label(_PREFIX + column.name) for column in dataset_versions.c]
_BOTH = select(*_LABELLED, *runs.c).join_from(dataset_versions, runs, runs.c.id == dataset_versions.c.run_id)
_ALIVE = dataset_versions.c.deleted_at.is_(None)
_FAILED = runs.c.status.in_([Status.FAILED, Status.CANCELLED])


class SqlDatasets:
    """See store.dataset_store.Datasets."""

    def __init__(self, database: Database) -> None:
        self._reading, self._writing = database.reading, database.writing

    def add(
        self,
        version: DatasetVersion,
        run: Run,
        max_queued: int,
        expected: Expected,
        idempotent: Idempotent | None,
        quotas: Quotas = NO_QUOTAS,
    ) -> tuple[Put, DatasetVersion | None]:
        same_name = _named(version.tenant_id, version.name)
        with self._writing() as db:
            if key_taken(Hand.of(db), idempotent):
                return Put.KEY_TAKEN, None
            newest = _first(db, _newest(same_name))
            if not expected.holds(newest):
                return Put.UNEXPECTED, None
            if newest is not None and newest.has(version.content_sha256):
                return Put.SAME, newest.version
            added = insert_run(Hand.of(db), run, max_queued, idempotent, quotas)
            if added is not Added.ADDED:
                return Put(added), None
            last = db.execute(select(func.max(dataset_versions.c.version)).where(same_name)).scalar()
            stored = version.model_copy(update={"version": (last or 0) + 1})
            db.execute(insert(dataset_versions).values(**_row(stored)))
            return Put.ADDED, stored

    def by_id(self, tenant_id: str, version_id: str) -> Dataset | None:
        mine = (dataset_versions.c.tenant_id == tenant_id) & (dataset_versions.c.id == version_id)
        with self._reading() as db:
            return _first(db, _BOTH.where(mine, _ALIVE))

    def version(self, tenant_id: str, name: str, number: int) -> Dataset | None:
        this = _named(tenant_id, name) & (dataset_versions.c.version == number)
        with self._reading() as db:
            return _first(db, _BOTH.where(this, _ALIVE))

    def newest(self, tenant_id: str, name: str, *, ready: bool = False) -> Dataset | None:
        query = _newest(_named(tenant_id, name))
        if ready:
            query = query.where(runs.c.status == Status.SUCCEEDED)
        with self._reading() as db:
            return _first(db, query)

    def versions(self, tenant_id: str, name: str, limit: int, below: int | None = None) -> VersionPage:
        query = _BOTH.where(_named(tenant_id, name), _ALIVE).order_by(dataset_versions.c.version.desc())
        if below is not None:
            query = query.where(dataset_versions.c.version < below)
        with self._reading() as db:
            shown, more = _some(db, query, limit)
        return VersionPage(datasets=tuple(shown), below=shown[-1].version.version if more else None)

    def page(
        self, tenant_id: str, limit: int, prefix: str = "", before: tuple[datetime, str] | None = None
    ) -> DatasetPage:
        newer = dataset_versions.alias()
        superseded = select(newer.c.id).where(
            newer.c.tenant_id == tenant_id,
            newer.c.name == dataset_versions.c.name,
            newer.c.version > dataset_versions.c.version,
            newer.c.deleted_at.is_(None),
        )
        query = _BOTH.where(dataset_versions.c.tenant_id == tenant_id, _ALIVE, ~superseded.exists())
        if prefix:
            query = query.where(func.substr(dataset_versions.c.name, 1, len(prefix)) == prefix)
        if before is not None:
            query = query.where(tuple_(dataset_versions.c.created_at, dataset_versions.c.id) < before)
        query = query.order_by(dataset_versions.c.created_at.desc(), dataset_versions.c.id.desc())
        with self._reading() as db:
            shown, more = _some(db, query, limit)
        last = shown[-1].version if more else None
        return DatasetPage(datasets=tuple(shown), before=(last.created_at, last.id) if last else None)

    # -- removing ------------------------------------------------------------------------------------------------

    def delete(
        self, tenant_id: str, name: str, number: int | None, now: datetime, entry: Entry | None = None
    ) -> Removed | None:
        these = _named(tenant_id, name) & _ALIVE
        if number is not None:
            these &= dataset_versions.c.version == number
        with self._writing() as db:
            found = [(row.id, row.run_id) for row in db.execute(select(dataset_versions).where(these))]
            if not found:
                return None
            if users := [user for version_id, _ in found for user in _in_use(db, version_id)]:
                return Removed(users=tuple(dict.fromkeys(users)))
            blank = {"source_sha256": "", "content_sha256": "", "source_bytes": 0}
            db.execute(update(dataset_versions).where(these).values(deleted_at=now, **blank))
            forgotten, stopping = [], []
            for version_id, run_id in found:
                db.execute(delete(idempotency_keys).where(idempotency_keys.c.resource_id == version_id))
                running = (runs.c.id == run_id) & (runs.c.status == Status.RUNNING)
                if db.execute(update(runs).where(running).values(cancel_requested=1)).rowcount:
                    stopping.append(run_id)
                else:
                    db.execute(delete(runs).where(runs.c.id == run_id))
                    forgotten.append(run_id)
            trail.note(db, entry)
            return Removed(forgotten=tuple(forgotten), stopping=tuple(stopping))

    def in_use(self, version_id: str) -> list[str]:
        with self._reading() as db:
            return _in_use(db, version_id)

    def untidy(self, limit: int, run_id: str | None = None) -> list[Dataset]:
        query = _BOTH.where(_ALIVE, runs.c.status.in_(FINAL), runs.c.input_bytes > 0)
        if run_id is not None:
            query = query.where(runs.c.id == run_id)
        with self._reading() as db:
            return [_dataset(row) for row in db.execute(query.limit(limit)).mappings()]

    def forgettable(self, limit: int, run_id: str | None = None) -> list[str]:
        query = select(runs.c.id).join_from(dataset_versions, runs, runs.c.id == dataset_versions.c.run_id)
        query = query.where(~_ALIVE, runs.c.status.in_(FINAL))
        if run_id is not None:
            query = query.where(runs.c.id == run_id)
        with self._reading() as db:
            return list(db.execute(query.limit(limit)).scalars())

    def forget(self, run_id: str) -> None:
        this = (runs.c.id == run_id) & (runs.c.task == TaskKind.INGEST) & runs.c.status.in_(FINAL)
        with self._writing() as db:
            db.execute(delete(runs).where(this))


def _in_use(db: Connection, version_id: str) -> list[str]:
    """What works on this version, asked within a transaction: whoever begins to meanwhile must find it deleted."""
    return users_of(db, version_id)


def _named(tenant_id: str, name: str) -> ColumnElement[bool]:
    return (dataset_versions.c.tenant_id == tenant_id) & (dataset_versions.c.name == name)


def _newest(condition: ColumnElement[bool]) -> Select[Any]:
    return _BOTH.where(condition, _ALIVE).order_by(_FAILED, dataset_versions.c.version.desc())


def _first(db: Connection, query: Select[Any]) -> Dataset | None:
    row = db.execute(query.limit(1)).mappings().first()
    return _dataset(row) if row else None


def _some(db: Connection, query: Select[Any], limit: int) -> tuple[list[Dataset], bool]:
    """The first rows, as many as are read together, and whether there are more."""
    rows, more = first_rows(db, query, RUN_WEIGHT, limit)
    return [_dataset(row) for row in rows], more


def _dataset(row: RowMapping) -> Dataset:
    fields = {name: row[_PREFIX + name] for name in DatasetVersion.model_fields}
    return Dataset(version=DatasetVersion.model_validate(fields), run=run_of(row))


def _row(version: DatasetVersion) -> dict[str, Any]:
    return version.model_dump(mode="json") | {"created_at": version.created_at}
