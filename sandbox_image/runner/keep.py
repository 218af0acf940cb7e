"""What the runner relies on, held while the script runs and put back afterwards.

This is no security boundary: the script shares the process, and the controller believes nothing that comes
out of it.  It is what lets an honest report be written after a script that patched ``builtins.open``, emptied
``sys.modules`` or left a timer behind.
"""

import builtins
import codecs
import contextlib
import ctypes
import io
import json
import linecache
import os
import posixpath
import signal
import stat
import sys
import threading
import time
import traceback
import zlib
from types import ModuleType
from typing import Any

import numpy
import pandas
import pyarrow
import pyarrow.compute

from runner.entry import MODULE_NAME
from runner.unchanged import CHANGES_ARE_TOLD, state_of

_HELD: tuple[ModuleType, ...] = (
    builtins, codecs, ctypes, io, json, json.encoder, json.decoder, linecache, os, posixpath, signal, stat,
    threading, time, traceback, zlib, numpy, pandas, pyarrow, pyarrow.compute, pyarrow.lib,
)  # fmt: skip


_SIGNALS = signal.valid_signals()
_SPARE_DESCRIPTORS = 4


class _Copy:
    """A copy of a dictionary, which knows whether it is still true."""

    def __init__(self, names: dict[str, Any], copy: dict[str, Any] | None = None) -> None:
        self._names = names
        self._state = state_of(names)
        self._copied_at = self._state.value
        self._copy = dict(names) if copy is None else copy

    def _is_true(self) -> bool:
        return CHANGES_ARE_TOLD and self._state.value == self._copied_at

    def renewed(self) -> "_Copy":
        """Give a copy of what is there now, if need be another one."""
        return self if self._is_true() else _Copy(self._names)

    def put_back(self) -> None:
        """Undo what was changed; what was added stays."""
        if not self._is_true():
            self._names.update(self._copy)


_held: list[_Copy] = []
_modules: dict[str, ModuleType] = {}
"""All but the runner's own, which are not there any more when a script is loaded."""


def look_ahead() -> None:
    """Take most of the snapshot now; a launcher does, for all its forks."""
    _held[:] = [_Copy(vars(module)) for module in _HELD]
    _modules.clear()
    _modules.update((name, module) for name, module in sys.modules.items() if name.partition(".")[0] != "runner")


def _all_modules() -> dict[str, ModuleType]:
    """Give a copy of `sys.modules`: the one made ahead, unless the job itself has imported more than the script."""
    _modules.update((name, sys.modules[name]) for name in ("__main__", MODULE_NAME))
    return _modules if len(_modules) == len(sys.modules) else dict(sys.modules)


class Kept:
    """A snapshot of the interpreter; taken just before the script is loaded."""

    def __init__(self) -> None:
        if not _held:
            look_ahead()
        self._held = [copy.renewed() for copy in _held]
        self._modules = _Copy(sys.modules, _all_modules())
        self._paths = (list(sys.path), list(sys.meta_path), list(sys.path_hooks))
        self._recursion = sys.getrecursionlimit()
        # A script that leaves every descriptor open must not keep the report from being opened.
        self._spare = [os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC) for _ in range(_SPARE_DESCRIPTORS)]

    def put_back(self) -> None:
        """Undo what the script changed in it; what the script added stays."""
        for copy in self._held:
            copy.put_back()
        _silence_signals()
        sys.settrace(None)
        sys.setprofile(None)
        sys.setrecursionlimit(self._recursion)
        self._modules.put_back()
        sys.path[:], sys.meta_path[:], sys.path_hooks[:] = self._paths
        for descriptor in self._spare:
            with contextlib.suppress(OSError):  # the script may have closed it
                os.close(descriptor)


def _silence_signals() -> None:
    """Switch off the script's timers and signal handlers, so that none fires into the report."""
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    signal.setitimer(signal.ITIMER_PROF, 0)
    for number in _SIGNALS:
        if callable(signal.getsignal(number)):
            signal.signal(number, signal.SIG_IGN)
    # Past the size limit of a file, a write must give an error: the default is to end the process.
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
