"""What older pandas, numpy and scikit-learn had, given to scripts that use it, and to nobody else.

A shim is there only when its name occurs in the source of the script or of a Python file of its bundle, and
only for code of theirs: a library that asks a frame whether it has ``append`` gets the truth.  The first use
of each gives the warning ``removed_api``, which says what to write instead.
"""

import re
from collections.abc import Callable, Iterator
from types import FrameType

from runner.backslashes import open_backslash_paths
from runner.bundle import Bundle
from runner.failure import SCRIPT_NAME
from runner.job import Warn
from runner.old_frames import extend_frames
from runner.old_modules import alias_modules, extend_numpy, extend_pandas

_MENTIONED = re.compile(rb"\.\s*([A-Za-z_]\w*)")
_IMPORTED = re.compile(rb"^[ \t]*(?:from|import)\b([^#\n(]*(?:\([^)]*\))?)", re.MULTILINE)
_WORD = re.compile(rb"[A-Za-z_]\w*")


class Uses:
    """Knows which code is the script's, and tells of each removed thing that it uses, once."""

    def __init__(self, bundle: Bundle, warn: Warn) -> None:
        self._places = (SCRIPT_NAME, f"{bundle.root}/")
        self._warn = warn
        self._told: set[str] = set()

    def asked_by_script(self, frame: FrameType) -> bool:
        """Tell whether the code that runs in a frame is the script's or its bundle's."""
        return frame.f_code.co_filename.startswith(self._places)

    def tell(self, what: str, instead: str, fact: str = "was removed from the library and is emulated here") -> None:
        """Warn of one removed thing, the first time that it is used."""
        if what not in self._told:
            self._told.add(what)
            self._warn("removed_api", f"{what} {fact}; write {instead}")


def install(script: bytes, bundle: Bundle, warn: Warn) -> None:
    """Make what the sources mention work as it did; call it just before the script is loaded."""
    sources = list(_sources(script, bundle))
    names = mentioned(sources)
    uses = Uses(bundle, warn)
    wanted: list[Callable[[frozenset[str], Uses], None]] = [extend_frames, extend_pandas, extend_numpy, alias_modules]
    for extend in wanted:
        extend(names, uses)
    open_backslash_paths(sources, warn)


def _sources(script: bytes, bundle: Bundle) -> Iterator[bytes]:
    yield script
    for path in bundle.files:
        if path.endswith(".py"):
            with open(path, "rb") as file:
                yield file.read()


def mentioned(sources: list[bytes]) -> frozenset[str]:
    """Name what stands behind a dot, or in an import, anywhere in the sources."""
    found: set[bytes] = set()
    for source in sources:
        found.update(_MENTIONED.findall(source))
        for line in _IMPORTED.findall(source):
            found.update(_WORD.findall(line))
    return frozenset(name.decode() for name in found)
