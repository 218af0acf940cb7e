"""Runs as rows: what every store that makes or shows runs has in common."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, RowMapping, Select, bindparam, func, insert, select

from controller.model import Outcome, Quotas, Run, Status
from controller.store import shares
from controller.store.base import NO_QUOTAS, Added, Idempotent
from controller.store.statements import Hand, Row, Statement
from controller.store.tables import idempotency_keys, runs

FINAL = [status for status in Status if status.final]
PAGE_BYTES = 2 << 20
"""An outcome may carry a mebibyte of its script's words, and what was asked for as much: a page of a list ends early
rather than hold many of them."""
_FIELDS = frozenset(Run.model_fields)
_COLUMNS = (*Run.model_fields, "task", "cancel_requested")
_QUEUED = (
    select(func.count())
    .select_from(runs)
    .where(
        runs.c.tenant_id == bindparam("new_tenant_id"),
        runs.c.task == bindparam("new_task"),
        runs.c.status == Status.QUEUED,
    )
    .scalar_subquery()
)
_NEW = select(*(bindparam(f"new_{name}", type_=runs.c[name].type) for name in _COLUMNS))
OF_KEY = Statement(
    select(idempotency_keys).where(
        idempotency_keys.c.tenant_id == bindparam("of_tenant"), idempotency_keys.c.key == bindparam("of_key")
    )
)
_ADD_KEY = Statement(insert(idempotency_keys), *Idempotent.model_fields)
_ADD = Statement(insert(runs).from_select(_COLUMNS, _NEW.where(bindparam("most") > _QUEUED)))


def insert_run(
    db: Hand, run: Run, max_queued: int, idempotent: Idempotent | None, quotas: Quotas = NO_QUOTAS
) -> Added:
    """Add a run and the key of its request, as a part of the caller's transaction. As Store.add_run."""
    if quotas.queued_runs is not None:
        max_queued = min(max_queued, quotas.queued_runs)
    if key_taken(db, idempotent):
        return Added.KEY_TAKEN
    if (refused := shares.refused(db, run, quotas)) is not None:
        return refused
    values = {f"new_{column}": value for column, value in _row(run).items()}
    if db.count(_ADD, values | {"most": max_queued}) != 1:
        return Added.QUEUE_FULL
    if idempotent is not None:
        db.count(_ADD_KEY, idempotent.model_dump())
    return Added.ADDED


def key_taken(db: Hand, idempotent: Idempotent | None) -> bool:
    """Whether a request with this key was accepted before."""
    if idempotent is None:
        return False
    return db.first(OF_KEY, {"of_tenant": idempotent.tenant_id, "of_key": idempotent.key}) is not None


def run_of(row: Row) -> Run:
    """The run in a row of its table; other columns in it do not matter."""
    return Run.model_validate({name: value for name, value in row.items() if name in _FIELDS})


def _row(run: Run) -> dict[str, Any]:
    values = {name: getattr(run, name) for name in _FIELDS}
    return values | {
        "task": str(run.job.task),
        "status": str(run.status),
        "priority": str(run.priority),
        "job": run.job.model_dump(mode="json"),
        "limits": run.limits.model_dump(mode="json"),
        "script": run.script.model_dump(mode="json") if run.script else None,
        "outcome": run.outcome.model_dump(mode="json") if run.outcome else None,
        "removed": [str(part) for part in run.removed],
        "cancel_requested": 0,
    }


def ended_with(outcome: Outcome, now: datetime) -> dict[str, Any]:
    """What the end of a run writes into its row."""
    ended = {"status": str(outcome.status), "outcome": outcome.model_dump(mode="json"), "finished_at": now}
    return ended | {"owner": None, "lease_until": None, "not_before": None}


def weight(*columns: ColumnElement[Any]) -> ColumnElement[int]:
    """What a row weighs, by those of its columns that may be large."""
    lengths = [func.coalesce(func.length(column), 0) for column in columns]
    return sum(lengths[1:], lengths[0])


RUN_WEIGHT = weight(runs.c.job, runs.c.outcome)


def first_rows(
    db: Connection, query: Select[Any], weighed_by: ColumnElement[int], limit: int
) -> tuple[list[RowMapping], bool]:
    """The first rows, as many as are read together, and whether there are more."""
    with closing(db.execute(query.with_only_columns(weighed_by).limit(limit + 1))) as found:
        count, more = _fitting(found.scalars(), limit)
    return list(db.execute(query.limit(count)).mappings()), more


def _fitting(weights: Iterable[int], limit: int) -> tuple[int, bool]:
    """How many of the first rows are read together, and whether there are more: one at least, at most `limit`, and no
    more than PAGE_BYTES of them. Not looked at further than that: to weigh a large row is to read it."""
    count = total = 0
    for weight in weights:
        total += weight
        if count == limit or (count and total > PAGE_BYTES):
            return count, True
        count += 1
    return count, False
