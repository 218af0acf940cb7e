"""The script as a module: loading it, and where it may import from."""

import importlib.machinery
import os
import pkgutil
import sys
import types
from pathlib import Path
from typing import Any

from runner.bundle import Bundle
from runner.failure import SCRIPT_NAME, ScriptRefused, type_name
from runner.job import Paths, Warn

MODULE_NAME = "user_script"
ENTRY_POINT = "azureml_main"


def step_aside() -> None:
    """Take the runner's own modules and its directory out of the script's sight.

    A bundle may hold a ``runner.py`` or a ``job.py``: importing it must find that one.  An empty
    ``__main__`` also keeps worker processes, which import their parent's main module, from starting a
    second runner.  Call it once, when everything of the runner has been imported.
    """
    own = _launchers or _Own()
    sys.path[:] = own.path
    for name in own.modules if own is not _launchers else _PROGRAM:
        del sys.modules[name]
    sys.modules["__main__"] = types.ModuleType("__main__")


def come_back() -> None:
    """For a task without a script: let the runner's modules be imported, in a fork as in any start."""
    if _launchers:
        sys.modules.update(_launchers.modules)


class _Own:
    """The runner's own modules, and `sys.path` without its directory."""

    def __init__(self) -> None:
        own = Path(__file__).resolve().parent.parent
        apart = own.name not in ("site-packages", "dist-packages")
        self.path = [entry for entry in sys.path if not apart or Path(entry or ".").resolve() != own]
        self.modules = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "runner"}


_launchers: _Own | None = None
_PROGRAM = ("runner", *(f"runner.{name}" for name in ("__main__", "console", "entry", "job", "job_file", "task")))
"""What the program itself imports, before it knows its task."""


def look_ahead() -> None:
    """Find them now, and take away all but the program's; a launcher does, for all its forks, when everything of the
    runner has been imported.
    """
    global _launchers
    _launchers = _Own()
    for name in _launchers.modules.keys() - _PROGRAM:
        del sys.modules[name]


def open_import_paths(paths: Paths, bundle: Bundle, warn: Warn) -> None:
    """Put the bundle and its wheels on ``sys.path``, after the standard library and ahead of the installed packages.

    The script itself goes to the very end, under the name of its module: a worker process that was not
    forked has to import it to find the script's functions.
    """
    installed = [
        position
        for position, entry in enumerate(sys.path)
        if os.path.basename(entry) in ("site-packages", "dist-packages")
    ]
    _warn_of_shadows(bundle, sys.path[installed[0] :] if installed else [], warn)
    place = installed[0] if installed else len(sys.path)
    added = [str(paths.bundle), *map(str, bundle.wheels)]
    sys.path[place:place] = added
    paths.own.mkdir(exist_ok=True)
    (paths.own / f"{MODULE_NAME}.py").symlink_to(paths.script)
    sys.path.append(str(paths.own))
    for entry in (*added, sys.path[-1]):  # what was found in the others stays true: they cannot be written to
        sys.path_importer_cache.pop(entry, None)


def _warn_of_shadows(bundle: Bundle, installed: list[str], warn: Warn) -> None:
    in_wheels = {module.name for module in pkgutil.iter_modules(map(str, bundle.wheels))}
    for name in sorted({*bundle.modules(), *in_wheels}):
        if name in sys.stdlib_module_names or name in sys.modules:
            warn(
                "name_shadowed",
                f"'import {name}' finds Python's own or an already imported {name!r}, not the one in the"
                " script bundle; give that module another name",
            )
        elif importlib.machinery.PathFinder.find_spec(name, installed):
            warn(
                "name_shadowing",
                f"'import {name}' finds the module in the script bundle and hides the installed package of that name",
            )


def script_module() -> types.ModuleType:
    """Give the script's module, which is not ``__main__``; nothing of the script is in it yet."""
    module = types.ModuleType(MODULE_NAME)
    module.__file__ = SCRIPT_NAME
    sys.modules[MODULE_NAME] = module
    return module


def load_script(data: bytes, module: types.ModuleType) -> None:
    """Run the script's top level, once."""
    code = compile(data, SCRIPT_NAME, "exec", dont_inherit=True)
    exec(code, vars(module))  # noqa: S102 - running the tenant's script is what the sandbox is for


def entry_point(module: types.ModuleType) -> Any:
    """Find the function to call.  Raises `ScriptRefused` when it is missing or cannot be called."""
    missing = object()
    function = vars(module).get(ENTRY_POINT, missing)
    if function is missing:
        raise ScriptRefused(
            f"module '{MODULE_NAME}' has no attribute '{ENTRY_POINT}': a script must define"
            f" 'def {ENTRY_POINT}(dataframe1, dataframe2)'"
        )
    if not callable(function):
        raise ScriptRefused(
            f"'{ENTRY_POINT}' is not callable, it is of type {type_name(function)}: a script must define"
            f" 'def {ENTRY_POINT}(dataframe1, dataframe2)'"
        )
    return function
