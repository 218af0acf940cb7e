"""Which columns are read: names as the script will see them, and what the author says about them."""

from collections.abc import Sequence

from runner.failure import BadInput, ColumnNotFound
from runner.job import Reading
from runner.names import unique

_NAMED = 20


def fit_names(names: Sequence[str]) -> list[str]:
    """Give the names of a table's columns as they will be: never empty, never twice the same."""
    return unique([name or f"Col{position}" for position, name in enumerate(names, start=1)])


def chosen(names: Sequence[str], reading: Reading) -> list[int]:
    """Give the positions of the wanted columns, in the wanted order.

    Raises `ColumnNotFound` for a name that the table does not have, be it wanted or given a type; `BadInput`
    when the options contradict themselves.
    """
    positions = {name: position for position, name in enumerate(names)}
    for option, stated in (("columns", reading.columns or ()), ("types", reading.types), ("dates", reading.dates)):
        for name in stated:
            if name not in positions:
                raise ColumnNotFound(f"the option {option!r} names the column {name!r}, but {named(names)}")
    if both := sorted(set(reading.types) & set(reading.dates)):
        raise BadInput(f"column {both[0]!r} is in both options 'types' and 'dates'; one of them decides")
    if reading.columns is None:
        return list(range(len(names)))
    if not reading.columns or len(set(reading.columns)) < len(reading.columns):
        raise BadInput("the option 'columns' must name at least one column, and none twice")
    return [positions[name] for name in reading.columns]


def named(names: Sequence[str]) -> str:
    """Say which columns a table has, for a message: the first of many."""
    shown = ", ".join(repr(name) for name in names[:_NAMED])
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"the table has the columns {shown}{more}" if names else "the table has no columns"
