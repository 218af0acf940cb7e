"""The Python that a local run uses: is it fit for it, and which packages does it have?"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass

MINIMUM = (3, 11)
REQUIRED = ("pandas", "pyarrow")
_SECONDS = 60
_PROBE = f"""
import json, platform, sys
from importlib import metadata, util

packages = {{}}
for found in metadata.distributions():
    name = found.metadata["Name"]
    if name and found.version:
        packages.setdefault(name, found.version)
missing = [name for name in {REQUIRED} if util.find_spec(name) is None]
print(json.dumps([platform.python_version(), missing, packages]))
"""


class UnfitPython(Exception):
    """A local run cannot be made with this Python; the message says why, and what to do."""


@dataclass(frozen=True)
class Interpreter:
    """A Python that can run the runner. `packages` maps the names of its distributions to their versions."""

    path: str
    version: str
    packages: Mapping[str, str]


def examine(python: str | None) -> Interpreter:
    """Ask a Python, by path or by command name, what it is and has; None is the one this program runs in.

    Raises UnfitPython.
    """
    path = _found(python) if python else sys.executable
    try:
        done = subprocess.run(
            [path, "-c", _PROBE], cwd=os.sep, capture_output=True, text=True, timeout=_SECONDS, check=True
        )
        version, missing, packages = json.loads(done.stdout.splitlines()[-1])
    except subprocess.CalledProcessError as error:
        last = (error.stderr.strip().splitlines() or [f"exit code {error.returncode}"])[-1]
        raise UnfitPython(f"{path} is no Python of version 3.8 or later that works: {last}") from error
    except (OSError, ValueError, IndexError, subprocess.TimeoutExpired) as error:
        raise UnfitPython(f"{path} is no Python that works: {error}") from error
    if tuple(map(int, version.split(".")[:2])) < MINIMUM:
        needed = ".".join(map(str, MINIMUM))
        raise UnfitPython(f"{path} is Python {version}; a local run needs {needed} or later: name one with --python")
    if missing:
        install = "'airlock[tables]'" if python is None else " ".join(missing)
        raise UnfitPython(
            f"{path} has no {' and no '.join(missing)}, which a local run needs: install with"
            f" `{path} -m pip install {install}`, or name another Python with --python"
        )
    return Interpreter(path, version, packages)


def _found(python: str) -> str:
    """The absolute path, links kept: a virtual environment's Python is one, and would be another behind it."""
    found = shutil.which(python)
    if found is None:
        raise UnfitPython(f"{python}: no such program; --python takes the path of a Python, or the name of a command")
    return os.path.abspath(found)
