"""The script bundle: a zip unpacked under ``./Script Bundle``, and the wheels in it made importable."""

import importlib.util
import os
from dataclasses import dataclass, field
from pathlib import Path

from runner.archive import Allowance, Stamp, extract
from runner.job import Paths, Warn
from runner.wheels import unpack_wheels

_LABEL = "the script bundle"


@dataclass(frozen=True)
class Bundle:
    """An unpacked bundle: where it is, and its files with the time and size they were unpacked with."""

    root: Path
    files: dict[str, Stamp] = field(default_factory=dict)
    wheels: tuple[Path, ...] = ()
    """The folders that its wheels were unpacked into."""

    def untouched(self, path: str, status: os.stat_result) -> bool:
        """Tell whether a file is one of the bundle's, just as it was unpacked."""
        return self.files.get(path) == (status.st_mtime_ns, status.st_size)

    def modules(self) -> list[str]:
        """Name what can be imported from the root of the bundle, sorted."""
        names = set()
        for path in self.files:
            head, _, rest = os.path.relpath(path, self.root).partition(os.sep)
            name = head if rest else head.removesuffix(".py")
            if name.isidentifier() and (rest or head.endswith(".py")):
                names.add(name)
        return sorted(names)

    @property
    def only_folder(self) -> Path | None:
        """The folder that holds everything, when the zip was made of a folder instead of its files."""
        tops = {os.path.relpath(path, self.root).partition(os.sep)[0] for path in self.files}
        tops -= {"__MACOSX", ".DS_Store"}
        folder = self.root / next(iter(tops), "")
        return folder if len(tops) == 1 and folder.is_dir() else None


def unpack(archive: Path | None, paths: Paths, warn: Warn) -> Bundle:
    """Make the folder of the bundle and unpack `archive` into it; None leaves it empty.  Raises `BadBundle`."""
    root = paths.bundle
    root.mkdir()
    alias = root.parent / "src"  # the name that older instructions give the same folder
    alias.symlink_to(root.name)
    if archive is None:
        return Bundle(root)
    allowance = Allowance(root)
    files = extract(archive, root, _LABEL, allowance)
    _drop_foreign_bytecode(files, root, warn)
    wheels = unpack_wheels([Path(file) for file in files if file.endswith(".whl")], paths, allowance, warn)
    return Bundle(root, files, tuple(wheels))


def _drop_foreign_bytecode(files: dict[str, Stamp], root: Path, warn: Warn) -> None:
    """Remove compiled modules of other Pythons: Python would stumble over them where the source is missing."""
    dropped = []
    for path in [path for path in files if path.endswith((".pyc", ".pyo"))]:
        with open(path, "rb") as file:
            magic = file.read(len(importlib.util.MAGIC_NUMBER))
        if magic != importlib.util.MAGIC_NUMBER:
            os.unlink(path)
            del files[path]
            if "__pycache__" not in path:  # there, Python keeps each version's apart
                dropped.append(os.path.relpath(path, root))
    if dropped:
        more = f" and {len(dropped) - 1} more" if len(dropped) > 1 else ""
        warn(
            "bytecode_ignored",
            f"{dropped[0]!r}{more} in the script bundle was compiled by another Python and is left out; put the"
            " source (.py) into the bundle",
        )
