"""Unpacked images: a directory for each, named for its digest; a name is a link to one of them.

    DIRECTORY/sha256-0123.../rootfs/        the file system, shared by all containers, read-only in each
    DIRECTORY/sha256-0123.../image.json     what is known of it
    DIRECTORY/names/airlock-sandbox%3Alatest -> ../sha256-0123...
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import quote, unquote

from controller.engines.walls import HOSTNAME
from controller.errors import EngineError, ImageMissing

_OWN_FILES = {
    "etc/hosts": "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n",
    "etc/hostname": f"{HOSTNAME}\n",
    "etc/resolv.conf": "nameserver 127.0.0.1\n",
}
"""Docker mounts files of its own at these places; here they are part of the image."""
_MOUNT_POINTS = ("proc", "dev", "sys", "in", "out", "work")


@dataclass(frozen=True)
class Unpacked:
    """One image. `created` is in ISO 8601; `inputs` is empty where nobody knows what it was made from."""

    digest: str
    created: str
    inputs: str
    size_bytes: int


class Images:
    """The images of one directory. Thread-safe; several processes may share it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._names = directory / "names"

    def digest(self, image: str) -> str:
        """Of an image, by its name or its digest. ImageMissing."""
        place = self._place(image)
        try:
            target = place.name if image.startswith("sha256:") else os.readlink(place)
        except OSError:
            target = ""
        digest = os.path.basename(target).replace("-", ":", 1)
        if not target or not os.path.isdir(self.rootfs(digest)):
            raise ImageMissing(f"the image {image} is not unpacked on this host: run `airlock image build`")
        return digest

    def rootfs(self, digest: str) -> Path:
        return self.directory / digest.replace(":", "-", 1) / "rootfs"

    def describe(self, digest: str) -> Unpacked:
        """EngineError when its description is damaged."""
        try:
            text = (self.rootfs(digest).parent / "image.json").read_text()
            return Unpacked(**json.loads(text))
        except (OSError, ValueError, TypeError) as e:
            raise EngineError(f"the unpacked image {digest} has no readable image.json: {e}") from e

    def all(self) -> Iterator[tuple[Unpacked, tuple[str, ...]]]:
        """Every image, with its names."""
        names: dict[str, list[str]] = {}
        for link in sorted(self._names.glob("*")):
            names.setdefault(Path(os.readlink(link)).name, []).append(unquote(link.name))
        for place in sorted(self.directory.glob("sha256-*")):
            yield self.describe(place.name.replace("-", ":", 1)), tuple(names.get(place.name, ()))

    def file(self, image: str, path: str, limit_bytes: int) -> bytes:
        """A plain file of an image. EngineError when it is not there, is no plain file, or is larger. ImageMissing."""
        root = self.rootfs(self.digest(image)).resolve()
        place = root / path.lstrip("/")
        if place.parent.resolve() != place.parent:
            raise EngineError(f"{image}: {path} lies behind a link")
        try:
            with open(os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
                status = os.fstat(file.fileno())
                if not stat.S_ISREG(status.st_mode):
                    raise EngineError(f"{image}: {path} is no plain file")
                if status.st_size > limit_bytes:
                    raise EngineError(f"{image}: {path} has {status.st_size} bytes, the limit is {limit_bytes}")
                return file.read(limit_bytes)
        except OSError as e:
            if e.errno in (errno.ELOOP, errno.EISDIR):
                raise EngineError(f"{image}: {path} is no plain file") from e
            raise EngineError(f"the image {image} has no {path}: rebuild it") from e

    def add(self, image: str, digest: str, created: str, inputs: str, fill: Callable[[Path], None]) -> None:
        """Have `fill` write the file system, unless it is there; then let the name mean it. EngineError, OSError.

        What a cut off attempt left is removed by the next one.
        """
        if not self.rootfs(digest).is_dir():
            self._unpack(digest, created, inputs, fill)
        self._names.mkdir(exist_ok=True)
        link = self._names / f".{secrets.token_hex(6)}"
        link.symlink_to(Path("..") / self.rootfs(digest).parent.name)
        link.rename(self._place(image))

    def _unpack(self, digest: str, created: str, inputs: str, fill: Callable[[Path], None]) -> None:
        self.directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        for left in self.directory.glob("unfinished-*"):
            shutil.rmtree(left)
        work = self.directory / f"unfinished-{secrets.token_hex(6)}"
        try:
            rootfs = work / "rootfs"
            rootfs.mkdir(mode=0o755, parents=True)
            fill(rootfs)
            _make_fit(rootfs)
            size = sum(path.lstat().st_blocks * 512 for path in rootfs.rglob("*"))
            (work / "image.json").write_text(json.dumps(asdict(Unpacked(digest, created, inputs, size))))
            work.rename(self.rootfs(digest).parent)
        except BaseException:
            shutil.rmtree(work, ignore_errors=True)
            raise

    def _place(self, image: str) -> Path:
        if image.startswith("sha256:"):
            return self.directory / image.replace(":", "-", 1)
        return self._names / quote(image, safe="")


def _make_fit(rootfs: Path) -> None:
    """What Docker adds to an image when it makes a container of it."""
    for name, text in _OWN_FILES.items():
        place = rootfs / name
        place.parent.mkdir(exist_ok=True)
        with suppress(FileNotFoundError):
            place.unlink()  # it may be a link, to anywhere
        place.write_text(text)
        place.chmod(0o644)
    for name in _MOUNT_POINTS:
        (rootfs / name).mkdir(mode=0o755, exist_ok=True)
