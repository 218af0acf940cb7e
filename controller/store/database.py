"""The database's doors: one way to read, one way to write, and SQL's faults by our names. SQL itself is beside this."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, PoolProxiedConnection, create_engine, event, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from controller.errors import StorageFull, StoreError
from controller.store.statements import Hand, Made, Statement

_BUSY_MILLISECONDS = 10_000
_Value = TypeVar("_Value")
_AT_REST = 8
"""Connections that are kept apart from the pool's."""


class Database:
    """Connections to one database; `url` is SQLAlchemy's. Threads share it."""

    def __init__(self, url: str) -> None:
        # The connection that was used last is used next: it has the statements prepared, and the pages in its cache.
        self._engine = create_engine(url, pool_size=16, max_overflow=256, pool_use_lifo=True)
        self._at_rest: list[PoolProxiedConnection] = []
        self._file: str | None = None
        self._identity: tuple[int, int] | None = None
        if self._engine.dialect.name == "sqlite":
            self._file = self._engine.url.database
            if self._file:
                event.listen(self._engine, "do_connect", self._open_sqlite)
            event.listen(self._engine, "connect", _set_up_sqlite)
            event.listen(self._engine, "begin", _begin_sqlite)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        with _translated(), self._engine.connect() as connection, connection.begin():
            self._require_file()
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        options = {"airlock_writes": True}
        with _translated(), self._engine.connect().execution_options(**options) as connection, connection.begin():
            self._require_file()
            yield connection

    def row(self, query: Statement, values: Mapping[str, Any]) -> dict[str, Any] | None:
        """The row that a query finds; None when there is none. A single SELECT sees one state of the database: it needs
        no transaction around it.
        """
        with self._at_hand() as (_, hand):
            return hand.first(query, values)

    def made(self, query: Made[_Value], values: Mapping[str, Any]) -> _Value | None:
        """What is made of the row that a query finds; None when there is none."""
        with self._at_hand() as (_, hand):
            return hand.made(query, values)

    def rows(self, query: Statement, values: Mapping[str, Any]) -> list[dict[str, Any]]:
        """All that a query finds."""
        with self._at_hand() as (_, hand):
            return hand.all(query, values)

    @contextmanager
    def at_hand(self) -> Iterator[Hand]:
        """As `writing`, for what every small call waits for: the driver alone has a third of the work."""
        with self._at_hand() as (connection, hand):
            connection.execute("BEGIN IMMEDIATE")
            yield hand
            connection.commit()

    @contextmanager
    def _at_hand(self) -> Iterator[tuple[Any, Hand]]:
        """A connection for a moment, which the next one uses again; not after a fault, with which its transaction ends.

        The pool looks after each connection that it gives and takes back, for longer than a query takes.
        """
        self._require_file()
        with _translated():
            try:
                held = self._at_rest.pop()
            except IndexError:
                held = self._engine.raw_connection()
            try:
                yield held.dbapi_connection, Hand(held.dbapi_connection, self._engine.dialect)
            except BaseException:
                held.invalidate()
                raise
            if len(self._at_rest) < _AT_REST:
                self._at_rest.append(held)
            else:
                held.close()

    def migrate(self) -> None:
        """Bring the schema up to this version's. Safe to call at every start."""
        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
        with self.writing() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")

    def check(self) -> None:
        """Answer a trivial query, or raise StoreError."""
        with self.reading() as db:
            db.execute(text("SELECT 1"))

    def close(self) -> None:
        while self._at_rest:
            self._at_rest.pop().close()
        self._engine.dispose()

    def _open_sqlite(self, _dialect: object, _record: object, arguments: list[Any], options: dict[str, Any]) -> None:
        """Only the first connection may make the file. SQLite would make a new one where it was moved away, and mix it
        with the log of the old one, which is found by its name: no data would survive that.
        """
        mode = "rwc"
        if self._identity is not None:
            self._require_file()
            mode = "rw"
        arguments[0] = f"file:{quote(str(self._file))}?mode={mode}"
        options["uri"] = True

    def _require_file(self) -> None:
        """StoreError when the file is no longer the one that was opened: SQLite would write on into a deleted one."""
        if not self._file:
            return
        try:
            status = os.stat(self._file)
        except OSError as e:
            raise StoreError(f"the database file is gone ({e.strerror}): stop the server, restore a backup") from e
        identity = status.st_dev, status.st_ino
        if self._identity is None:
            self._identity = identity
        elif identity != self._identity:
            raise StoreError("the database file was replaced while the server ran: restart the server")


def _set_up_sqlite(connection: Any, _record: object) -> None:
    # The driver's own transactions begin too late (after the first SELECT) and lose updates: we begin them.
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",  # what was accepted survives a power cut
        "foreign_keys=ON",
        f"busy_timeout={_BUSY_MILLISECONDS}",
        "secure_delete=ON",  # deleted means gone from the file too
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    """By the driver itself: on SQLAlchemy's way to it, this would cost as much as the query that follows."""
    writes = connection.get_execution_options().get("airlock_writes", False)
    driver: Any = connection.connection.dbapi_connection
    driver.execute("BEGIN IMMEDIATE" if writes else "BEGIN")


@contextmanager
def _translated() -> Iterator[None]:
    """The driver's exceptions, as ours."""
    try:
        yield
    except (DBAPIError, sqlite3.Error) as e:
        said = e.orig if isinstance(e, DBAPIError) else e
        if "full" in str(said) or "disk I/O error" in str(said):
            raise StorageFull(f"the database cannot write: {said}; free space on the data directory's disk") from e
        raise StoreError(f"the database does not answer: {said}") from e
    except PoolTimeout as e:
        raise StoreError("the database does not answer: every connection to it is in use") from e
