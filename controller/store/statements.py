"""Statements that a small call waits for, executed by the driver itself.

SQLAlchemy writes the SQL and says how values are converted, once. Its way to the driver and back, through a connection,
a transaction and a result, is left out: that is many times the work of the statement itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Generic, TypeVar

from sqlalchemy import Connection, RowMapping, Select
from sqlalchemy.engine import Dialect
from sqlalchemy.sql.dml import UpdateBase

Row = RowMapping | dict[str, Any]
_Query = Select[Any] | UpdateBase
_Convert = Callable[[Any], Any] | None
_Value = TypeVar("_Value")
_VALUES_KNOWN = 1000


class Statement:
    """SQL that does not depend on its values. `names`: columns that an UPDATE sets to the values of these names, beside
    what it says itself.
    """

    def __init__(self, query: _Query, *names: str) -> None:
        self.query, self._names = query, names
        self._prepared: _Prepared | None = None

    def prepared(self, dialect: Dialect) -> _Prepared:
        if self._prepared is None or self._prepared.dialect is not dialect:
            self._prepared = _Prepared(self.query, dialect, self._names)
        return self._prepared


class Made(Generic[_Value]):
    """A query, and what is made of its row. The row is read each time; as long as it is what it was, so is what was
    made of it: to make that anew costs more than to read."""

    def __init__(self, statement: Statement, make: Callable[[Row], _Value]) -> None:
        self.statement = statement

        @lru_cache(maxsize=_VALUES_KNOWN)
        def of(prepared: _Prepared, row: tuple[Any, ...]) -> _Value:
            return make(prepared.converted(row))

        self.of = of


class Hand:
    """A connection of the driver, on which statements are executed; they may raise the driver's own errors."""

    def __init__(self, connection: Any, dialect: Dialect) -> None:
        self._connection, self._dialect = connection, dialect

    @classmethod
    def of(cls, db: Connection) -> Hand:
        """Within the transaction of a connection of SQLAlchemy's."""
        return cls(db.connection.dbapi_connection, db.dialect)

    def first(self, statement: Statement, values: Mapping[str, Any]) -> dict[str, Any] | None:
        """The first row that it finds, or gives back; None when there is none."""
        cursor, prepared = self._execute(statement, values)
        row = cursor.fetchone()
        cursor.close()  # with it ends the query, whatever else it may have found
        return None if row is None else prepared.converted(row)

    def made(self, made: Made[_Value], values: Mapping[str, Any]) -> _Value | None:
        """As `first`, but what is made of the row."""
        cursor, prepared = self._execute(made.statement, values)
        row = cursor.fetchone()
        cursor.close()
        return None if row is None else made.of(prepared, row)

    def all(self, statement: Statement, values: Mapping[str, Any]) -> list[dict[str, Any]]:
        cursor, prepared = self._execute(statement, values)
        return [prepared.converted(row) for row in cursor.fetchall()]

    def count(self, statement: Statement, values: Mapping[str, Any]) -> int:
        """How many rows it wrote."""
        return int(self._execute(statement, values)[0].rowcount)

    def _execute(self, statement: Statement, values: Mapping[str, Any]) -> tuple[Any, _Prepared]:
        prepared, cursor = statement.prepared(self._dialect), self._connection.cursor()
        cursor.execute(prepared.sql, prepared.parameters(values))
        return cursor, prepared


class _Prepared:
    def __init__(self, query: _Query, dialect: Dialect, names: tuple[str, ...]) -> None:
        self.dialect = dialect
        compiled = query.compile(dialect=dialect, column_keys=names or None)
        self.sql = str(compiled)
        self._by_name = compiled.positiontup is None
        order = compiled.positiontup or list(dict.fromkeys(compiled.bind_names.values()))
        binds = {name: compiled.binds[name] for name in order}
        self._own = {name: bind.effective_value for name, bind in binds.items() if not bind.required}
        self._binds: list[tuple[str, _Convert]] = [
            (name, binds[name].type.dialect_impl(dialect).bind_processor(dialect)) for name in order
        ]
        self._columns: list[tuple[str, _Convert]] = [
            (str(column.key), column.type.dialect_impl(dialect).result_processor(dialect, None))
            for column in query.exported_columns
        ]

    def parameters(self, values: Mapping[str, Any]) -> Any:
        """In the form that the driver takes: by place, or by name."""
        given = {**self._own, **values}
        if self._by_name:
            return {name: convert(given[name]) if convert else given[name] for name, convert in self._binds}
        return [convert(given[name]) if convert else given[name] for name, convert in self._binds]

    def converted(self, row: tuple[Any, ...]) -> dict[str, Any]:
        pairs = zip(self._columns, row, strict=True)
        return {name: convert(value) if convert else value for (name, convert), value in pairs}
