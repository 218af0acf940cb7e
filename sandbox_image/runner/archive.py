"""Unpacking a zip, carefully.

A zip is the tenant's, and this code runs as the tenant's own user in its own sandbox: a hostile one can only
hurt itself.  The rules below are there so that it fails with a sentence instead of filling the disk.
"""

import errno
import os
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

from runner.failure import BadBundle

MAX_ENTRIES = 10_000
MAX_BYTES = 128 * 1024 * 1024
MAX_RATIO = 100
RATIO_FREE_BYTES = 1024 * 1024  # small files of zeros are common, and harm nobody
MAX_NAME_BYTES = 255
MAX_PATH_BYTES = 2048  # what is unpacked has a longer one, and Linux takes no more than 4096
_CHUNK_BYTES = 64 * 1024
_ENCRYPTED = 0x1 | 0x40
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_FULL = (errno.ENOSPC, errno.EDQUOT)

Entries = list[tuple[zipfile.ZipInfo, str]]
Stamp = tuple[int, int]
"""The time and the size that a file was unpacked with."""


class Allowance:
    """What may still be unpacked: entries and bytes, of a bundle and the wheels in it together."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._entries = MAX_ENTRIES
        self._bytes = MAX_BYTES

    def count_entries(self, label: str, number: int) -> None:
        """Take away entries.  Raises `BadBundle` when there are too many."""
        self._entries -= number
        if self._entries < 0:
            raise BadBundle(f"{label} holds {number} entries; at most {MAX_ENTRIES} are allowed in all")

    def expect(self, label: str, size: int) -> None:
        """Refuse what claims to be more than the working directory has room for, before any of it is written."""
        free = _free_bytes(self._folder)
        if free < size <= MAX_BYTES:
            raise BadBundle(f"{label} holds {size} bytes, unpacked; the working directory has room for {free}")

    def count_bytes(self, label: str, number: int) -> None:
        """Take away bytes that came out.  Raises `BadBundle` when there are too many."""
        self._bytes -= number
        if self._bytes < 0:
            raise BadBundle(f"{label} holds more than {MAX_BYTES} bytes, unpacked (its wheels included)")


def extract(
    archive: Path, root: Path, label: str, allowance: Allowance, place: Callable[[str], str | None] = str
) -> dict[str, Stamp]:
    """Unpack a zip into the folder `root`; gives the files, by their paths.

    `place` says where in `root` an entry goes; None leaves it out.  `label` begins the sentences of errors.
    Raises `BadBundle`: nothing is unpacked unless the names of all entries are sound.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            entries = _checked(opened, label, allowance, place)
            return dict(_unpack_all(opened, entries, root, label, allowance))
    except OSError as error:
        why = error.strerror or str(error)
        if error.errno in _FULL:
            why = f"the working directory is full; {_free_bytes(root)} bytes are left of it"
        raise BadBundle(f"{label} cannot be unpacked: {why}") from error
    except (zipfile.BadZipFile, zlib.error, struct.error, EOFError, ValueError, NotImplementedError) as error:
        raise BadBundle(f"{label} is not a ZIP file in the correct format: {_first_line(error)}") from error


def _free_bytes(folder: Path) -> int:
    status = os.statvfs(folder)
    return status.f_bavail * status.f_frsize


def _checked(opened: zipfile.ZipFile, label: str, allowance: Allowance, place: Callable[[str], str | None]) -> Entries:
    """Pair every entry with its name inside the root, or raise before the first byte is unpacked."""
    found = opened.infolist()
    allowance.count_entries(label, len(found))
    entries: Entries = []
    for entry in found:
        name = _safe_name(entry, label)
        _check_kind(entry, name, label)
        placed = place(name)
        if placed is not None:
            entries.append((entry, placed))
    _check_clashes(entries, label)
    allowance.expect(label, sum(entry.file_size for entry, _ in entries))
    return entries


def _check_clashes(entries: Entries, label: str) -> None:
    files: set[str] = set()
    folders: set[str] = set()
    for entry, name in entries:
        parts = name.split("/")
        folders.update("/".join(parts[:depth]) for depth in range(1, len(parts)))
        if _is_folder(entry):
            folders.add(name)
        elif name in files:
            raise BadBundle(f"{label} holds {name!r} twice")
        else:
            files.add(name)
    clash = sorted(files & folders)
    if clash:
        raise BadBundle(f"in {label}, {clash[0]!r} is a file and a folder at once")


def _safe_name(entry: zipfile.ZipInfo, label: str) -> str:
    # Not `filename`, which has been cut at a NUL.
    name = entry.orig_filename.replace("\\", "/")
    parts = [part for part in name.split("/") if part not in ("", ".")]
    problem = None
    if "\0" in name:
        problem = "holds a NUL character"
    elif name.startswith("/") or re.match(r"[A-Za-z]:", name):
        problem = "is an absolute path"
    elif ".." in parts:
        problem = "points outside of it"
    elif not parts:
        problem = "is empty"
    elif any(len(part.encode("utf-8", "replace")) > MAX_NAME_BYTES for part in parts):
        problem = f"has a part of more than {MAX_NAME_BYTES} bytes"
    elif len(name.encode("utf-8", "replace")) > MAX_PATH_BYTES:
        problem = f"has more than {MAX_PATH_BYTES} bytes"
    if problem:
        raise BadBundle(f"in {label}, the name {name[:MAX_NAME_BYTES]!r} {problem}")
    return "/".join(parts)


def _is_folder(entry: zipfile.ZipInfo) -> bool:
    return entry.orig_filename.endswith(("/", "\\"))


def _check_kind(entry: zipfile.ZipInfo, name: str, label: str) -> None:
    if entry.flag_bits & _ENCRYPTED:
        raise BadBundle(f"{label} is encrypted ({name!r}); encrypted ZIP files are not supported")
    if entry.compress_type not in _METHODS:
        raise BadBundle(
            f"in {label}, {name!r} uses compression method {entry.compress_type};"
            " only 'stored' and 'deflate' are supported"
        )
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        what = "a symbolic link" if kind == stat.S_IFLNK else "a special file"
        raise BadBundle(f"in {label}, {name!r} is {what}; only files and folders are allowed")


def _unpack_all(
    opened: zipfile.ZipFile, entries: Entries, root: Path, label: str, allowance: Allowance
) -> Iterator[tuple[str, Stamp]]:
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
            for piece in _inflate(opened, entry, f"in {label}, {name!r}"):
                allowance.count_bytes(label, len(piece))
                file.write(piece)
        status = target.stat()
        yield str(target), (status.st_mtime_ns, status.st_size)


def _inflate(opened: zipfile.ZipFile, entry: zipfile.ZipInfo, label: str) -> Iterator[bytes]:
    """Unpack one file in pieces.  Counts what comes out: the sizes in the headers are only claims."""
    size = 0
    with opened.open(entry) as packed:
        while piece := packed.read(_CHUNK_BYTES):
            size += len(piece)
            if size > RATIO_FREE_BYTES and size > MAX_RATIO * max(entry.compress_size, 1):
                raise BadBundle(f"{label} is packed more than {MAX_RATIO} times smaller than its contents")
            yield piece


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0] or type(error).__name__
