"""What tenants have had of the server, and what they may have yet: asked and written in the transactions that take from
it, so nothing can come between."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BindParameter, Connection, RowMapping, bindparam, exists, func, insert, select, update

from controller.model import Outcome, Quotas, Run, Status, TaskKind
from controller.store.base import Added
from controller.store.tables import runs, script_versions, tenants, usage_days

# Made once: every run waits for these, and making one costs more than executing it.
_ACCEPTS = select(
    exists(select(tenants.c.id).where(tenants.c.id == bindparam("tenant_id"), tenants.c.deleting_at.is_(None)))
)
_OF_RUN = (
    select(tenants.c.id, tenants.c.quotas, tenants.c.suspended_at)
    .join(runs, runs.c.tenant_id == tenants.c.id)
    .where(runs.c.id == bindparam("run_id"))
)
_MORE: dict[str, BindParameter[Any]] = {
    name: bindparam(f"more_{name}") for name in ("runs", "run_seconds", "cpu_seconds")
}
_COUNT = (
    update(usage_days)
    .where(usage_days.c.tenant_id == bindparam("of_tenant"), usage_days.c.day == bindparam("of_day"))
    .values({name: usage_days.c[name] + more for name, more in _MORE.items()})
)


def refused(db: Connection, run: Run, quotas: Quotas) -> Added | None:
    """Why the tenant may not have this run; None when it may. Asked in the transaction that adds it."""
    if not db.execute(_ACCEPTS, {"tenant_id": run.tenant_id}).scalar():
        return Added.NO_TENANT
    stored = quotas.stored_bytes
    if stored is not None and stored_by(db, run.tenant_id) + run.input_bytes + run.output_bytes > stored:
        return Added.STORAGE_SPENT
    seconds = quotas.run_seconds_per_day
    if seconds is not None and not run.status.final and seconds_used(db, run.tenant_id, run.created_at) >= seconds:
        return Added.SECONDS_SPENT
    return None


def may_begin(db: Connection, run_id: str, defaults: Quotas, now: datetime) -> bool:
    """Whether a run's tenant may have one more at work. Asked in the transaction that claims it."""
    row = db.execute(_OF_RUN, {"run_id": run_id}).first()
    if row is None or row.suspended_at is not None:
        return False
    quotas = Quotas(**row.quotas).over(defaults)
    if quotas.concurrent_runs is not None:
        running = select(func.count()).where(runs.c.status == Status.RUNNING, runs.c.tenant_id == row.id)
        if (db.execute(running).scalar() or 0) >= quotas.concurrent_runs:
            return False
    seconds = quotas.run_seconds_per_day
    return seconds is None or seconds_used(db, row.id, now) < seconds


def stored_by(db: Connection, tenant_id: str) -> int:
    """The bytes of all files of a tenant's runs and datasets, by an index alone; and of its scripts."""
    total = runs.c.input_bytes + runs.c.output_bytes + runs.c.log_file_bytes
    kept = script_versions.c.script_bytes + script_versions.c.bundle_bytes  # 0 of those that were deleted
    sums = (
        select(func.sum(total)).where(runs.c.tenant_id == tenant_id),
        select(func.sum(kept)).where(script_versions.c.tenant_id == tenant_id),
    )
    return sum(int(db.execute(query).scalar() or 0) for query in sums)


def seconds_used(db: Connection, tenant_id: str, at: datetime) -> float:
    """What a tenant's runs took this day, those that still run included."""
    this = (usage_days.c.tenant_id == tenant_id) & (usage_days.c.day == at.date())
    ended = db.execute(select(usage_days.c.run_seconds).where(this)).scalar() or 0.0
    midnight = at.replace(hour=0, minute=0, second=0, microsecond=0)
    running = select(runs.c.started_at).where(runs.c.status == Status.RUNNING, runs.c.tenant_id == tenant_id)
    begun = (max(since or at, midnight) for since in db.execute(running).scalars())
    return ended + sum(max(0.0, (at - since).total_seconds()) for since in begun)


def count_use(db: Connection, run: RowMapping, outcome: Outcome, now: datetime) -> None:
    """What a run that ends has used, onto its tenant's account of the day."""
    used = {
        "runs": int(run["task"] == TaskKind.RUN),
        "run_seconds": outcome.usage.wall_seconds or 0.0,
        "cpu_seconds": outcome.usage.cpu_seconds or 0.0,
    }
    more = {f"more_{name}": value for name, value in used.items()}
    if db.execute(_COUNT, more | {"of_tenant": run["tenant_id"], "of_day": now.date()}).rowcount != 1:
        db.execute(insert(usage_days).values(tenant_id=run["tenant_id"], day=now.date(), **used))
