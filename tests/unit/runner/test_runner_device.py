"""Images: which PNGs are sound, which are picked up, in which order, and within which limits."""

import os
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest
from runner.bundle import Bundle
from runner.device import BadImage, collect_images, sound_png
from runner.figures import Figures
from runner.job import Image, Limits, Paths
from runner_jobs import Noted


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(width: int = 1, height: int = 1, text: bytes = b"") -> bytes:
    """A PNG of one colour, with a text that tells it from others."""
    rows = zlib.compress((b"\0" + b"\0" * width) * height)
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"tEXt", b"k\0" + text), (b"IDAT", rows), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name, data) for name, data in chunks)


class Desk:
    """A working directory and the file that its images go to."""

    def __init__(self, base: Path) -> None:
        self.paths = Paths(base / "in", base / "out", base / "work", base / "fonts")
        for path in (self.paths.work, self.paths.outputs, self.paths.scratch):
            path.mkdir()
        self.paths.images.touch()
        self._clock = 1_000

    def put(self, name: str, data: bytes) -> Path:
        """Write a file, a second after the last one."""
        path = self.paths.work / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        self._clock += 1
        os.utime(path, (self._clock, self._clock))
        return path

    def collect(
        self, warn: Any, images: int = 10, images_bytes: int = 10_000, bundle: Bundle | None = None
    ) -> list[Image]:
        """Collect the images."""
        limits = Limits(10**6, images, images_bytes, 10**6)
        return collect_images(self.paths, bundle or Bundle(self.paths.bundle), Figures(), limits, warn)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """An empty working directory."""
    return Desk(tmp_path)


def test_6_6_images_in_the_order_of_their_writing(desk: Desk, noted: Noted) -> None:
    """6.6, V05: by time, then by name; in any folder but tmp; in any case; one after the other in one file."""
    for name in ("z.png", "sub/a.PNG", "b.png"):
        desk.put(name, png(text=name.encode()))
    desk.put("tmp/not-this.png", png())
    desk.put("note.txt", b"x")

    images = desk.collect(noted)

    data = desk.paths.images.read_bytes()
    assert [image.name for image in images] == ["z.png", "sub/a.PNG", "b.png"]
    assert [data[i.offset : i.offset + i.size] for i in images] == [png(text=i.name.encode()) for i in images]
    assert noted.codes == []


def test_6_6_equal_times_go_by_name(desk: Desk, noted: Noted) -> None:
    """6.6: images written at the same moment are sorted by their path."""
    for name in ("b.png", "a.png"):
        os.utime(desk.put(name, png()), (5, 5))

    assert [image.name for image in desk.collect(noted)] == ["a.png", "b.png"]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"GIF89a", "no PNG signature"),
        (png()[:-4], "end mark is missing"),
        (png()[:40], "end mark is missing"),
        (png()[:60] + b"\xff" + png()[61:], "corrupt"),
        (png(0, 1), "size of 0 x 1"),
        (b"\x89PNG\r\n\x1a\n" + _chunk(b"IEND", b""), "does not begin with a header"),
        (b"\x89PNG\r\n\x1a\n" + b"\xff" * 100, "end mark is missing"),
    ],
)
def test_v05_unsound_images_are_reported(data: bytes, words: str, desk: Desk, noted: Noted) -> None:
    """V05: a PNG that is cut, corrupt or none at all is left out, with its name in a warning."""
    desk.put("good.png", png())
    desk.put("corrupt.png", data)

    images = desk.collect(noted)

    assert [image.name for image in images] == ["good.png"]
    assert noted.codes == ["image_unreadable"]
    assert "'corrupt.png'" in noted.messages[0][1]
    assert words in noted.messages[0][1]


SVG = b'\xef\xbb\xbf<?xml version="1.0"?>\n<!DOCTYPE svg>\n<svg xmlns="http://www.w3.org/2000/svg"><g/></svg>\n'


def test_svg_files_are_kept_beside_the_pngs(desk: Desk, noted: Noted) -> None:
    """SVG files stand among the PNGs, in the same order and the same file, with a type of their own."""
    desk.put("b.png", png())
    desk.put("a.SVG", SVG)
    desk.put("c.svg", b"<svg/>")

    images = desk.collect(noted)

    assert [(image.name, image.type) for image in images] == [
        ("b.png", "image/png"),
        ("a.SVG", "image/svg+xml"),
        ("c.svg", "image/svg+xml"),
    ]
    assert desk.paths.images.read_bytes() == png() + SVG + b"<svg/>"
    assert noted.codes == []


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"plain text", "does not begin as an SVG"),
        (b"<html><body/></html>", "does not begin as an SVG"),
        (SVG[:-20], "it is cut"),
        (b"", "does not begin as an SVG"),
        (b"<svg>\xff</svg>", "not UTF-8"),
    ],
)
def test_unsound_svg_files_are_reported(data: bytes, words: str, desk: Desk, noted: Noted) -> None:
    """A file called .svg that is none is left out, with its name in a warning."""
    desk.put("drawn.svg", data)

    images = desk.collect(noted)

    assert images == []
    assert noted.codes == ["image_unreadable"]
    assert "'drawn.svg'" in noted.messages[0][1]
    assert words in noted.messages[0][1]


