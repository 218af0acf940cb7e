"""The device port's images: every PNG and SVG that the script saved, and the figures that it left open."""

import os
import stat
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from runner.bundle import Bundle
from runner.figures import Figures
from runner.job import Image, Limits, Paths, Warn
from runner.names import unique

PNG = "image/png"
SVG = "image/svg+xml"
_KEPT = {".png": PNG, ".svg": SVG}
_NOT_KEPT = (".jpg", ".jpeg", ".gif", ".pdf", ".svgz", ".bmp", ".tif", ".tiff", ".webp", ".eps")
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_SVG_HEAD = 4096  # characters: room for an XML declaration, a DOCTYPE and a comment
_CHUNK_FRAME = 12  # a chunk's length, type and check sum


class BadImage(ValueError):
    """A file that ends in .png or .svg is no such image."""


@dataclass(frozen=True)
class _Found:
    """An image file under the working directory; `kind` is its media type, None for one that is not kept."""

    modified_ns: int
    name: str
    path: str
    size: int
    kind: str | None


class ImageFile:
    """The file of images: one after the other, within the limits of the job."""

    def __init__(self, path: Path, limits: Limits, warn: Warn) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC)
        self._limits = limits
        self._warn = warn
        self._offset = 0
        self._left_out = 0
        self.images: list[Image] = []

    def has_room(self, size: int) -> bool:
        """Tell whether one more image of this size is allowed; count it as left out when it is not."""
        fits = len(self.images) < self._limits.images and self._offset + size <= self._limits.images_bytes
        self._left_out += not fits
        return fits

    def add(self, name: str, data: bytes, kind: str) -> None:
        """Append one image that there is room for."""
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        except OSError:  # the size limit of a file, or a full disk
            os.ftruncate(self._descriptor, self._offset)
            os.lseek(self._descriptor, self._offset, os.SEEK_SET)
            self._left_out += 1
            return
        self.images.append(Image(name, self._offset, len(data), kind))
        self._offset += len(data)

    def close(self) -> None:
        """Finish, and warn of what was left out."""
        os.close(self._descriptor)
        if self._left_out:
            self._warn(
                "images_cut",
                f"{self._left_out} images were left out: a run keeps at most {self._limits.images} images"
                f" and {self._limits.images_bytes} bytes of them",
            )


def collect_images(paths: Paths, bundle: Bundle, figures: Figures | None, limits: Limits, warn: Warn) -> list[Image]:
    """Gather the images of a job into one file; gives where each of them lies.

    They come in the order in which they were written, by name where that is the same; then the open figures,
    unless `figures` is None.  What is not shown, is cut or is left out is said in warnings.
    """
    images = ImageFile(paths.images, limits, warn)
    found = sorted(_find(paths, bundle), key=lambda image: (image.modified_ns, image.name))
    for image in found:
        if image.kind is None or not images.has_room(image.size):
            continue
        try:
            data = _read(image.path, limits.images_bytes)
            images.add(image.name, sound_png(data) if image.kind == PNG else sound_svg(data), image.kind)
        except (BadImage, OSError) as error:
            warn("image_unreadable", f"{image.name!r} is not shown: {error}")
    _warn_of_kinds([image.name for image in found if image.kind is None], warn)
    if figures is not None:
        _add_open_figures(images, figures, warn)
    images.close()
    return images.images


def _warn_of_kinds(names: list[str], warn: Warn) -> None:
    if names:
        others = f" and {len(names) - 1} more are" if len(names) > 1 else " is"
        warn("image_kind", f"{names[0]!r}{others} not kept: the images of a run are PNG and SVG files")


def sound_png(data: bytes) -> bytes:
    """Give a PNG up to its end mark.  Raises `BadImage` when it is cut, corrupt or no PNG at all."""
    if not data.startswith(_SIGNATURE):
        raise BadImage("it has no PNG signature")
    position, first = len(_SIGNATURE), True
    while position + _CHUNK_FRAME <= len(data):
        (length,) = struct.unpack_from(">I", data, position)
        end = position + _CHUNK_FRAME + length
        name = data[position + 4 : position + 8]
        if end > len(data):
            break
        if zlib.crc32(data[position + 4 : end - 4]) != struct.unpack_from(">I", data, end - 4)[0]:
            raise BadImage(f"its {name!r} chunk is corrupt")
        if first:
            _check_header(name, data[position + 8 : end - 4])
        if name == b"IEND":
            return data[:end]
        position, first = end, False
    raise BadImage("it is cut: the end mark is missing")


def sound_svg(data: bytes) -> bytes:
    """Give an SVG as it is.  Raises `BadImage` when it is not UTF-8 text from its first to its last tag."""
    try:
        text = data.decode("utf-8-sig").strip()
    except UnicodeDecodeError as error:
        raise BadImage("it is not UTF-8 text") from error
    if not text.startswith("<") or "<svg" not in text[:_SVG_HEAD]:
        raise BadImage("it does not begin as an SVG")
    if not text.endswith(("</svg>", "/>", "-->")):
        raise BadImage("it is cut: the end of the SVG is missing")
    return data


def _check_header(name: bytes, header: bytes) -> None:
    if name != b"IHDR" or len(header) != 13:
        raise BadImage("it does not begin with a header")
    width, height = struct.unpack_from(">II", header)
    if not (width and height):
        raise BadImage(f"it claims a size of {width} x {height}")


def _find(paths: Paths, bundle: Bundle) -> Iterator[_Found]:
    """Walk the working directory; links are never followed, and what is no regular file is not looked at."""
    waiting = [str(paths.work)]
    passed_over = (str(paths.scratch), str(paths.own))
    while waiting:
        folder = waiting.pop()
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        if entry.path not in passed_over:
                            waiting.append(entry.path)
                    elif _is_image(entry.name) and entry.is_file(follow_symlinks=False):
                        status = entry.stat(follow_symlinks=False)
                        if not bundle.untouched(entry.path, status):
                            name = _printable(os.path.relpath(entry.path, paths.work))
                            kind = _KEPT.get(_suffix(entry.name))
                            yield _Found(status.st_mtime_ns, name, entry.path, status.st_size, kind)
        except OSError:  # gone meanwhile, not readable, or its path is too long to be opened
            continue


def _suffix(name: str) -> str:
    return os.path.splitext("a" + name)[1].lower()  # a file called ".png" has a suffix, too


def _is_image(name: str) -> bool:
    return _suffix(name) in _KEPT or _suffix(name) in _NOT_KEPT


def _read(path: str, limit: int) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise BadImage("it is not a regular file")
        data = file.read(limit + 1)
    if len(data) > limit:
        raise BadImage(f"it has more than {limit} bytes")
    return data


def _add_open_figures(images: ImageFile, figures: Figures, warn: Warn) -> None:
    try:
        for name, data in figures.unsaved():
            if images.has_room(len(data)):
                stems = [image.name.removesuffix(".png") for image in images.images]
                name = unique([*stems, name.removesuffix(".png")])[-1] + ".png"
                images.add(name, data, PNG)
                warn(
                    "figure_captured",
                    f"an open figure that was never saved is shown as {name!r}; save it with savefig to name"
                    " it yourself",
                )
    except BaseException as error:  # drawing runs the script's own objects
        warn("figure_not_drawn", f"an open figure could not be drawn: {type(error).__name__}")


def _printable(name: str) -> str:
    text = os.fsencode(name).decode("utf-8", "replace")
    return "".join(character if character.isprintable() else "?" for character in text)
