"""The audit log on SQLAlchemy."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import select

from controller.store import trail
from controller.store.audit_store import AuditFilter, AuditRow, Entry
from controller.store.database import Database
from controller.store.tables import audit_log

_AT_ONCE = 500


class SqlAudit:
    """See store.audit_store.Audit."""

    def __init__(self, database: Database) -> None:
        self._reading, self._writing = database.reading, database.writing

    def append(self, entry: Entry) -> None:
        with self._writing() as db:
            trail.append(db, entry)

    def page(self, wanted: AuditFilter, limit: int) -> list[AuditRow]:
        query = select(audit_log).order_by(audit_log.c.number.desc()).limit(limit)
        if wanted.action is not None:
            query = query.where(audit_log.c.action == wanted.action)
        if wanted.tenant_id is not None:
            query = query.where(audit_log.c.tenant_id == wanted.tenant_id)
        if wanted.before is not None:
            query = query.where(audit_log.c.number < wanted.before)
        with self._reading() as db:
            return [AuditRow(**row) for row in db.execute(query).mappings()]

    def rows(self) -> Iterator[AuditRow]:
        last: int | None = None
        while True:
            query = select(audit_log).order_by(audit_log.c.number).limit(_AT_ONCE)
            if last is not None:
                query = query.where(audit_log.c.number > last)
            with self._reading() as db:
                found = [AuditRow(**row) for row in db.execute(query).mappings()]
            yield from found
            if len(found) < _AT_ONCE:
                return
            last = found[-1].number
