"""A tenant's rows, all of them: found by the tables' own references, so that a table that is added later is not
forgotten (a test sees to it that each belongs to tenants, or is known not to)."""

from __future__ import annotations

from sqlalchemy import ColumnElement, Connection, Table, delete, exists, or_, select

from controller.store.rows import FINAL
from controller.store.tables import batches, metadata, runs, script_tags, script_versions, tenants
from controller.store.tenant_store import Erased


def erase(db: Connection, tenant_id: str, limit: int) -> Erased:
    """As Tenants.erase."""
    if not _deleting(db, tenant_id):
        return Erased([], [], [])
    ended = select(runs.c.id).where(runs.c.tenant_id == tenant_id, runs.c.status.in_(FINAL)).limit(limit)
    gone = db.execute(delete(runs).where(runs.c.id.in_(ended)).returning(runs.c.id)).scalars()
    if run_ids := list(gone):
        return Erased(run_ids, [], [])
    if _has(db, runs, tenant_id):
        return Erased([], [], [])
    some = list(db.execute(select(batches.c.id).where(batches.c.tenant_id == tenant_id).limit(limit)).scalars())
    for table in reversed(metadata.sorted_tables):
        for column in table.c:
            if any(key.column.table is batches for key in column.foreign_keys):
                db.execute(delete(table).where(column.in_(some)))
    db.execute(delete(batches).where(batches.c.id.in_(some)))
    versions = script_versions.c.tenant_id == tenant_id
    version_ids = list(db.execute(select(script_versions.c.id).where(versions).limit(limit)).scalars())
    db.execute(delete(script_tags).where(script_tags.c.version_id.in_(version_ids)))
    db.execute(delete(script_versions).where(script_versions.c.id.in_(version_ids)))
    return Erased([], some, version_ids)


def forget(db: Connection, tenant_id: str) -> bool:
    """As Tenants.forget."""
    if not _deleting(db, tenant_id) or any(_has(db, table, tenant_id) for table in (runs, batches, script_versions)):
        return False
    for table in reversed(metadata.sorted_tables):
        rows = owned(table, tenant_id)
        if rows is not None:
            db.execute(delete(table).where(rows))
    return True


def owned(table: Table, tenant_id: str) -> ColumnElement[bool] | None:
    """Which of a table's rows are this tenant's; None for a table that holds nobody's."""
    if table is tenants:
        return tenants.c.id == tenant_id
    found: list[ColumnElement[bool]] = []
    for column in table.c:
        for key in column.foreign_keys:
            target = key.column.table
            if target is tenants:
                found.append(column == tenant_id)
            elif target is not table and (rows := owned(target, tenant_id)) is not None:
                found.append(column.in_(select(key.column).where(rows)))
    return or_(*found) if found else None


def _deleting(db: Connection, tenant_id: str) -> bool:
    this = (tenants.c.id == tenant_id) & tenants.c.deleting_at.is_not(None)
    return bool(db.execute(select(exists(select(tenants.c.id).where(this)))).scalar())


def _has(db: Connection, table: Table, tenant_id: str) -> bool:
    return bool(db.execute(select(exists(select(table.c.id).where(table.c.tenant_id == tenant_id)))).scalar())