def test_svg_files_count_against_the_same_limits(desk: Desk, noted: Noted) -> None:
    """PNG and SVG share the number and the bytes that a run may keep."""
    desk.put("a.svg", SVG)
    desk.put("b.png", png())

    images = desk.collect(noted, images_bytes=len(SVG))

    assert [image.name for image in images] == ["a.svg"]
    assert noted.codes == ["images_cut"]


def test_images_of_other_kinds_are_named(desk: Desk, noted: Noted) -> None:
    """A JPEG or a PDF is not kept; one warning says so, and what is kept."""
    desk.put("a.png", png())
    for name in ("photo.jpg", "paper.PDF", "moving.gif"):
        desk.put(name, b"x")

    images = desk.collect(noted)

    assert [image.name for image in images] == ["a.png"]
    assert noted.messages == [
        ("image_kind", "'photo.jpg' and 2 more are not kept: the images of a run are PNG and SVG files")
    ]


def test_bytes_behind_the_end_of_an_image_are_cut() -> None:
    """What follows the end mark is no part of the image."""
    assert sound_png(png() + b"<script>") == png()


def test_no_cut_of_an_image_is_sound() -> None:
    """An image that ends anywhere before its end is refused."""
    whole = png(3, 3, b"text")

    for length in range(len(whole)):
        with pytest.raises(BadImage):
            sound_png(whole[:length])


def test_links_and_special_files_are_not_followed(desk: Desk, noted: Noted, tmp_path: Path) -> None:
    """6.6: links to images, folders or devices, and pipes, are no images; nothing waits for them."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.png").write_bytes(png())
    (desk.paths.work / "file.png").symlink_to(outside / "secret.png")
    (desk.paths.work / "folder").symlink_to(outside)
    (desk.paths.work / "zero.png").symlink_to("/dev/zero")
    os.mkfifo(desk.paths.work / "pipe.png")
    (desk.paths.work / "folder.png").mkdir()

    assert desk.collect(noted) == []


def test_untouched_bundle_images_are_not_shown(desk: Desk, noted: Noted) -> None:
    """6.6: an image out of the bundle is shown only when the script has written to it."""
    files = {}
    for name in ("kept.png", "changed.png"):
        path = desk.put(f"Script Bundle/{name}", png())
        files[str(path)] = (path.stat().st_mtime_ns, path.stat().st_size)
    desk.put("Script Bundle/changed.png", png(2, 2))

    images = desk.collect(noted, bundle=Bundle(desk.paths.bundle, files))

    assert [image.name for image in images] == ["Script Bundle/changed.png"]


@pytest.mark.parametrize(("images", "images_bytes"), [(2, 10_000), (10, 2 * len(png()) + 5)])
def test_images_beyond_the_limits_are_left_out(images: int, images_bytes: int, desk: Desk, noted: Noted) -> None:
    """Images beyond the number or the bytes allowed are left out, and one warning says how many."""
    for name in ("a", "b", "c", "d"):
        desk.put(f"{name}.png", png())

    kept = desk.collect(noted, images, images_bytes)

    assert [image.name for image in kept] == ["a.png", "b.png"]
    assert desk.paths.images.stat().st_size == 2 * len(png())
    assert noted.codes == ["images_cut"]
    assert "2 images were left out" in noted.messages[0][1]


def test_a_huge_image_is_not_read(desk: Desk, noted: Noted) -> None:
    """A sparse file of a terabyte called .png costs nothing."""
    path = desk.put("huge.png", b"")
    os.truncate(path, 2**40)

    assert desk.collect(noted) == []
    assert noted.codes == ["images_cut"]


def test_names_that_are_no_text_are_made_printable(desk: Desk, noted: Noted) -> None:
    """A file name of arbitrary bytes becomes a name that can be shown."""
    (desk.paths.work / os.fsdecode(b"a\xff\n\x1b.png")).write_bytes(png())

    assert desk.collect(noted)[0].name == "a\ufffd??.png"


def test_deep_folders_do_not_stop_the_search(desk: Desk, noted: Noted) -> None:
    """Folders too deep for a path are passed over; the images elsewhere are found."""
    desk.put("a.png", png())
    here = os.getcwd()
    os.chdir(desk.paths.work)
    for _ in range(60):
        os.mkdir("d" * 200)
        os.chdir("d" * 200)
    os.chdir(here)

    assert [image.name for image in desk.collect(noted)] == ["a.png"]
