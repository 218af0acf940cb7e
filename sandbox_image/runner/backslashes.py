r"""Paths written for Windows, such as ``.\Script Bundle\f.txt``: taken as they were meant.

Only scripts with such a path in their source get this, and only where the path as it stands leads nowhere.
"""

import builtins
import functools
import importlib.machinery
import io
import os
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any

from runner.job import Warn

_WRITTEN = re.compile(rb"""\\\\|[rR]["'][^"'\n]*\\|["']\.{1,2}\\""")


def open_backslash_paths(sources: Sequence[bytes], warn: Warn) -> None:
    """Let files be opened, and found, by paths with backslashes, when a source has one in a literal."""
    if not any(_WRITTEN.search(source) for source in sources):
        return
    paths = _Paths(warn)
    opener = paths.retrying(builtins.open)
    builtins.open = io.open = opener
    os.listdir = paths.retrying(os.listdir)
    for name in ("exists", "isfile", "isdir"):
        setattr(os.path, name, paths.asking_again(getattr(os.path, name)))
    sys.path_hooks.append(paths.import_from)


class _Paths:
    def __init__(self, warn: Warn) -> None:
        self._warn = warn
        self._told = False

    def meant(self, path: object) -> str | None:
        """Give the path that was meant, when it is there and another one than was written."""
        text = os.fspath(path) if isinstance(path, str | os.PathLike) else None
        if not isinstance(text, str) or "\\" not in text:
            return None
        other = text.replace("\\", "/")
        return other if os.access(other, os.F_OK) else None

    def tell(self, path: str | os.PathLike[str], meant: str) -> None:
        """Warn, once."""
        if not self._told:
            self._told = True
            self._warn(
                "backslash_path",
                f"{os.fspath(path)!r} is taken as {meant!r}; write '/' in paths",
            )

    def retrying(self, function: Callable[..., Any]) -> Any:
        """Wrap what raises FileNotFoundError."""

        @functools.wraps(function)
        def call(path: Any = ".", *arguments: Any, **options: Any) -> Any:
            try:
                return function(path, *arguments, **options)
            except FileNotFoundError:
                meant = self.meant(path)
                if meant is None:
                    raise
            self.tell(path, meant)
            return function(meant, *arguments, **options)

        return call

    def asking_again(self, function: Callable[[Any], bool]) -> Callable[[Any], bool]:
        """Wrap what says False to a path that leads nowhere."""

        @functools.wraps(function)
        def call(path: Any) -> bool:
            if function(path):
                return True
            meant = self.meant(path)
            if meant is None or not function(meant):
                return False
            self.tell(path, meant)
            return True

        return call

    def import_from(self, entry: str) -> importlib.machinery.FileFinder:
        """Import from entries of sys.path with backslashes; a hook for sys.path_hooks."""
        meant = self.meant(entry)
        if meant is None or not os.path.isdir(meant):
            raise ImportError
        self.tell(entry, meant)
        loaders = [
            (importlib.machinery.ExtensionFileLoader, importlib.machinery.EXTENSION_SUFFIXES),
            (importlib.machinery.SourceFileLoader, importlib.machinery.SOURCE_SUFFIXES),
        ]
        return importlib.machinery.FileFinder(meant, *loaders)
