"""The audit log's next row, as a part of the transaction that makes the change: both are written, or neither."""

from __future__ import annotations

from sqlalchemy import Connection, insert, select

from controller.store.audit_store import FIRST, Entry, Head, next_row
from controller.store.tables import audit_log


def note(db: Connection, entry: Entry | None) -> None:
    """As `append`, where the change is one that is written down."""
    if entry is not None:
        append(db, entry)


def append(db: Connection, entry: Entry) -> None:
    """Write an entry down. The connection holds the database's write lock, so nobody comes between."""
    query = select(audit_log.c.number, audit_log.c.hash).order_by(audit_log.c.number.desc()).limit(1)
    last = db.execute(query).first()
    head = Head(number=last.number, hash=last.hash) if last else Head(number=0, hash=FIRST)
    db.execute(insert(audit_log).values(**next_row(entry, head).model_dump()))
