"""The server's own values on SQLAlchemy."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Connection, delete, insert, select

from controller.store import trail
from controller.store.audit_store import Entry
from controller.store.database import Database
from controller.store.tables import server_state


class SqlState:
    """See store.state_store.State."""

    def __init__(self, database: Database) -> None:
        self._reading, self._writing = database.reading, database.writing

    def get(self, name: str) -> dict[str, Any] | None:
        with self._reading() as db:
            value = db.execute(select(server_state.c.value).where(server_state.c.name == name)).scalar()
        return dict(value) if value is not None else None

    def put(self, name: str, value: dict[str, Any], entry: Entry) -> None:
        with self._writing() as db:
            _set(db, name, value, entry.at)
            trail.append(db, entry)

    def note(self, name: str, value: dict[str, Any], at: datetime) -> None:
        with self._writing() as db:
            _set(db, name, value, at)


def _set(db: Connection, name: str, value: dict[str, Any], at: datetime) -> None:
    db.execute(delete(server_state).where(server_state.c.name == name))
    db.execute(insert(server_state).values(name=name, value=value, changed_at=at))
