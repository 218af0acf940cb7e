"""The store on SQLAlchemy: SQLite by default. SQL is written here and nowhere else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import (
    Connection,
    RowMapping,
    create_engine,
    delete,
    event,
    exists,
    func,
    insert,
    literal,
    select,
    text,
    tuple_,
    update,
)
from sqlalchemy.exc import DBAPIError, IntegrityError

from controller.errors import Conflict, StorageFull, StoreError
from controller.model import Outcome, Run, Status
from controller.store.base import Key, Page
from controller.store.tables import api_keys, runs, tenants

_FINAL = [status for status in Status if status.final]
_BUSY_MILLISECONDS = 10_000
PAGE_BYTES = 2 << 20
"""An outcome may carry a mebibyte of its script's words: a page of a list ends early rather than hold many of them."""


class SqlStore:
    """See store.base.Store. `url` is SQLAlchemy's."""

    def __init__(self, url: str) -> None:
        self._engine = create_engine(url, pool_size=16, max_overflow=256)
        if self._engine.dialect.name == "sqlite":
            event.listen(self._engine, "connect", _set_up_sqlite)
            event.listen(self._engine, "begin", _begin_sqlite)

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        with _translated(), self._engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        options = {"airlock_writes": True}
        with _translated(), self._engine.connect().execution_options(**options) as connection, connection.begin():
            yield connection

    # -- schema ------------------------------------------------------------------------------------------------

    def migrate(self) -> None:
        """Bring the schema up to this version's. Safe to call at every start."""
        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
        with self._writing() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")

    # -- tenants and keys --------------------------------------------------------------------------------------

    def add_tenant(self, tenant_id: str, name: str, created_at: datetime) -> None:
        with self._writing() as db:
            try:
                db.execute(insert(tenants).values(id=tenant_id, name=name, created_at=created_at))
            except IntegrityError as e:
                raise Conflict(f"there is a tenant named {name!r} already") from e

    def tenant_named(self, name: str) -> str | None:
        with self._reading() as db:
            return db.execute(select(tenants.c.id).where(tenants.c.name == name)).scalar()

    def add_key(self, key: Key) -> None:
        with self._writing() as db:
            db.execute(insert(api_keys).values(**key.model_dump() | {"scopes": list(key.scopes)}))

    def key(self, key_id: str) -> Key | None:
        with self._reading() as db:
            row = db.execute(select(api_keys).where(api_keys.c.id == key_id)).mappings().first()
        return Key(**dict(row) | {"scopes": tuple(row["scopes"])}) if row else None

    def has_keys(self) -> bool:
        with self._reading() as db:
            return bool(db.execute(select(exists(select(api_keys.c.id)))).scalar())

    # -- runs ----------------------------------------------------------------------------------------------------

    def add_run(self, run: Run, max_queued: int) -> bool:
        values = {column: literal(value, runs.c[column].type) for column, value in _row(run).items()}
        waiting = (
            select(func.count())
            .select_from(runs)
            .where(runs.c.tenant_id == run.tenant_id, runs.c.status == Status.QUEUED)
            .scalar_subquery()
        )
        row = select(*values.values()).where(waiting < max_queued)
        with self._writing() as db:
            return db.execute(insert(runs).from_select(list(values), row)).rowcount == 1

    def run(self, tenant_id: str, run_id: str) -> Run | None:
        with self._reading() as db:
            query = select(runs).where(runs.c.id == run_id, runs.c.tenant_id == tenant_id)
            row = db.execute(query).mappings().first()
        return _run(row) if row else None

    def runs(
        self,
        tenant_id: str,
        limit: int,
        *,
        status: Status | None = None,
        created_after: datetime | None = None,
        before: tuple[datetime, str] | None = None,
    ) -> Page:
        query = select(runs).where(runs.c.tenant_id == tenant_id)
        if status is not None:
            query = query.where(runs.c.status == status)
        if created_after is not None:
            query = query.where(runs.c.created_at > created_after)
        if before is not None:
            query = query.where(tuple_(runs.c.created_at, runs.c.id) < before)
        query = query.order_by(runs.c.created_at.desc(), runs.c.id.desc()).limit(limit + 1)
        weights = query.with_only_columns(func.coalesce(func.length(runs.c.outcome), 0))
        with self._reading() as db:
            count = _fitting(list(db.execute(weights).scalars()))
            found = [_run(row) for row in db.execute(query.limit(min(limit, count) + 1)).mappings()]
        size = min(limit, count, len(found))
        page, more = found[:size], len(found) > size
        return Page(runs=tuple(page), before=(page[-1].created_at, page[-1].id) if more else None)

    def reusable(self, tenant_id: str, content_sha256: str) -> Run | None:
        same = (runs.c.tenant_id == tenant_id) & (runs.c.content_sha256 == content_sha256)
        query = select(runs).where(same, runs.c.status == Status.SUCCEEDED).order_by(runs.c.created_at.desc()).limit(1)
        with self._reading() as db:
            row = db.execute(query).mappings().first()
        return _run(row) if row else None

    def claim(self, run_id: str, now: datetime) -> Run | None:
        statement = (
            update(runs)
            .where(runs.c.id == run_id, runs.c.status == Status.QUEUED)
            .values(status=Status.RUNNING, attempt=runs.c.attempt + 1, started_at=now)
            .returning(*runs.c)
        )
        with self._writing() as db:
            row = db.execute(statement).mappings().first()
        return _run(row) if row else None

    def release(self, run_id: str, attempt: int) -> bool:
        claimed = (runs.c.id == run_id) & (runs.c.status == Status.RUNNING) & (runs.c.attempt == attempt)
        statement = update(runs).where(claimed, runs.c.cancel_requested == 0)
        with self._writing() as db:
            return db.execute(statement.values(status=Status.QUEUED, started_at=None)).rowcount == 1

    def finish(self, run_id: str, attempt: int, outcome: Outcome, now: datetime) -> bool:
        statement = (
            update(runs)
            .where(runs.c.id == run_id, runs.c.status == Status.RUNNING, runs.c.attempt == attempt)
            .values(_finished(outcome, now))
        )
        with self._writing() as db:
            return db.execute(statement).rowcount == 1

    def request_cancel(self, tenant_id: str, run_id: str, now: datetime) -> Run | None:
        mine = (runs.c.id == run_id) & (runs.c.tenant_id == tenant_id)
        with self._writing() as db:
            cancelled = _finished(Outcome(status=Status.CANCELLED), now)
            db.execute(update(runs).where(mine, runs.c.status == Status.QUEUED).values(cancelled))
            db.execute(update(runs).where(mine, runs.c.status == Status.RUNNING).values(cancel_requested=1))
            row = db.execute(select(runs).where(mine)).mappings().first()
        return _run(row) if row else None

    def cancel_requested(self, run_id: str) -> bool:
        with self._reading() as db:
            return bool(db.execute(select(runs.c.cancel_requested).where(runs.c.id == run_id)).scalar())

    def recover(self, max_attempts: int, lost: Outcome, now: datetime) -> list[str]:
        interrupted = runs.c.status == Status.RUNNING
        cancelled = _finished(Outcome(status=Status.CANCELLED), now)
        with self._writing() as db:
            db.execute(update(runs).where(interrupted, runs.c.cancel_requested == 1).values(cancelled))
            db.execute(update(runs).where(interrupted, runs.c.attempt >= max_attempts).values(_finished(lost, now)))
            db.execute(update(runs).where(interrupted).values(status=Status.QUEUED, started_at=None))
            queued = select(runs.c.id).where(runs.c.status == Status.QUEUED).order_by(runs.c.created_at, runs.c.id)
            return list(db.execute(queued).scalars())

    def delete_run(self, tenant_id: str, run_id: str) -> bool:
        mine = (runs.c.id == run_id) & (runs.c.tenant_id == tenant_id) & runs.c.status.in_(_FINAL)
        with self._writing() as db:
            return db.execute(delete(runs).where(mine)).rowcount == 1

    def run_ids(self) -> list[str]:
        with self._reading() as db:
            return list(db.execute(select(runs.c.id)).scalars())

    def check(self) -> None:
        with self._reading() as db:
            db.execute(text("SELECT 1"))

    def close(self) -> None:
        self._engine.dispose()


