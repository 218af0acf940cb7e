"""Stored scripts on SQLAlchemy."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    bindparam,
    delete,
    func,
    insert,
    select,
    tuple_,
    update,
)

from controller.store import trail
from controller.store.audit_store import Entry
from controller.store.database import Database
from controller.store.script_store import Named, Removed, ScriptPage, ScriptVersion, ScriptVersionPage
from controller.store.shares import stored_by
from controller.store.sql import in_parts
from controller.store.statements import Hand, Row, Statement
from controller.store.tables import endpoints, script_tags, script_versions

_ALIVE = script_versions.c.deleted_at.is_(None)
_ALL = select(script_versions).where(_ALIVE)
_OF_NAME = (
    _ALL.where(script_versions.c.tenant_id == bindparam("of_tenant"), script_versions.c.name == bindparam("of_name"))
    .order_by(script_versions.c.version.desc())
    .limit(1)
)
_TAGGED = select(script_tags.c.version_id).where(
    script_tags.c.tenant_id == bindparam("of_tenant"),
    script_tags.c.name == bindparam("of_name"),
    script_tags.c.tag == bindparam("named"),
)
_NEWEST = Statement(_OF_NAME)
_BY_NUMBER = Statement(_OF_NAME.where(script_versions.c.version == bindparam("number")))
_BY_TAG = Statement(_OF_NAME.where(script_versions.c.id.in_(_TAGGED)))


class SqlScripts:
    """See store.script_store.Scripts."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._reading, self._writing = database.reading, database.writing

    def add(
        self,
        version: ScriptVersion,
        max_versions: int,
        max_stored_bytes: int | None = None,
        entry: Entry | None = None,
    ) -> ScriptVersion | None:
        same_name = _called(version.tenant_id, version.name)
        kept = select(func.count()).where(script_versions.c.tenant_id == version.tenant_id, _ALIVE)
        last = select(func.max(script_versions.c.version)).where(same_name)
        with self._writing() as db:
            newest = _first(db, _newest(version.tenant_id, version.name))
            if newest is not None and newest.content_sha256 == version.content_sha256:
                return newest
            if (db.execute(kept).scalar() or 0) >= max_versions:
                return None
            more = version.script_bytes + version.bundle_bytes
            if max_stored_bytes is not None and stored_by(Hand.of(db), version.tenant_id) + more > max_stored_bytes:
                return None
            stored = version.model_copy(update={"version": (db.execute(last).scalar() or 0) + 1})
            db.execute(insert(script_versions).values(**_row(stored)))
            trail.note(db, entry)
            return stored

    def find(self, tenant_id: str, named: Named) -> ScriptVersion | None:
        row = self._database.row(*_version_lookup(tenant_id, named))
        return _version(row) if row else None

    def versions(self, tenant_id: str, name: str, limit: int, below: int | None = None) -> ScriptVersionPage:
        query = _newest(tenant_id, name)
        if below is not None:
            query = query.where(script_versions.c.version < below)
        with self._reading() as db:
            found = [_version(row) for row in db.execute(query.limit(limit + 1)).mappings()]
        shown = tuple(found[:limit])
        return ScriptVersionPage(scripts=shown, below=shown[-1].version if len(found) > limit else None)

    def page(
        self, tenant_id: str, limit: int, prefix: str = "", before: tuple[datetime, str] | None = None
    ) -> ScriptPage:
        newer = script_versions.alias()
        superseded = select(newer.c.id).where(
            newer.c.tenant_id == tenant_id,
            newer.c.name == script_versions.c.name,
            newer.c.version > script_versions.c.version,
            newer.c.deleted_at.is_(None),
        )
        query = _ALL.where(script_versions.c.tenant_id == tenant_id, ~superseded.exists())
        if prefix:
            query = query.where(func.substr(script_versions.c.name, 1, len(prefix)) == prefix)
        if before is not None:
            query = query.where(tuple_(script_versions.c.created_at, script_versions.c.id) < before)
        query = query.order_by(script_versions.c.created_at.desc(), script_versions.c.id.desc())
        with self._reading() as db:
            found = [_version(row) for row in db.execute(query.limit(limit + 1)).mappings()]
        shown = tuple(found[:limit])
        more = len(found) > limit
        return ScriptPage(scripts=shown, before=(shown[-1].created_at, shown[-1].id) if more else None)

    def delete(
        self, tenant_id: str, name: str, version: int | None, now: datetime, entry: Entry | None = None
    ) -> Removed:
        these = _called(tenant_id, name) & _ALIVE
        if version is not None:
            these &= script_versions.c.version == version
        with self._writing() as db:
            ids = list(db.execute(select(script_versions.c.id).where(these)).scalars())
            if users := _users(db, tenant_id, name, ids):
                return Removed(users=tuple(users))
            db.execute(delete(script_tags).where(script_tags.c.version_id.in_(ids)))
            blank: dict[str, Any] = {"description": "", "script_sha256": "", "bundle_sha256": None}
            blank |= {"content_sha256": "", "script_bytes": 0, "bundle_bytes": 0, "parameters": None, "samples": []}
            db.execute(update(script_versions).where(script_versions.c.id.in_(ids)).values(blank | {"deleted_at": now}))
            if ids:
                trail.note(db, entry)
            return Removed(gone=tuple(ids))

    # -- tags ----------------------------------------------------------------------------------------------------

    def tags(self, tenant_id: str, name: str) -> dict[str, int]:
        query = select(script_tags.c.tag, script_versions.c.version).join_from(script_tags, script_versions)
        query = query.where(script_tags.c.tenant_id == tenant_id, script_tags.c.name == name)
        with self._reading() as db:
            return {row.tag: row.version for row in db.execute(query.order_by(script_tags.c.tag))}

    def tag(self, tenant_id: str, name: str, tag: str, version: int, entry: Entry | None = None) -> bool:
        this = _called(tenant_id, name) & _ALIVE & (script_versions.c.version == version)
        with self._writing() as db:
            version_id = db.execute(select(script_versions.c.id).where(this)).scalar()
            if version_id is None:
                return False
            there = _tag(tenant_id, Named(name=name, tag=tag))
            if db.execute(select(script_tags.c.version_id).where(there)).scalar() == version_id:
                return True
            db.execute(delete(script_tags).where(there))
            db.execute(insert(script_tags).values(tenant_id=tenant_id, name=name, tag=tag, version_id=version_id))
            trail.note(db, entry)
            return True

    def untag(self, tenant_id: str, name: str, tag: str, entry: Entry | None = None) -> Removed:
        with self._writing() as db:
            if users := [one for one, script in _published(db, tenant_id, name) if script.tag == tag]:
                return Removed(users=tuple(users))
            gone = db.execute(delete(script_tags).where(_tag(tenant_id, Named(name=name, tag=tag)))).rowcount
            if gone:
                trail.note(db, entry)
            return Removed(gone=(tag,) if gone else ())

    def known(self, version_ids: Iterable[str]) -> set[str]:
        found: set[str] = set()
        for some in in_parts(list(version_ids)):
            with self._reading() as db:
                these = script_versions.c.id.in_(some)
                found.update(db.execute(select(script_versions.c.id).where(these, _ALIVE)).scalars())
        return found


