"""The store on SQLAlchemy: SQLite by default. SQL is written in this folder and nowhere else."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Select,
    and_,
    bindparam,
    delete,
    func,
    or_,
    select,
    tuple_,
    update,
)

from controller.model import Outcome, Part, Quotas, Run, Status, Stored, TaskKind, Waiting
from controller.store import trail
from controller.store.audit_store import Entry
from controller.store.base import NO_QUOTAS, Added, Backlog, Claim, Idempotent, Page, RunFilter, Which
from controller.store.database import Database
from controller.store.rows import FINAL, OF_KEY, RUN_WEIGHT, ended_with, first_rows, insert_run, run_of
from controller.store.shares import count_use, may_begin
from controller.store.statements import Statement
from controller.store.tables import idempotency_keys, runs

_AT_ONCE = 500
"""Values in one statement; databases bound them."""
_BYTES = {Part.INPUTS: runs.c.input_bytes, Part.OUTPUTS: runs.c.output_bytes, Part.LOG: runs.c.log_file_bytes}


class SqlStore:
    """See store.base.Store."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._reading, self._writing = database.reading, database.writing

    def check(self) -> None:
        self._database.check()

    def close(self) -> None:
        self._database.close()

    # -- accepting and showing runs ------------------------------------------------------------------------------

    def add_run(
        self, run: Run, max_queued: int, idempotent: Idempotent | None = None, quotas: Quotas = NO_QUOTAS
    ) -> Added:
        with self._database.at_hand() as db:
            return insert_run(db, run, max_queued, idempotent, quotas)

    def idempotent(self, tenant_id: str, key: str) -> Idempotent | None:
        row = self._database.row(OF_KEY, {"of_tenant": tenant_id, "of_key": key})
        return Idempotent(**row) if row else None

    def forget_keys(self, before: datetime) -> int:
        with self._writing() as db:
            return db.execute(delete(idempotency_keys).where(idempotency_keys.c.created_at < before)).rowcount

    def run(self, tenant_id: str, run_id: str) -> Run | None:
        row = self._database.row(_ONE, {"run_id": run_id, "of_tenant": tenant_id})
        return run_of(row) if row else None

    def runs(
        self, tenant_id: str, limit: int, wanted: RunFilter | None = None, before: tuple[datetime, str] | None = None
    ) -> Page:
        query = select(runs).where(runs.c.tenant_id == tenant_id, runs.c.task == TaskKind.RUN)
        return self._page(query, limit, wanted, before)

    def any_run(self, run_id: str) -> Run | None:
        found = self._select(select(runs).where(runs.c.id == run_id))
        return found[0] if found else None

    def everybodys_runs(
        self,
        limit: int,
        wanted: RunFilter | None = None,
        before: tuple[datetime, str] | None = None,
        tenant_id: str | None = None,
    ) -> Page:
        query = select(runs)
        if tenant_id is not None:
            query = query.where(runs.c.tenant_id == tenant_id)
        return self._page(query, limit, wanted, before)

    def counts(self) -> dict[Status, int]:
        live = runs.c.status.in_([Status.QUEUED, Status.RUNNING])
        query = select(runs.c.status, func.count()).where(live).group_by(runs.c.status)
        with self._reading() as db:
            return {Status(row[0]): int(row[1]) for row in db.execute(query)}

    def _page(
        self, query: Select[Any], limit: int, wanted: RunFilter | None, before: tuple[datetime, str] | None
    ) -> Page:
        query = query.where(*_filter(wanted or RunFilter()))
        if before is not None:
            query = query.where(tuple_(runs.c.created_at, runs.c.id) < before)
        query = query.order_by(runs.c.created_at.desc(), runs.c.id.desc())
        with self._reading() as db:
            rows, more = first_rows(db, query, RUN_WEIGHT, limit)
        page = [run_of(row) for row in rows]
        return Page(runs=tuple(page), before=(page[-1].created_at, page[-1].id) if more else None)

    def reusable(self, tenant_id: str, content_sha256: str) -> Run | None:
        same = (runs.c.tenant_id == tenant_id) & (runs.c.content_sha256 == content_sha256)
        whole = (runs.c.status == Status.SUCCEEDED) & (runs.c.output_bytes > 0)
        query = select(runs).where(same, whole).order_by(runs.c.created_at.desc()).limit(1)
        with self._reading() as db:
            row = db.execute(query).mappings().first()
        return run_of(row) if row else None

    # -- executing them ------------------------------------------------------------------------------------------

    def claim(self, run_id: str, claim: Claim, now: datetime, defaults: Quotas = NO_QUOTAS) -> Run | None:
        values = {"run_id": run_id, "started_at": now, "owner": claim.owner, "lease_until": claim.lease_until}
        with self._database.at_hand() as db:
            row = db.first(_CLAIM, values) if may_begin(db, run_id, defaults, now) else None
        return run_of(row) if row else None

    def renew(self, run_ids: Collection[str], claim: Claim) -> None:
        for some in in_parts(run_ids):
            held = (runs.c.status == Status.RUNNING) & (runs.c.owner == claim.owner) & runs.c.id.in_(some)
            with self._writing() as db:
                db.execute(update(runs).where(held).values(lease_until=claim.lease_until))

    def release(
        self,
        run_id: str,
        attempt: int,
        not_before: datetime | None = None,
        *,
        failed: bool = False,
        begun: bool = True,
    ) -> bool:
        counts = {"failures": runs.c.failures + int(failed), "attempt": runs.c.attempt - int(not begun)}
        statement = update(runs).where(_claimed(run_id, attempt), runs.c.cancel_requested == 0)
        with self._writing() as db:
            return db.execute(statement.values(_QUEUED | counts | {"not_before": not_before})).rowcount == 1

    def finish(self, run_id: str, attempt: int, outcome: Outcome, now: datetime, stored: Stored) -> bool:
        kept = {"output_bytes": stored.output_bytes, "log_file_bytes": stored.log_bytes}
        values = ended_with(outcome, now) | kept | {"run_id": run_id, "of_attempt": attempt}
        with self._database.at_hand() as db:
            row = db.first(_FINISH, values)
            if row is not None:
                count_use(db, row, outcome, now)
            return row is not None

    def request_cancel(
        self, tenant_id: str, run_id: str, now: datetime, entry: Entry | None = None
    ) -> Run | None:
        mine = (runs.c.id == run_id) & (runs.c.tenant_id == tenant_id)
        with self._writing() as db:
            cancelled = ended_with(Outcome(status=Status.CANCELLED), now)
            db.execute(update(runs).where(mine, runs.c.status == Status.QUEUED).values(cancelled))
            db.execute(update(runs).where(mine, runs.c.status == Status.RUNNING).values(cancel_requested=1))
            row = db.execute(select(runs).where(mine)).mappings().first()
            if row is not None:
                trail.note(db, entry)
        return run_of(row) if row else None

    def cancel_requested(self, run_id: str) -> bool:
        row = self._database.row(_CANCEL_REQUESTED, {"run_id": run_id})
        return row is not None and bool(row["cancel_requested"])

    def recover(self, max_failures: int, lost: Outcome, now: datetime, *, all_owners: bool) -> list[str]:
        abandoned: ColumnElement[bool] = runs.c.status == Status.RUNNING
        if not all_owners:
            abandoned = and_(abandoned, runs.c.lease_until < now)
        spent = or_(runs.c.at_most_once, runs.c.failures + 1 >= max_failures)
        cancelled = ended_with(Outcome(status=Status.CANCELLED), now)
        ids: list[str] = []
        with self._writing() as db:
            for which, values in ((runs.c.cancel_requested == 1, cancelled), (spent, ended_with(lost, now))):
                statement = update(runs).where(abandoned, which).values(values).returning(runs.c.id)
                ids += db.execute(statement).scalars()
            db.execute(update(runs).where(abandoned).values(_QUEUED | {"failures": runs.c.failures + 1}))
        return ids

    def waiting(self) -> list[Waiting]:
        query = select(runs.c.id.label("run_id"), runs.c.tenant_id, runs.c.priority, runs.c.not_before)
        query = query.where(runs.c.status == Status.QUEUED).order_by(runs.c.created_at, runs.c.id)
        with self._reading() as db:
            return [Waiting(**row) for row in db.execute(query).mappings()]

    def backlog(self) -> list[Backlog]:
        query = select(runs.c.priority, func.count().label("count"), func.min(runs.c.created_at).label("oldest"))
        query = query.where(runs.c.status == Status.QUEUED).group_by(runs.c.priority)
        with self._reading() as db:
            return [Backlog(**row) for row in db.execute(query).mappings()]

    def named(self, run_ids: Collection[str]) -> list[Run]:
        return [run for some in in_parts(run_ids) for run in self._select(select(runs).where(runs.c.id.in_(some)))]

    # -- removing ------------------------------------------------------------------------------------------------

    def delete_run(self, tenant_id: str, run_id: str, entry: Entry | None = None) -> bool:
        mine = (runs.c.id == run_id) & (runs.c.tenant_id == tenant_id) & runs.c.status.in_(FINAL)
        with self._writing() as db:
            if db.execute(delete(runs).where(mine)).rowcount != 1:
                return False
            db.execute(delete(idempotency_keys).where(idempotency_keys.c.resource_id == run_id))
            trail.note(db, entry)
            return True

    def known_runs(self, run_ids: Iterable[str]) -> set[str]:
        found: set[str] = set()
        for some in in_parts(list(run_ids)):
            with self._reading() as db:
                found.update(db.execute(select(runs.c.id).where(runs.c.id.in_(some))).scalars())
        return found

    def expired(self, part: Part | None, before: datetime, limit: int) -> list[Which]:
        query = select(*_WHICH).where(_ENDED, runs.c.finished_at < before)
        if part is not None:
            query = query.where(_BYTES[part] > 0)
        return self._which(query.order_by(runs.c.finished_at).limit(limit))

    def oldest_stored(self, tenant_id: str, limit: int) -> list[Which]:
        query = select(*_WHICH).where(runs.c.tenant_id == tenant_id, _ENDED, _ALL_BYTES > 0)
        return self._which(query.order_by(runs.c.finished_at).limit(limit))

    def _which(self, query: Select[Any]) -> list[Which]:
        with self._reading() as db:
            return [Which(*row) for row in db.execute(query)]

    def _select(self, query: Select[Any]) -> list[Run]:
        with self._reading() as db:
            return [run_of(row) for row in db.execute(query).mappings()]

    def stored_bytes(self) -> dict[str, int]:
        query = select(runs.c.tenant_id, func.sum(_ALL_BYTES)).where(runs.c.task == TaskKind.RUN)
        with self._reading() as db:
            return {tenant_id: int(total or 0) for tenant_id, total in db.execute(query.group_by(runs.c.tenant_id))}

    def mark_removed(self, run_id: str, parts: Collection[Part]) -> None:
        this = runs.c.id == run_id
        with self._writing() as db:
            removed = db.execute(select(runs.c.removed).where(this)).scalar() or []
            marked = [str(part) for part in Part if part in parts or part in removed]
            db.execute(update(runs).where(this).values(removed=marked, **{_BYTES[part].name: 0 for part in parts}))

    def grow(self, run_id: str, output_bytes: int) -> None:
        with self._writing() as db:
            larger = runs.c.output_bytes + output_bytes
            db.execute(update(runs).where(runs.c.id == run_id).values(output_bytes=larger))


