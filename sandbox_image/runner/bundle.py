"""The script bundle: a zip unpacked under ``./Script Bundle``, carefully.

A zip is the tenant's, and this code runs as the tenant's own user in its own sandbox: a hostile one can only
hurt itself.  The rules below are there so that it fails with a sentence instead of filling the disk.
"""

import os
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from runner.failure import BadBundle

MAX_ENTRIES = 1000
MAX_FILE_BYTES = 16 * 1024 * 1024
MAX_TOTAL_BYTES = 64 * 1024 * 1024
MAX_RATIO = 100
RATIO_FREE_BYTES = 1024 * 1024  # small files of zeros are common, and harm nobody
MAX_NAME_BYTES = 255
_CHUNK_BYTES = 64 * 1024
_ENCRYPTED = 0x1 | 0x40
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


@dataclass(frozen=True)
class Bundle:
    """An unpacked bundle: where it is, and its files with the time and size they were unpacked with."""

    root: Path
    files: dict[str, tuple[int, int]] = field(default_factory=dict)

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


def unpack(archive: Path | None, root: Path) -> Bundle:
    """Make `root` and unpack `archive` into it; None makes it empty.  Raises `BadBundle`."""
    root.mkdir()
    alias = root.parent / "src"  # the name that older instructions give the same folder
    alias.symlink_to(root.name)
    if archive is None:
        return Bundle(root)
    try:
        with zipfile.ZipFile(archive) as opened:
            entries = _checked(opened)
            return Bundle(root, dict(_unpack_all(opened, entries, root)))
    except OSError as error:
        raise BadBundle(f"the script bundle cannot be unpacked: {error.strerror or error}") from error
    except (zipfile.BadZipFile, zlib.error, struct.error, EOFError, ValueError, NotImplementedError) as error:
        raise BadBundle(f"the script bundle is not a ZIP file in the correct format: {_first_line(error)}") from error


def _checked(opened: zipfile.ZipFile) -> list[tuple[zipfile.ZipInfo, str]]:
    """Pair every entry with its name inside the bundle, or raise before the first byte is unpacked."""
    found = opened.infolist()
    if len(found) > MAX_ENTRIES:
        raise BadBundle(f"the script bundle holds {len(found)} entries; at most {MAX_ENTRIES} are allowed")
    entries = [(entry, _safe_name(entry)) for entry in found]
    files: set[str] = set()
    folders: set[str] = set()
    for entry, name in entries:
        _check_kind(entry, name)
        parts = name.split("/")
        folders.update("/".join(parts[:depth]) for depth in range(1, len(parts)))
        if _is_folder(entry):
            folders.add(name)
        elif name in files:
            raise BadBundle(f"the script bundle holds {name!r} twice")
        else:
            files.add(name)
    clash = sorted(files & folders)
    if clash:
        raise BadBundle(f"in the script bundle, {clash[0]!r} is a file and a folder at once")
    return entries


def _safe_name(entry: zipfile.ZipInfo) -> str:
    # Not `filename`, which has been cut at a NUL.
    name = entry.orig_filename.replace("\\", "/")
    parts = [part for part in name.split("/") if part not in ("", ".")]
    problem = None
    if "\0" in name:
        problem = "holds a NUL character"
    elif name.startswith("/") or re.match(r"[A-Za-z]:", name):
        problem = "is an absolute path"
    elif ".." in parts:
        problem = "points outside of the bundle"
    elif not parts:
        problem = "is empty"
    elif any(len(part.encode("utf-8", "replace")) > MAX_NAME_BYTES for part in parts):
        problem = f"has a part of more than {MAX_NAME_BYTES} bytes"
    if problem:
        raise BadBundle(f"in the script bundle, the name {name[:MAX_NAME_BYTES]!r} {problem}")
    return "/".join(parts)


def _is_folder(entry: zipfile.ZipInfo) -> bool:
    return entry.orig_filename.endswith(("/", "\\"))


def _check_kind(entry: zipfile.ZipInfo, name: str) -> None:
    if entry.flag_bits & _ENCRYPTED:
        raise BadBundle(f"the script bundle is encrypted ({name!r}); encrypted ZIP files are not supported")
    if entry.compress_type not in _METHODS:
        raise BadBundle(
            f"in the script bundle, {name!r} uses compression method {entry.compress_type};"
            " only 'stored' and 'deflate' are supported"
        )
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        what = "a symbolic link" if kind == stat.S_IFLNK else "a special file"
        raise BadBundle(f"in the script bundle, {name!r} is {what}; only files and folders are allowed")


def _unpack_all(
    opened: zipfile.ZipFile, entries: list[tuple[zipfile.ZipInfo, str]], root: Path
) -> Iterator[tuple[str, tuple[int, int]]]:
    total = 0
    for entry, name in entries:
        target = root / name
        if _is_folder(entry):
            target.mkdir(parents=True, exist_ok=True)
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        executable = (entry.external_attr >> 16) & 0o100
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(target, flags, 0o755 if executable else 0o644)
        with os.fdopen(descriptor, "wb") as file:
            for piece in _inflate(opened, entry, name):
                total += len(piece)
                if total > MAX_TOTAL_BYTES:
                    raise BadBundle(f"the script bundle holds more than {MAX_TOTAL_BYTES} bytes, unpacked")
                file.write(piece)
        status = target.stat()
        yield str(target), (status.st_mtime_ns, status.st_size)


def _inflate(opened: zipfile.ZipFile, entry: zipfile.ZipInfo, name: str) -> Iterator[bytes]:
    """Unpack one file in pieces.  Counts what comes out: the sizes in the headers are only claims."""
    size = 0
    with opened.open(entry) as packed:
        while piece := packed.read(_CHUNK_BYTES):
            size += len(piece)
            if size > MAX_FILE_BYTES:
                raise BadBundle(f"in the script bundle, {name!r} has more than {MAX_FILE_BYTES} bytes, unpacked")
            if size > RATIO_FREE_BYTES and size > MAX_RATIO * max(entry.compress_size, 1):
                raise BadBundle(
                    f"in the script bundle, {name!r} is packed more than {MAX_RATIO} times smaller than its contents"
                )
            yield piece


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0] or type(error).__name__