def version_of(db: Connection, tenant_id: str, named: Named) -> ScriptVersion | None:
    """As Scripts.find, as a part of the caller's transaction."""
    lookup, values = _version_lookup(tenant_id, named)
    row = db.execute(lookup.query, values).mappings().first()
    return _version(row) if row else None


def _version_lookup(tenant_id: str, named: Named) -> tuple[Statement, dict[str, Any]]:
    lookup = _BY_NUMBER if named.version is not None else _BY_TAG if named.tag is not None else _NEWEST
    return lookup, {"of_tenant": tenant_id, "of_name": named.name, "number": named.version, "named": named.tag}


def _users(db: Connection, tenant_id: str, name: str, version_ids: list[str]) -> list[str]:
    """The endpoints that serve one of these versions."""
    served = ((one, version_of(db, tenant_id, script)) for one, script in _published(db, tenant_id, name))
    return [one for one, version in served if version is not None and version.id in version_ids]


def _published(db: Connection, tenant_id: str, name: str) -> list[tuple[str, Named]]:
    """The tenant's endpoints of this script: their names, and which version each asks for."""
    query = select(endpoints.c.name, endpoints.c.script).where(endpoints.c.tenant_id == tenant_id)
    found = [(row.name, Named.model_validate(row.script)) for row in db.execute(query.order_by(endpoints.c.name))]
    return [(one, script) for one, script in found if script.name == name]


def _called(tenant_id: str, name: str) -> ColumnElement[bool]:
    return (script_versions.c.tenant_id == tenant_id) & (script_versions.c.name == name)


def _newest(tenant_id: str, name: str) -> Select[Any]:
    return _ALL.where(_called(tenant_id, name)).order_by(script_versions.c.version.desc())


def _tag(tenant_id: str, named: Named) -> ColumnElement[bool]:
    mine = (script_tags.c.tenant_id == tenant_id) & (script_tags.c.name == named.name)
    return mine & (script_tags.c.tag == named.tag)


def _first(db: Connection, query: Select[Any]) -> ScriptVersion | None:
    row = db.execute(query.limit(1)).mappings().first()
    return _version(row) if row else None


def _version(row: Row) -> ScriptVersion:
    return ScriptVersion.model_validate({name: row[name] for name in ScriptVersion.model_fields})


def _row(version: ScriptVersion) -> dict[str, Any]:
    return version.model_dump(mode="json") | {"created_at": version.created_at}