_THIS = runs.c.id == bindparam("run_id")
_ONE = Statement(select(runs).where(_THIS, runs.c.tenant_id == bindparam("of_tenant")))
_CLAIM = Statement(
    update(runs)
    .where(_THIS, runs.c.status == Status.QUEUED)
    .values(status=Status.RUNNING, attempt=runs.c.attempt + 1)
    .returning(*runs.c),
    "started_at",
    "owner",
    "lease_until",
)
_FINISH = Statement(
    update(runs)
    .where(_THIS, runs.c.status == Status.RUNNING, runs.c.attempt == bindparam("of_attempt"))
    .returning(runs.c.tenant_id, runs.c.task),
    *ended_with(Outcome(status=Status.FAILED), datetime.min),
    "output_bytes",
    "log_file_bytes",
)
_CANCEL_REQUESTED = Statement(select(runs.c.cancel_requested).where(_THIS))
_ENDED = (runs.c.task == TaskKind.RUN) & runs.c.status.in_(FINAL)
"""What retention may touch: datasets, too, are made by runs, and are their tenant's to delete."""
_WHICH = (runs.c.tenant_id, runs.c.id)
_ALL_BYTES = runs.c.input_bytes + runs.c.output_bytes + runs.c.log_file_bytes
_QUEUED: dict[str, Any] = {"status": str(Status.QUEUED), "started_at": None, "owner": None, "lease_until": None}


def _claimed(run_id: str, attempt: int) -> ColumnElement[bool]:
    return and_(runs.c.id == run_id, runs.c.status == Status.RUNNING, runs.c.attempt == attempt)


def _filter(wanted: RunFilter) -> list[ColumnElement[bool]]:
    leading = {"script_sha256": wanted.script_sha256, "batch_id": wanted.batch_id, "endpoint_id": wanted.endpoint_id}
    conditions: list[ColumnElement[bool]]
    conditions = [runs.c[name] == value for name, value in leading.items() if value is not None]
    if wanted.status is not None:
        # Where another filter leads, its index must: as an expression, the status has none to tempt the planner with.
        conditions.append((func.coalesce(runs.c.status, "") if conditions else runs.c.status) == wanted.status)
    if wanted.created_after is not None:
        conditions.append(runs.c.created_at > wanted.created_after)
    if wanted.created_before is not None:
        conditions.append(runs.c.created_at < wanted.created_before)
    return conditions


def in_parts(values: Collection[str]) -> Iterable[list[str]]:
    known = list(values)
    return (known[first : first + _AT_ONCE] for first in range(0, len(known), _AT_ONCE))
