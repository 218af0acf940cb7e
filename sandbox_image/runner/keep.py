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

import numpy
import pandas
import pyarrow
import pyarrow.compute

_HELD: tuple[ModuleType, ...] = (
    builtins, codecs, ctypes, io, json, json.encoder, json.decoder, linecache, os, posixpath, signal, stat,
    threading, time, traceback, zlib, numpy, pandas, pyarrow, pyarrow.compute, pyarrow.lib,
)  # fmt: skip


_SPARE_DESCRIPTORS = 4


class Kept:
    """A snapshot of the interpreter; taken just before the script is loaded."""

    def __init__(self) -> None:
        self._names = {module: dict(vars(module)) for module in _HELD}
        self._modules = dict(sys.modules)
        self._paths = (list(sys.path), list(sys.meta_path), list(sys.path_hooks))
        self._recursion = sys.getrecursionlimit()
        # A script that leaves every descriptor open must not keep the report from being opened.
        self._spare = [os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC) for _ in range(_SPARE_DESCRIPTORS)]

    def put_back(self) -> None:
        """Undo what the script changed in it; what the script added stays."""
        for module, names in self._names.items():
            vars(module).update(names)
        _silence_signals()
        sys.settrace(None)
        sys.setprofile(None)
        sys.setrecursionlimit(self._recursion)
        sys.modules.update(self._modules)
        sys.path[:], sys.meta_path[:], sys.path_hooks[:] = self._paths
        for descriptor in self._spare:
            with contextlib.suppress(OSError):  # the script may have closed it
                os.close(descriptor)


def _silence_signals() -> None:
    """Switch off the script's timers and signal handlers, so that none fires into the report."""
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    signal.setitimer(signal.ITIMER_PROF, 0)
    for number in signal.valid_signals():
        if callable(signal.getsignal(number)):
            signal.signal(number, signal.SIG_IGN)
    # Past the size limit of a file, a write must give an error: the default is to end the process.
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
