"""Tenants, their keys and what they used, on SQLAlchemy."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

from sqlalchemy import (
    Connection,
    String,
    bindparam,
    cast,
    exists,
    func,
    insert,
    or_,
    select,
    tuple_,
    update,
)
from sqlalchemy.exc import IntegrityError

from controller.errors import Conflict
from controller.model import Quotas, Status
from controller.store import erasure, trail
from controller.store.audit_store import Entry
from controller.store.database import Database
from controller.store.shares import seconds_used, stored_by
from controller.store.statements import Hand, Made, Row, Statement
from controller.store.tables import api_keys, runs, tenants, usage_days
from controller.store.tenant_store import (
    Erased,
    InUse,
    Key,
    KeyPage,
    Rotated,
    Tenant,
    TenantPage,
    UsageDay,
    UsagePage,
)

_TENANT = "its_"
_ABOUT_TO_END = timedelta(days=1)
_ONE = Statement(select(tenants).where(tenants.c.id == bindparam("tenant_id")))
_SHARES = Statement(
    select(tenants, usage_days.c.run_seconds)
    .outerjoin(usage_days, (usage_days.c.tenant_id == tenants.c.id) & (usage_days.c.day == bindparam("today")))
    .where(
        or_(
            cast(tenants.c.quotas, String) != "{}",
            tenants.c.suspended_at.is_not(None),
            usage_days.c.run_seconds > 0,
        )
    )
)
_DELETING = Statement(select(tenants.c.id).where(tenants.c.deleting_at.is_not(None)))
_PRESENTED = Statement(
    select(api_keys, *(column.label(_TENANT + column.name) for column in tenants.c))
    .join(tenants, tenants.c.id == api_keys.c.tenant_id)
    .where(api_keys.c.id == bindparam("key_id"))
)


class SqlTenants:
    """See store.tenant_store.Tenants."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._reading, self._writing = database.reading, database.writing

    def add(self, tenant: Tenant, entry: Entry) -> None:
        values = tenant.model_dump() | {"quotas": _set_ones(tenant.quotas)}
        with self._writing() as db:
            try:
                db.execute(insert(tenants).values(**values))
            except IntegrityError as e:
                raise _taken(tenant.name) from e
            trail.append(db, entry)

    def tenant(self, tenant_id: str) -> Tenant | None:
        row = self._database.row(_ONE, {"tenant_id": tenant_id})
        return _tenant_of(row) if row else None

    def named(self, name: str) -> Tenant | None:
        with self._reading() as db:
            row = db.execute(select(tenants).where(tenants.c.name == name)).mappings().first()
        return _tenant_of(row) if row else None

    def page(self, limit: int, before: tuple[datetime, str] | None = None) -> TenantPage:
        query = select(tenants).order_by(tenants.c.created_at.desc(), tenants.c.id.desc()).limit(limit + 1)
        if before is not None:
            query = query.where(tuple_(tenants.c.created_at, tenants.c.id) < before)
        with self._reading() as db:
            found = [_tenant_of(row) for row in db.execute(query).mappings()]
        last = found[limit - 1] if len(found) > limit else None
        return TenantPage(tenants=tuple(found[:limit]), before=(last.created_at, last.id) if last else None)

    def change(self, tenant_id: str, name: str | None, quotas: Quotas | None, entry: Entry) -> Tenant | None:
        values: dict[str, Any] = {} if name is None else {"name": name}
        if quotas is not None:
            values["quotas"] = _set_ones(quotas)
        with self._writing() as db:
            if values:
                try:
                    db.execute(update(tenants).where(tenants.c.id == tenant_id).values(values))
                except IntegrityError as e:
                    raise _taken(name or "") from e
            changed = _tenant(db, tenant_id)
            if changed is not None and values:
                trail.append(db, entry)
            return changed

    def suspend(self, tenant_id: str, at: datetime | None, entry: Entry) -> Tenant | None:
        is_so = tenants.c.suspended_at.is_(None) if at is None else tenants.c.suspended_at.is_not(None)
        with self._writing() as db:
            this = (tenants.c.id == tenant_id) & ~is_so
            if db.execute(update(tenants).where(this).values(suspended_at=at)).rowcount:
                trail.append(db, entry)
            return _tenant(db, tenant_id)

    # -- keys ----------------------------------------------------------------------------------------------------

    def has_keys(self) -> bool:
        with self._reading() as db:
            return bool(db.execute(select(exists(select(api_keys.c.id)))).scalar())

    def add_key(self, key: Key, max_live: int, entry: Entry) -> bool:
        with self._writing() as db:
            if _count_live(db, key.tenant_id, entry.at) >= max_live:
                return False
            _insert_key(db, key)
            trail.append(db, entry)
            return True

    def presented(self, key_id: str) -> tuple[Key, Tenant] | None:
        return self._database.made(_KNOWN, {"key_id": key_id})

    def key(self, tenant_id: str, key_id: str) -> Key | None:
        with self._reading() as db:
            return _key(db, tenant_id, key_id)

    def keys(self, tenant_id: str, limit: int, before: tuple[datetime, str] | None = None) -> KeyPage:
        query = select(api_keys).where(api_keys.c.tenant_id == tenant_id)
        if before is not None:
            query = query.where(tuple_(api_keys.c.created_at, api_keys.c.id) < before)
        query = query.order_by(api_keys.c.created_at.desc(), api_keys.c.id.desc()).limit(limit + 1)
        with self._reading() as db:
            found = [_key_of(row) for row in db.execute(query).mappings()]
        last = found[limit - 1] if len(found) > limit else None
        return KeyPage(keys=tuple(found[:limit]), before=(last.created_at, last.id) if last else None)

    def revoke(self, tenant_id: str, key_id: str, entry: Entry) -> Key | None:
        with self._writing() as db:
            key = _key(db, tenant_id, key_id)
            if key is None or key.revoked_at is not None:
                return key
            if "admin" in key.scopes and not _another_admin(db, key.id, entry.at):
                raise Conflict(
                    "this is the last key with the scope admin: without it nobody could make another one",
                    code="last_admin_key",
                )
            db.execute(update(api_keys).where(api_keys.c.id == key_id).values(revoked_at=entry.at))
            trail.append(db, entry)
            return key.model_copy(update={"revoked_at": entry.at})

    def rotate(self, key: Key, successor: Key, expires_at: datetime, max_live: int, entry: Entry) -> Rotated:
        this = (api_keys.c.id == key.id) & (api_keys.c.tenant_id == key.tenant_id)
        this &= api_keys.c.replaced_by.is_(None) & _live(entry.at)
        ends = min(expires_at, key.expires_at) if key.expires_at is not None else expires_at
        with self._writing() as db:
            changed = update(api_keys).where(this).values(expires_at=ends, replaced_by=successor.id)
            if not db.execute(select(exists(select(api_keys.c.id).where(this)))).scalar():
                return Rotated.ENDED
            stays = int(ends > entry.at)
            if _count_live(db, key.tenant_id, entry.at) + stays > max_live + 1:
                return Rotated.FULL
            db.execute(changed)
            _insert_key(db, successor)
            trail.append(db, entry)
            return Rotated.DONE

    def used(self, moments: Mapping[str, datetime]) -> None:
        with self._writing() as db:
            for key_id, at in moments.items():
                db.execute(update(api_keys).where(api_keys.c.id == key_id).values(last_used_at=at))

    # -- use -----------------------------------------------------------------------------------------------------

    def in_use(self, tenant_id: str, at: datetime) -> InUse:
        states = select(runs.c.status, func.count()).where(
            runs.c.tenant_id == tenant_id, runs.c.status.in_([Status.QUEUED, Status.RUNNING])
        )
        with self._reading() as db:
            counts = {row[0]: int(row[1]) for row in db.execute(states.group_by(runs.c.status))}
            return InUse(
                queued_runs=counts.get(Status.QUEUED, 0),
                running_runs=counts.get(Status.RUNNING, 0),
                run_seconds=seconds_used(Hand.of(db), tenant_id, at),
                stored_bytes=stored_by(Hand.of(db), tenant_id),
            )

    def usage(
        self,
        limit: int,
        tenant_id: str | None = None,
        since: date | None = None,
        before: tuple[date, str] | None = None,
    ) -> UsagePage:
        place = tuple_(usage_days.c.day, usage_days.c.tenant_id)
        query = select(usage_days).order_by(usage_days.c.day.desc(), usage_days.c.tenant_id.desc()).limit(limit + 1)
        if tenant_id is not None:
            query = query.where(usage_days.c.tenant_id == tenant_id)
        if since is not None:
            query = query.where(usage_days.c.day >= since)
        if before is not None:
            query = query.where(place < before)
        with self._reading() as db:
            found = [UsageDay(**row) for row in db.execute(query).mappings()]
        last = found[limit - 1] if len(found) > limit else None
        return UsagePage(days=tuple(found[:limit]), before=(last.day, last.tenant_id) if last else None)

    def shares(self) -> list[tuple[Tenant, float]]:
        today = {"today": datetime.now(UTC).date()}
        rows = self._database.rows(_SHARES, today)
        return [(_tenant_of(row), row["run_seconds"] or 0.0) for row in rows]

    # -- deleting ------------------------------------------------------------------------------------------------

    def begin_deletion(self, tenant_id: str, entry: Entry) -> Tenant | None:
        this = (tenants.c.id == tenant_id) & tenants.c.deleting_at.is_(None)
        with self._writing() as db:
            if db.execute(update(tenants).where(this).values(deleting_at=entry.at)).rowcount:
                trail.append(db, entry)
            return _tenant(db, tenant_id)

    def deleting(self) -> list[str]:
        return [row["id"] for row in self._database.rows(_DELETING, {})]

    def live_runs(self, tenant_id: str) -> list[str]:
        live = runs.c.status.in_([Status.QUEUED, Status.RUNNING])
        with self._reading() as db:
            return list(db.execute(select(runs.c.id).where(runs.c.tenant_id == tenant_id, live)).scalars())

    def erase(self, tenant_id: str, limit: int) -> Erased:
        with self._writing() as db:
            return erasure.erase(db, tenant_id, limit)

    def forget(self, tenant_id: str, entry: Entry) -> bool:
        with self._writing() as db:
            if not erasure.forget(db, tenant_id):
                return False
            trail.append(db, entry)
            return True


