"""Endpoints on SQLAlchemy."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, bindparam, delete, func, insert, or_, select, update
from sqlalchemy.dialects.sqlite import insert as upsert

from controller.store import trail
from controller.store.audit_store import Entry
from controller.store.database import Database
from controller.store.endpoint_store import Changed, Endpoint, EndpointKey, EndpointPage, Job, Signature, Tally
from controller.store.rows import first_rows, weight
from controller.store.scripts import version_of
from controller.store.statements import Row, Statement
from controller.store.tables import endpoint_calls, endpoints, jobs

_WEIGHT = weight(endpoints.c.config, endpoints.c.signature)
"""A signature has the names of all columns."""
_BY_KEY = Statement(
    select(endpoints).where(
        or_(endpoints.c.primary_id == bindparam("key_id"), endpoints.c.secondary_id == bindparam("key_id"))
    )
)


class SqlEndpoints:
    """See store.endpoint_store.Endpoints."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._reading, self._writing = database.reading, database.writing

    def put(
        self, endpoint: Endpoint, expected: int | None, max_endpoints: int, entry: Entry | None = None
    ) -> Changed:
        mine = endpoints.c.tenant_id == endpoint.tenant_id
        this = mine & (endpoints.c.name == endpoint.name)
        with self._writing() as db:
            before = _first(db, this)
            if expected is not None and expected != (before.revision if before else 0):
                return Changed.UNEXPECTED
            if version_of(db, endpoint.tenant_id, endpoint.script) is None:
                return Changed.NO_SCRIPT
            if before is not None and (before.script, before.config) == (endpoint.script, endpoint.config):
                return Changed.DONE
            if before is not None:
                db.execute(update(endpoints).where(this).values(_change(before, endpoint)))
                trail.note(db, entry)
                return Changed.DONE
            if (db.execute(select(func.count()).where(mine)).scalar() or 0) >= max_endpoints:
                return Changed.FULL
            db.execute(insert(endpoints).values(**_row(endpoint)))
            trail.note(db, entry)
            return Changed.DONE

    def sign(self, endpoint_id: str, signature: Signature) -> None:
        values = {"signature": signature.model_dump(mode="json")}
        with self._writing() as db:
            db.execute(update(endpoints).where(endpoints.c.id == endpoint_id).values(values))

    def find(self, tenant_id: str, name: str) -> Endpoint | None:
        with self._reading() as db:
            return _first(db, (endpoints.c.tenant_id == tenant_id) & (endpoints.c.name == name))

    def by_key(self, key_id: str) -> tuple[Endpoint, str] | None:
        row = self._database.row(_BY_KEY, {"key_id": key_id})
        if row is None:
            return None
        found = _endpoint(row)
        return found, found.primary_mac if found.primary_id == key_id else found.secondary_mac

    def page(self, tenant_id: str, limit: int, after: str = "") -> EndpointPage:
        query = select(endpoints).where(endpoints.c.tenant_id == tenant_id, endpoints.c.name > after)
        with self._reading() as db:
            rows, more = first_rows(db, query.order_by(endpoints.c.name), _WEIGHT, limit)
        page = [_endpoint(row) for row in rows]
        return EndpointPage(endpoints=tuple(page), after=page[-1].name if more else None)

    def set_key(self, endpoint_id: str, which: str, key: EndpointKey, entry: Entry | None = None) -> None:
        values = {f"{which}_id": key.id, f"{which}_mac": key.mac}
        with self._writing() as db:
            db.execute(update(endpoints).where(endpoints.c.id == endpoint_id).values(values))
            trail.note(db, entry)

    def delete(self, tenant_id: str, name: str, entry: Entry | None = None) -> str | None:
        this = (endpoints.c.tenant_id == tenant_id) & (endpoints.c.name == name)
        with self._writing() as db:
            found = _first(db, this)
            if found is None:
                return None
            for table in (endpoint_calls, jobs):
                db.execute(delete(table).where(table.c.endpoint_id == found.id))
            db.execute(delete(endpoints).where(this))
            trail.note(db, entry)
            return found.id

    # -- counts --------------------------------------------------------------------------------------------------

    def count(self, calls: Mapping[Tally, int]) -> None:
        with self._writing() as db:
            ids = {tally.endpoint_id for tally in calls}
            there = set(db.execute(select(endpoints.c.id).where(endpoints.c.id.in_(ids))).scalars())
            for tally, more in calls.items():
                if tally.endpoint_id in there:
                    row = upsert(endpoint_calls).values(**tally._asdict(), calls=more)
                    added = {"calls": endpoint_calls.c.calls + more}
                    keys = [column.name for column in endpoint_calls.primary_key]
                    db.execute(row.on_conflict_do_update(index_elements=keys, set_=added))

    def calls(self, endpoint_id: str, since: str) -> dict[Tally, int]:
        query = select(endpoint_calls).where(endpoint_calls.c.endpoint_id == endpoint_id, endpoint_calls.c.day >= since)
        with self._reading() as db:
            return {Tally(*row[:4]): row.calls for row in db.execute(query.order_by(endpoint_calls.c.day))}

    # -- jobs ----------------------------------------------------------------------------------------------------

    def add_job(self, job: Job, max_unstarted: int) -> bool:
        waiting = (jobs.c.endpoint_id == job.endpoint_id) & jobs.c.run_id.is_(None) & ~jobs.c.cancelled
        with self._writing() as db:
            if (db.execute(select(func.count()).where(waiting)).scalar() or 0) >= max_unstarted:
                return False
            db.execute(insert(jobs).values(**job.model_dump()))
            return True

    def job(self, endpoint_id: str, job_id: str) -> Job | None:
        query = select(jobs).where(jobs.c.id == job_id, jobs.c.endpoint_id == endpoint_id)
        with self._reading() as db:
            row = db.execute(query).mappings().first()
        return Job.model_validate(dict(row)) if row else None

    def start_job(self, job_id: str, run_id: str) -> bool:
        this = (jobs.c.id == job_id) & jobs.c.run_id.is_(None) & ~jobs.c.cancelled
        with self._writing() as db:
            return db.execute(update(jobs).where(this).values(run_id=run_id)).rowcount == 1

    def cancel_job(self, job_id: str) -> None:
        with self._writing() as db:
            db.execute(update(jobs).where(jobs.c.id == job_id).values(cancelled=True))
            unstarted = (jobs.c.id == job_id) & jobs.c.run_id.is_(None)
            db.execute(update(jobs).where(unstarted).values(request={}))

    def forget_unstarted(self, before: datetime) -> int:
        old = (jobs.c.created_at < before) & jobs.c.run_id.is_(None)
        with self._writing() as db:
            return db.execute(delete(jobs).where(old)).rowcount

    def forget_jobs(self, before: datetime) -> int:
        with self._writing() as db:
            return db.execute(delete(jobs).where(jobs.c.created_at < before)).rowcount


def _change(before: Endpoint, endpoint: Endpoint) -> dict[str, Any]:
    previous = before.script if before.script != endpoint.script else before.previous
    return {
        "script": endpoint.script.model_dump(mode="json"),
        "previous": previous.model_dump(mode="json") if previous else None,
        "config": endpoint.config.model_dump(mode="json"),
        "revision": before.revision + 1,
        "updated_at": endpoint.updated_at,
    }


def _first(db: Connection, condition: ColumnElement[bool]) -> Endpoint | None:
    row = db.execute(select(endpoints).where(condition)).mappings().first()
    return _endpoint(row) if row else None


def _endpoint(row: Row) -> Endpoint:
    return Endpoint.model_validate(dict(row))


def _row(endpoint: Endpoint) -> dict[str, Any]:
    times = {"created_at": endpoint.created_at, "updated_at": endpoint.updated_at}
    return endpoint.model_dump(mode="json") | times
