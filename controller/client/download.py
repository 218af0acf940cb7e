"""Saving what a server sends, without trusting its names and without leaving half a file."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Set
from pathlib import Path, PurePosixPath, PureWindowsPath


def receive(chunks: Iterable[bytes], file: Path) -> int:
    """Write the chunks to `file`, which appears, or is replaced, only when all have arrived; bytes written.

    A link at that place is replaced, not followed. Raises OSError when the place cannot be written.
    """
    written = 0
    descriptor, name = tempfile.mkstemp(prefix=f".{file.name[:100]}.", dir=file.parent)
    try:
        with os.fdopen(descriptor, "wb") as part:
            for chunk in chunks:
                written += part.write(chunk)
        os.chmod(name, 0o666 & ~_umask())  # mkstemp's 0600 is for secrets; this is the user's own result
        os.replace(name, file)
    except BaseException:
        os.unlink(name)
        raise
    return written


def local_name(name: str, taken: Set[str]) -> str:
    """A plain file name for an item that the server calls `name`; not one of `taken`.

    Folders are dropped, whichever system's separators they use; characters that could hide or control
    anything become "_", a leading dot too; "plot.png" becomes "plot-2.png" when it is taken.
    """
    base = PureWindowsPath(PurePosixPath(name).name).name
    base = "".join(c if c.isprintable() and c not in '<>:"|?*\\/' else "_" for c in base)
    if base.startswith("."):
        base = "_" + base[1:]
    base = _shortened(base or "image")
    path, number = PurePosixPath(base), 2
    while base in taken:
        base = f"{path.stem}-{number}{path.suffix}"
        number += 1
    return base


def _shortened(name: str, limit_bytes: int = 200) -> str:
    """The name within a file system's 255 bytes, room left for a number; its suffix is kept."""
    path = PurePosixPath(name)
    suffix = path.suffix if len(path.suffix.encode()) <= 16 else ""
    stem = name.removesuffix(suffix).encode("utf-8", "replace")
    return stem[: limit_bytes - len(suffix.encode())].decode("utf-8", "ignore") + suffix


def _umask() -> int:
    """This process's umask, which can be read only by setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
