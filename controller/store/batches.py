"""Batches on SQLAlchemy."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    and_,
    case,
    delete,
    exists,
    func,
    insert,
    null,
    select,
    tuple_,
    update,
)

from controller.model import Quotas, Run, ScriptError, Status, TaskKind
from controller.store import trail
from controller.store.audit_store import Entry
from controller.store.base import NO_QUOTAS, Added, Idempotent, Which
from controller.store.batch_rows import WITH_RUNS, batch_of, insert_items, item_of, row_of, state_in, state_of
from controller.store.batch_store import (
    Batch,
    BatchPage,
    Begun,
    Counts,
    Deleted,
    Item,
    ItemPage,
    ItemStatus,
    Retried,
)
from controller.store.database import Database
from controller.store.rows import FINAL, first_rows, insert_run, key_taken, run_of, weight
from controller.store.shares import out_of
from controller.store.statements import Hand
from controller.store.tables import batch_datasets, batch_items, batches, idempotency_keys, runs

MESSAGE_CHARACTERS = 1000
_AT_ONCE = 500
_LIVE = runs.c.status.in_([Status.QUEUED, Status.RUNNING])
_ITS_WORK = runs.c.task.in_([TaskKind.RUN, TaskKind.GROUP])
"""Runs before whose end a batch does not end; its output is put together afterwards."""
_UNFINISHED = batches.c.finished_at.is_(None)
_WHICH = (batches.c.tenant_id, batches.c.id)
_WEIGHT = weight(batches.c.template, batches.c.source, batches.c.error)


class SqlBatches:
    """See store.batch_store.Batches."""

    def __init__(self, database: Database) -> None:
        self._reading, self._writing = database.reading, database.writing

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
        with self._writing() as db:
            if key_taken(Hand.of(db), idempotent):
                return Added.KEY_TAKEN
            mine = select(func.count()).select_from(batches).where(batches.c.tenant_id == batch.tenant_id, _UNFINISHED)
            if max_batches is not None and (db.execute(mine).scalar() or 0) >= max_batches:
                return Added.QUEUE_FULL
            # The items ask again when they begin; but nothing is accepted that could not have begun now.
            if (refused := out_of(Hand.of(db), batch.tenant_id, batch.own_bytes, batch.created_at, quotas)) is not None:
                return refused
            if group_run is not None:
                added = insert_run(Hand.of(db), group_run, max_queued, None, quotas)
                if added is not Added.ADDED:
                    return added
            db.execute(insert(batches).values(**row_of(batch)))
            insert_items(db, batch.id, items)
            uses = [{"batch_id": batch.id, "version_id": version_id} for version_id in dict.fromkeys(version_ids)]
            if uses:
                db.execute(insert(batch_datasets), uses)
            if idempotent is not None:
                db.execute(insert(idempotency_keys).values(**idempotent.model_dump()))
            return Added.ADDED

    def batch(self, tenant_id: str, batch_id: str) -> Batch | None:
        query = select(batches).where(batches.c.id == batch_id, batches.c.tenant_id == tenant_id)
        with self._reading() as db:
            row = db.execute(query).mappings().first()
        return batch_of(row) if row else None

    def page(self, tenant_id: str, limit: int, before: tuple[datetime, str] | None = None) -> BatchPage:
        query = select(batches).where(batches.c.tenant_id == tenant_id)
        if before is not None:
            query = query.where(tuple_(batches.c.created_at, batches.c.id) < before)
        query = query.order_by(batches.c.created_at.desc(), batches.c.id.desc())
        with self._reading() as db:
            rows, more = first_rows(db, query, _WEIGHT, limit)
        shown = [batch_of(row) for row in rows]
        return BatchPage(batches=tuple(shown), before=(shown[-1].created_at, shown[-1].id) if more else None)

    def counts(self, batch: Batch) -> Counts:
        # By the indexes alone: a list of batches counts the items of each.
        since = runs.c.finished_at >= batch.begun_at if batch.begun_at else null()
        begun = (
            select(runs.c.status, func.count(), func.sum(case((since, 1), else_=0)))
            .where(runs.c.batch_id == batch.id, runs.c.item.is_not(None))
            .group_by(runs.c.status)
        )
        unbegun = select(func.count()).select_from(batch_items).where(_unbegun(batch.id))
        with self._reading() as db:
            rows = list(db.execute(begun))
            waiting = int(db.execute(unbegun).scalar() or 0)
        counts = dict.fromkeys(ItemStatus, 0) | {ItemStatus(row[0]): int(row[1]) for row in rows}
        counts[ItemStatus.CANCELLED if batch.cancel_requested else ItemStatus.WAITING] += waiting
        counts[ItemStatus.REMOVED] = (batch.total or 0) - sum(counts.values())
        return Counts(items=counts, ended=sum(int(row[2] or 0) for row in rows))

    def items(self, batch: Batch, limit: int, after: int = 0, status: ItemStatus | None = None) -> ItemPage:
        state = state_of(batch)
        error = runs.c.outcome["error"]
        query = (
            select(
                *batch_items.c,
                state.label("state"),
                runs.c.outcome["reason"].as_string().label("reason"),
                error["code"].as_string().label("error_code"),
                func.substr(error["message"].as_string(), 1, MESSAGE_CHARACTERS).label("error_message"),
            )
            .select_from(WITH_RUNS)
            .where(batch_items.c.batch_id == batch.id, batch_items.c.number > after)
        )
        if status is not None:
            query = query.where(state == status)
        with self._reading() as db:
            found = list(db.execute(query.order_by(batch_items.c.number).limit(limit + 1)).mappings())
        shown = tuple(state_in(row) for row in found[:limit])
        return ItemPage(items=shown, after=shown[-1].item.number if len(found) > limit else None)

    def results(self, batch: Batch) -> list[tuple[int, str]]:
        query = (
            select(batch_items.c.number, batch_items.c.run_id)
            .select_from(WITH_RUNS)
            .where(batch_items.c.batch_id == batch.id, runs.c.status == Status.SUCCEEDED)
        )
        with self._reading() as db:
            return [(row.number, row.run_id) for row in db.execute(query.order_by(batch_items.c.number))]

    # -- executing -------------------------------------------------------------------------------------------------

    def unfinished(self) -> list[Which]:
        return self._which(select(*_WHICH).where(_UNFINISHED).order_by(batches.c.created_at))

    def prepared(self, batch_id: str, items: Iterable[Item], now: datetime) -> bool:
        this = _wanted(batch_id) & batches.c.total.is_(None)
        with self._writing() as db:
            if not db.execute(select(exists(select(batches.c.id).where(this)))).scalar():
                return False
            total = insert_items(db, batch_id, items)
            db.execute(update(batches).where(batches.c.id == batch_id).values(total=total, begun_at=now))
            return True

    def failed(self, batch_id: str, error: ScriptError, now: datetime) -> bool:
        this = _wanted(batch_id) & batches.c.total.is_(None)
        ended = {"error": error.model_dump(mode="json"), "finished_at": now}
        with self._writing() as db:
            return db.execute(update(batches).where(this).values(ended)).rowcount == 1

    def group_run(self, batch: Batch) -> Run | None:
        with self._reading() as db:
            row = db.execute(select(runs).where(runs.c.id == batch.group_run_id)).mappings().first()
        return run_of(row) if row else None

    def next_items(self, batch: Batch) -> list[Item]:
        left = select(batch_items).where(_unbegun(batch.id))
        with self._reading() as db:
            room = batch.parallel - _under_way(db, batch.id)
            if room <= 0:
                return []
            query = left.order_by(batch_items.c.number).limit(room)
            return [item_of(row) for row in db.execute(query).mappings()]

    def begin(self, run: Run, parallel: int, max_queued: int, quotas: Quotas = NO_QUOTAS) -> Begun:
        batch_id = run.batch_id or ""
        wanted = exists(select(batches.c.id).where(_wanted(batch_id)))
        free = _unbegun(batch_id) & (batch_items.c.number == run.item) & wanted
        with self._writing() as db:
            if _under_way(db, batch_id) >= parallel:
                return Begun.NOT_WANTED
            if not db.execute(select(exists(select(batch_items.c.number).where(free)))).scalar():
                return Begun.NOT_WANTED
            if insert_run(Hand.of(db), run, max_queued, None, quotas) is not Added.ADDED:
                return Begun.QUEUE_FULL
            db.execute(update(batch_items).where(free).values(run_id=run.id))
            return Begun.BEGUN

    def under_way(self, batch_id: str) -> list[str]:
        query = select(runs.c.id).where(runs.c.batch_id == batch_id, _LIVE, _ITS_WORK)
        with self._reading() as db:
            return list(db.execute(query).scalars())

    def finish(self, batch_id: str, now: datetime) -> bool:
        left = exists(select(batch_items.c.number).where(_unbegun(batch_id)))
        live = exists(select(runs.c.id).where(runs.c.batch_id == batch_id, _LIVE, _ITS_WORK))
        over = batches.c.cancel_requested | (batches.c.total.is_not(None) & ~left)
        this = (batches.c.id == batch_id) & _UNFINISHED & over & ~live
        with self._writing() as db:
            return db.execute(update(batches).where(this).values(finished_at=now)).rowcount == 1

    def request_cancel(self, tenant_id: str, batch_id: str, entry: Entry | None = None) -> bool:
        this = (batches.c.id == batch_id) & (batches.c.tenant_id == tenant_id) & _UNFINISHED
        with self._writing() as db:
            if db.execute(update(batches).where(this).values(cancel_requested=True)).rowcount != 1:
                return False
            trail.note(db, entry)
            return True

    def retry(self, tenant_id: str, batch_id: str, now: datetime, entry: Entry | None = None) -> Retried | None:
        mine = (batches.c.id == batch_id) & (batches.c.tenant_id == tenant_id)
        unsuccessful = (runs.c.batch_id == batch_id) & runs.c.status.in_([Status.FAILED, Status.CANCELLED])
        unsuccessful &= runs.c.item.is_not(None)
        again = (batch_items.c.batch_id == batch_id) & batch_items.c.run_id.in_(select(runs.c.id).where(unsuccessful))
        with self._writing() as db:
            row = db.execute(select(batches).where(mine, ~_UNFINISHED)).mappings().first()
            if row is None:
                return None
            never = select(func.count()).select_from(batch_items).where(_unbegun(batch_id))
            count = db.execute(never).scalar() or 0
            values = {"run_id": None, "retries": batch_items.c.retries + 1}
            count += db.execute(update(batch_items).where(again).values(values)).rowcount
            db.execute(update(runs).where(unsuccessful).values(item=None))
            if count == 0:
                return Retried(items=0)
            anew = {"finished_at": None, "begun_at": now, "cancel_requested": False, "output_run_id": None}
            db.execute(update(batches).where(mine).values(anew))
            output = (runs.c.id == row["output_run_id"]) & runs.c.status.in_(FINAL)
            gone = db.execute(delete(runs).where(output)).rowcount == 1
            trail.note(db, entry)
            return Retried(items=count, output_run_id=row["output_run_id"] if gone else None)

    def begin_output(self, run: Run, max_queued: int, quotas: Quotas = NO_QUOTAS) -> str | None:
        with self._writing() as db:
            row = db.execute(select(batches).where(batches.c.id == run.batch_id, ~_UNFINISHED)).mappings().first()
            if row is None or row["output_run_id"] is not None:
                return row["output_run_id"] if row is not None else None
            if insert_run(Hand.of(db), run, max_queued, None, quotas) is not Added.ADDED:
                return None
            db.execute(update(batches).where(batches.c.id == run.batch_id).values(output_run_id=run.id))
            return run.id

    def forget_output(self, batch_id: str, run_id: str) -> None:
        this = (batches.c.id == batch_id) & (batches.c.output_run_id == run_id)
        with self._writing() as db:
            db.execute(update(batches).where(this).values(output_run_id=None))

    # -- removing --------------------------------------------------------------------------------------------------

    def delete(self, tenant_id: str, batch_id: str, entry: Entry | None = None) -> Deleted:
        this = (batches.c.id == batch_id) & (batches.c.tenant_id == tenant_id) & ~_UNFINISHED
        live = exists(select(runs.c.id).where(runs.c.batch_id == batch_id, _LIVE))
        some = select(runs.c.id).where(runs.c.batch_id == batch_id).limit(_AT_ONCE)
        run_ids: list[str] = []
        while True:
            # Some at a time: nobody else's run should wait for ten thousand rows to go.
            with self._writing() as db:
                if not db.execute(select(exists(select(batches.c.id).where(this, ~live)))).scalar():
                    return Deleted(done=False, run_ids=tuple(run_ids))
                gone = list(db.execute(delete(runs).where(runs.c.id.in_(some)).returning(runs.c.id)).scalars())
                run_ids += gone
                if not gone:
                    _forget(db, batch_id)
                    trail.note(db, entry)
                    return Deleted(done=True, run_ids=tuple(run_ids))

    def known(self, batch_ids: Iterable[str]) -> set[str]:
        wanted, found = list(batch_ids), set[str]()
        for first in range(0, len(wanted), _AT_ONCE):
            query = select(batches.c.id).where(batches.c.id.in_(wanted[first : first + _AT_ONCE]))
            with self._reading() as db:
                found.update(db.execute(query).scalars())
        return found

    def expired(self, before: datetime, limit: int) -> list[Which]:
        old = batches.c.finished_at < before
        return self._which(select(*_WHICH).where(old).order_by(batches.c.finished_at).limit(limit))

    def _which(self, query: Select[Any]) -> list[Which]:
        with self._reading() as db:
            return [Which(*row) for row in db.execute(query)]


def users_of(db: Connection, version_id: str) -> list[str]:
    """The batches that have not ended and take tables from this version of a dataset."""
    query = (
        select(batches.c.id)
        .join(batch_datasets, batch_datasets.c.batch_id == batches.c.id)
        .where(batch_datasets.c.version_id == version_id, _UNFINISHED)
        .limit(10)
    )
    return [f"batch {batch_id}" for batch_id in db.execute(query).scalars()]


def _wanted(batch_id: str) -> ColumnElement[bool]:
    return and_(batches.c.id == batch_id, _UNFINISHED, ~batches.c.cancel_requested)


def _unbegun(batch_id: str) -> ColumnElement[bool]:
    return and_(batch_items.c.batch_id == batch_id, batch_items.c.run_id.is_(None))


def _forget(db: Connection, batch_id: str) -> None:
    for table in (batch_items, batch_datasets):
        db.execute(delete(table).where(table.c.batch_id == batch_id))
    db.execute(delete(idempotency_keys).where(idempotency_keys.c.resource_id == batch_id))
    db.execute(delete(batches).where(batches.c.id == batch_id))


def _under_way(db: Connection, batch_id: str) -> int:
    live = select(func.count()).select_from(runs).where(runs.c.batch_id == batch_id, _LIVE, runs.c.item.is_not(None))
    return int(db.execute(live).scalar() or 0)
