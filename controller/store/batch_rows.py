"""Batches and their items as rows."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Any

from sqlalchemy import ColumnElement, Connection, RowMapping, case, insert

from controller.model import DatasetUse, Slice
from controller.store.batch_store import Batch, Item, ItemState, ItemStatus
from controller.store.tables import batch_items, runs

_AT_ONCE = 500
WITH_RUNS = batch_items.outerjoin(runs, runs.c.id == batch_items.c.run_id)


def state_of(batch: Batch) -> ColumnElement[str]:
    """Where an item stands, by its run; one that will never begin counts as cancelled."""
    unbegun = ItemStatus.CANCELLED if batch.cancel_requested else ItemStatus.WAITING
    return case(
        (batch_items.c.run_id.is_(None), str(unbegun)),
        (runs.c.id.is_(None), str(ItemStatus.REMOVED)),
        else_=runs.c.status,
    )


def insert_items(db: Connection, batch_id: str, items: Iterable[Item]) -> int:
    """Add items, some at a time: there may be very many."""
    source, total = iter(items), 0
    while some := [_item_row(batch_id, item) for item in islice(source, _AT_ONCE)]:
        db.execute(insert(batch_items), some)
        total += len(some)
    return total


def _item_row(batch_id: str, item: Item) -> dict[str, Any]:
    return {
        "batch_id": batch_id,
        "number": item.number,
        "label": item.label,
        "dataset": item.dataset.model_dump(mode="json") if item.dataset else None,
        "first_row": item.slice.offset if item.slice else None,
        "rows": item.slice.rows if item.slice else None,
    }


def item_of(row: RowMapping) -> Item:
    part = Slice(offset=row["first_row"], rows=row["rows"]) if row["rows"] is not None else None
    dataset = DatasetUse.model_validate(row["dataset"]) if row["dataset"] else None
    kept = {name: row[name] for name in ("number", "label", "run_id", "retries")}
    return Item(**kept, slice=part, dataset=dataset)


def row_of(batch: Batch) -> dict[str, Any]:
    values = {name: getattr(batch, name) for name in Batch.model_fields}
    error = batch.error.model_dump(mode="json") if batch.error else None
    return values | {"template": batch.template.model_dump(mode="json"), "error": error}


def batch_of(row: RowMapping) -> Batch:
    return Batch.model_validate(dict(row))


def state_in(row: RowMapping) -> ItemState:
    """An item with its run's words, from a row that has both."""
    said = {name: row[name] for name in ("reason", "error_code", "error_message")}
    return ItemState(item=item_of(row), status=row["state"], **said)