def _fitting(weights: list[int]) -> int:
    """How many of the first rows are read together: one at least, and no more than PAGE_BYTES of outcomes."""
    total = 0
    for count, weight in enumerate(weights):
        total += weight
        if total > PAGE_BYTES and count:
            return count
    return len(weights)


def _row(run: Run) -> dict[str, Any]:
    return {
        "id": run.id,
        "tenant_id": run.tenant_id,
        "status": str(run.status),
        "attempt": run.attempt,
        "cancel_requested": 0,
        "script_sha256": run.script_sha256,
        "content_sha256": run.content_sha256,
        "environment": run.environment,
        "job": run.job.model_dump(mode="json"),
        "limits": run.limits.model_dump(mode="json"),
        "created_at": run.created_at,
        "started_at": run.started_at,
        "finished_at": run.finished_at,
        "outcome": run.outcome.model_dump(mode="json") if run.outcome else None,
    }


def _run(row: RowMapping) -> Run:
    values = {name: value for name, value in row.items() if name != "cancel_requested"}
    return Run.model_validate(values)


def _finished(outcome: Outcome, now: datetime) -> dict[str, Any]:
    return {"status": str(outcome.status), "outcome": outcome.model_dump(mode="json"), "finished_at": now}


def _set_up_sqlite(connection: Any, _record: object) -> None:
    # The driver's own transactions begin too late (after the first SELECT) and lose updates: we begin them.
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",  # what was accepted survives a power cut
        "foreign_keys=ON",
        f"busy_timeout={_BUSY_MILLISECONDS}",
        "secure_delete=ON",  # deleted means gone from the file too
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get("airlock_writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


@contextmanager
def _translated() -> Iterator[None]:
    """The driver's exceptions, as ours."""
    try:
        yield
    except DBAPIError as e:
        if "full" in str(e.orig) or "disk I/O error" in str(e.orig):
            raise StorageFull(f"the database cannot write: {e.orig}; free space on the data directory's disk") from e
        raise StoreError(f"the database does not answer: {e.orig}") from e
