"""Warnings about the columns of one table: one for each rule, however many columns it touched."""

from collections.abc import Iterator
from contextlib import contextmanager

from runner.failure import clip_line
from runner.job import Warn

_NAMED = 10
_NAME_CHARACTERS = 80


class Notes:
    """Collects what happened to columns, until it is told."""

    def __init__(self) -> None:
        self._columns: dict[tuple[str, str], dict[str, str]] = {}

    def warn(self, code: str, rule: str, column: str, detail: str = "") -> None:
        """Note that a rule was applied to a column; `detail` says what it met there."""
        self._columns.setdefault((code, rule), {}).setdefault(column, detail)

    def tell(self, warn: Warn) -> None:
        """Give one warning for each rule: its sentence, the first ten columns, and how many more there are."""
        for (code, rule), columns in self._columns.items():
            named = [_named(name, detail) for name, detail in list(columns.items())[:_NAMED]]
            more = f" and {len(columns) - _NAMED} more" if len(columns) > _NAMED else ""
            warn(code, f"{rule}: column{'s' if len(columns) > 1 else ''} {', '.join(named)}{more}")


@contextmanager
def telling(warn: Warn) -> Iterator[Notes]:
    """Collect notes, and tell them at the end; also when a column was refused."""
    notes = Notes()
    try:
        yield notes
    finally:
        notes.tell(warn)


def _named(name: str, detail: str) -> str:
    text = clip_line(repr(name), _NAME_CHARACTERS)
    return f"{text} ({clip_line(detail, _NAME_CHARACTERS)})" if detail else text
