"""Which packages the user's environment has in other versions than the image, as far as it matters to a script."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

PYTHON = "python"
_RUNNERS_OWN = ("pandas", "numpy", "pyarrow")
_DISTRIBUTIONS = {
    "brotli-python": "brotli",
    "matplotlib-base": "matplotlib",
    "msgpack-python": "msgpack",
    "pyarrow-core": "pyarrow",
    "pytables": "tables",
    "python-blosc2": "blosc2",
    "python-duckdb": "duckdb",
    "python-tzdata": "tzdata",
    "pytorch": "torch",
    "seaborn-base": "seaborn",
}
"""Of conda's packages that PyPI knows by another name, those that an image for tables may hold."""
_MODULES = {
    "beautifulsoup4": "bs4",
    "pillow": "pil",
    "python-dateutil": "dateutil",
    "pyyaml": "yaml",
    "scikit-learn": "sklearn",
}
"""Of distributions whose module is not called as they are, the same."""


@dataclass(frozen=True)
class Difference:
    """A package of the image, under its distribution's name; `here` is None when this environment has none."""

    name: str
    image: str
    here: str | None


def differences(
    image: Iterable[tuple[str, str]], python: str, packages: Mapping[str, str], imported: frozenset[str]
) -> list[Difference]:
    """What differs, what matters most first: Python, what the script imports, what the runner uses, the rest.

    `image` pairs conda's names with versions. A package that this environment lacks counts only when the script
    imports it.
    """
    here = {_canonical(name): version for name, version in packages.items()} | {PYTHON: python}
    there = {_distribution(name): version for name, version in image}
    wanted = {_canonical(module) for module in imported}
    found = []
    for name, version in there.items():
        own = here.get(name)
        if own != version and (own is not None or _module(name) in wanted):
            found.append(Difference(name, version, own))
    return sorted(found, key=lambda one: (_rank(one.name, wanted), one.name))


def imported_modules(script: bytes) -> frozenset[str]:
    """The top-level names of all that a script imports anywhere; none when it is no Python."""
    try:
        tree = ast.parse(script)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return frozenset()
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module)
    return frozenset(name.partition(".")[0] for name in names)


def _rank(name: str, wanted: set[str]) -> int:
    if name == PYTHON:
        return 0
    if _module(name) in wanted:
        return 1
    return 2 if name in _RUNNERS_OWN else 3


def _distribution(conda: str) -> str:
    return _DISTRIBUTIONS.get(conda, _canonical(conda))


def _module(distribution: str) -> str:
    return _MODULES.get(distribution, distribution)


def _canonical(name: str) -> str:
    """As PyPI compares names: case and the kind of separator make no difference."""
    return re.sub(r"[-_.]+", "-", name).lower()
