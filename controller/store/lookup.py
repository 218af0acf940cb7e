"""A row that a small call waits for, found by its key.

SQLAlchemy writes the SQL and says how values are converted, once. Its way to the driver and back, through a connection,
a transaction and a result, is left out: that is many times the work of the query itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from typing import Any

from sqlalchemy import RowMapping, Select
from sqlalchemy.engine import Dialect, Engine

Row = RowMapping | dict[str, Any]
_Convert = Callable[[Any], Any] | None


class Lookup:
    """A query for one row. A single SELECT sees one state of the database: it needs no transaction around it."""

    def __init__(self, query: Select[Any]) -> None:
        self.query = query
        self._prepared: _Prepared | None = None

    def row(self, engine: Engine, values: Mapping[str, Any]) -> dict[str, Any] | None:
        """The row for these values of the query's parameters. The driver's own errors."""
        if self._prepared is None or self._prepared.dialect is not engine.dialect:
            self._prepared = _Prepared(self.query, engine.dialect)
        prepared = self._prepared
        with closing(engine.raw_connection()) as connection, closing(connection.cursor()) as cursor:
            cursor.execute(prepared.sql, prepared.parameters(values))
            found = cursor.fetchone()  # and the cursor's end is that of the query, whatever else it may have found
        return None if found is None else dict(prepared.converted(found))


class _Prepared:
    def __init__(self, query: Select[Any], dialect: Dialect) -> None:
        self.dialect = dialect
        self._compiled = query.compile(dialect=dialect)
        self.sql = str(self._compiled)
        self._order = self._compiled.positiontup
        binds = self._compiled.binds
        self._bind = {name: bind.type.dialect_impl(dialect).bind_processor(dialect) for name, bind in binds.items()}
        self._columns: list[tuple[str, _Convert]] = [
            (str(column.key), column.type.dialect_impl(dialect).result_processor(dialect, None))
            for column in query.selected_columns
        ]

    def parameters(self, values: Mapping[str, Any]) -> Any:
        """In the form that the driver takes: by place, or by name."""
        given = self._compiled.construct_params(dict(values))
        given = {name: bind(given[name]) if (bind := self._bind[name]) else given[name] for name in given}
        return given if self._order is None else [given[name] for name in self._order]

    def converted(self, row: tuple[Any, ...]) -> Iterator[tuple[str, Any]]:
        for (name, convert), value in zip(self._columns, row, strict=True):
            yield name, convert(value) if convert else value
