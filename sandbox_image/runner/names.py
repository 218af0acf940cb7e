"""Column names: always text, never empty, never twice the same."""

from collections.abc import Iterable
from typing import Any

from runner.failure import UnsupportedValue
from runner.notes import Notes


def column_names(labels: Iterable[Any], notes: Notes) -> list[str]:
    """Turn any labels into distinct column names, in the same order.

    A label that is not text becomes ``str(label)``; an empty one ``Col<position>``, counted from 1; the
    second ``a`` becomes ``a (2)``, the third ``a (3)``.  A name that is there already is never given away:
    a repeated name takes the smallest number that is free.
    """
    return unique([_text(label, position, notes) for position, label in enumerate(labels, start=1)])


def unique(names: list[str]) -> list[str]:
    """Number the names that come again; the first of each keeps its name."""
    taken = set(names)
    seen: set[str] = set()
    following: dict[str, int] = {}
    result = []
    for name in names:
        final = name
        if name in seen:
            number = following.get(name, 2)
            while f"{name} ({number})" in taken:
                number += 1
            final = f"{name} ({number})"
            following[name] = number + 1
            taken.add(final)
        seen.add(final)
        result.append(final)
    return result


def _text(label: Any, position: int, notes: Notes) -> str:
    try:
        name = str(label)
    except Exception as error:
        raise UnsupportedValue(
            f"the name of column {position} (a {type(label).__qualname__}) cannot be turned into text:"
            f" {type(error).__name__}"
        ) from error
    if not name:
        return f"Col{position}"
    clean = name.encode("utf-8", "replace").decode("utf-8")
    if clean != name:
        notes.warn("surrogates_replaced", "names with lone surrogates have '?' in their places now", clean)
    return clean
