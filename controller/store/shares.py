"""What tenants have had of the server, and what they may have yet: asked and written in the transactions that take from
it, so nothing can come between."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BindParameter, bindparam, func, insert, select, update

from controller.model import Outcome, Quotas, Run, Status, TaskKind
from controller.store.base import Added
from controller.store.statements import Hand, Row, Statement
from controller.store.tables import batches, runs, script_versions, tenants, usage_days

_ACCEPTS = Statement(
    select(tenants.c.id).where(tenants.c.id == bindparam("tenant_id"), tenants.c.deleting_at.is_(None))
)
_OF_RUN = Statement(
    select(tenants.c.id, tenants.c.quotas, tenants.c.suspended_at)
    .join(runs, runs.c.tenant_id == tenants.c.id)
    .where(runs.c.id == bindparam("run_id"))
)
_MORE: dict[str, BindParameter[Any]] = {
    name: bindparam(f"more_{name}") for name in ("runs", "run_seconds", "cpu_seconds")
}
_OF_DAY = (usage_days.c.tenant_id == bindparam("of_tenant")) & (usage_days.c.day == bindparam("of_day"))
_USED = Statement(select(usage_days.c.run_seconds).where(_OF_DAY))
_FIRST = Statement(insert(usage_days), *usage_days.c.keys())
_RUNNING = Statement(
    select(runs.c.started_at).where(runs.c.status == Status.RUNNING, runs.c.tenant_id == bindparam("of_tenant"))
)
_BYTES = runs.c.input_bytes + runs.c.output_bytes + runs.c.log_file_bytes
_OF_SCRIPTS = script_versions.c.script_bytes + script_versions.c.bundle_bytes  # 0 of those that were deleted
_KEPT = [
    Statement(select(func.sum(size).label("bytes")).where(table.c.tenant_id == bindparam("of_tenant")))
    for table, size in ((runs, _BYTES), (script_versions, _OF_SCRIPTS), (batches, batches.c.own_bytes))
]
_COUNT = Statement(
    update(usage_days)
    .where(_OF_DAY)
    .values({name: usage_days.c[name] + more for name, more in _MORE.items()})
)


def refused(db: Hand, run: Run, quotas: Quotas) -> Added | None:
    """Why the tenant may not have this run; None when it may. Asked in the transaction that adds it."""
    begins = None if run.status.final else run.created_at
    return out_of(db, run.tenant_id, run.input_bytes + run.output_bytes, begins, quotas)


def out_of(db: Hand, tenant_id: str, more_bytes: int, begins: datetime | None, quotas: Quotas) -> Added | None:
    """Likewise of anything that keeps so many bytes, and has something executed if it `begins`."""
    if db.first(_ACCEPTS, {"tenant_id": tenant_id}) is None:
        return Added.NO_TENANT
    stored = quotas.stored_bytes
    if stored is not None and stored_by(db, tenant_id) + more_bytes > stored:
        return Added.STORAGE_SPENT
    seconds = quotas.run_seconds_per_day
    if seconds is not None and begins is not None and seconds_used(db, tenant_id, begins) >= seconds:
        return Added.SECONDS_SPENT
    return None


def may_begin(db: Hand, run_id: str, defaults: Quotas, now: datetime) -> bool:
    """Whether a run's tenant may have one more at work. Asked in the transaction that claims it."""
    row = db.first(_OF_RUN, {"run_id": run_id})
    if row is None or row["suspended_at"] is not None:
        return False
    quotas = Quotas(**row["quotas"]).over(defaults)
    places = quotas.concurrent_runs
    if places is not None and len(db.all(_RUNNING, {"of_tenant": row["id"]})) >= places:
        return False
    seconds = quotas.run_seconds_per_day
    return seconds is None or seconds_used(db, row["id"], now) < seconds


def stored_by(db: Hand, tenant_id: str) -> int:
    """The bytes of all files of a tenant's runs, datasets and batches, by an index alone; and of its scripts."""
    sums = (db.first(query, {"of_tenant": tenant_id}) for query in _KEPT)
    return sum(int(found["bytes"] or 0) for found in sums if found is not None)


def seconds_used(db: Hand, tenant_id: str, at: datetime) -> float:
    """What a tenant's runs took this day, those that still run included."""
    used = db.first(_USED, {"of_tenant": tenant_id, "of_day": at.date()})
    ended = used["run_seconds"] if used is not None else 0.0
    midnight = at.replace(hour=0, minute=0, second=0, microsecond=0)
    begun = (max(one["started_at"] or at, midnight) for one in db.all(_RUNNING, {"of_tenant": tenant_id}))
    return ended + sum(max(0.0, (at - since).total_seconds()) for since in begun)


def count_use(db: Hand, run: Row, outcome: Outcome, now: datetime) -> None:
    """What a run that ends has used, onto its tenant's account of the day."""
    used = {
        "runs": int(run["task"] == TaskKind.RUN),
        "run_seconds": outcome.usage.wall_seconds or 0.0,
        "cpu_seconds": outcome.usage.cpu_seconds or 0.0,
    }
    more = {f"more_{name}": value for name, value in used.items()}
    if db.count(_COUNT, more | {"of_tenant": run["tenant_id"], "of_day": now.date()}) != 1:
        db.count(_FIRST, used | {"tenant_id": run["tenant_id"], "day": now.date()})