def _tenant(db: Connection, tenant_id: str) -> Tenant | None:
    row = db.execute(_ONE.query, {"tenant_id": tenant_id}).mappings().first()
    return _tenant_of(row) if row else None


def _tenant_of(row: Row, prefix: str = "") -> Tenant:
    fields = {name: row[prefix + name] for name in Tenant.model_fields}
    return Tenant(**fields | {"quotas": Quotas(**fields["quotas"])})


def _key(db: Connection, tenant_id: str, key_id: str) -> Key | None:
    query = select(api_keys).where(api_keys.c.id == key_id, api_keys.c.tenant_id == tenant_id)
    row = db.execute(query).mappings().first()
    return _key_of(row) if row else None


def _key_of(row: Row) -> Key:
    return Key(**{name: row[name] for name in Key.model_fields} | {"scopes": tuple(row["scopes"])})


_KNOWN = Made(_PRESENTED, lambda row: (_key_of(row), _tenant_of(row, _TENANT)))


def _insert_key(db: Connection, key: Key) -> None:
    db.execute(insert(api_keys).values(**key.model_dump() | {"scopes": list(key.scopes)}))


def _live(at: datetime) -> Any:
    return api_keys.c.revoked_at.is_(None) & or_(api_keys.c.expires_at.is_(None), api_keys.c.expires_at > at)


def _count_live(db: Connection, tenant_id: str, at: datetime) -> int:
    return db.execute(select(func.count()).where(api_keys.c.tenant_id == tenant_id, _live(at))).scalar() or 0


def _another_admin(db: Connection, key_id: str, at: datetime) -> bool:
    """Whether a key is left with which the server can be administered: not one that was rotated, or ends within a day,
    for after that nobody could."""
    works = tenants.c.suspended_at.is_(None) & tenants.c.deleting_at.is_(None)
    works &= api_keys.c.replaced_by.is_(None) & _live(at + _ABOUT_TO_END)
    query = select(api_keys.c.scopes).join(tenants, tenants.c.id == api_keys.c.tenant_id)
    found = db.execute(query.where(works, api_keys.c.id != key_id)).scalars()
    return any("admin" in scopes for scopes in found)


def _set_ones(quotas: Quotas) -> dict[str, Any]:
    return quotas.model_dump(mode="json", exclude_unset=True)


def _taken(name: str) -> Conflict:
    return Conflict(f"there is a tenant named {name!r} already", code="name_taken")
