"""Has a dictionary changed?  Told without a look at what is in it.

Who looks at a value counts a reference to it, and a fork copies every page on which one is counted: the names that the
runner holds, and all modules, lie on 900 pages, a third of those that a small job would copy.
"""

import ctypes
from typing import Any

_STATE_AT = 24
"""Where CPython keeps the number of a dictionary's state (PEP 509): behind references, type and length."""


def state_of(names: dict[str, Any]) -> ctypes.c_uint64:
    """Give the number of a dictionary's state, which any change replaces by one that no dictionary had yet.

    It is good as long as the dictionary lives.
    """
    return ctypes.c_uint64.from_address(id(names) + _STATE_AT)


def _are_told() -> bool:
    """Try it: Python 3.14 has no such number any more."""
    value, other = object(), object()
    names = {"a": value, "b": value}
    state = state_of(names)
    seen = [state.value]
    names["a"] = other
    seen.append(state.value)
    names["c"] = value
    seen.append(state.value)
    del names["b"]
    seen.append(state.value)
    names["a"] = other
    return len(set(seen)) == len(seen) and state.value == seen[-1]


CHANGES_ARE_TOLD = _are_told()
