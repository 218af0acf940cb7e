"""Unpacked images: what a name means, what a cut off attempt leaves, which files can be read."""

from __future__ import annotations

from pathlib import Path

import pytest

from controller.engines.oci_images import Images
from controller.errors import EngineError, ImageMissing

OLD, NEW = ("sha256:" + digit * 64 for digit in "12")
MADE = "2026-01-01T00:00:00+00:00"


def fill(rootfs: Path) -> None:
    (rootfs / "etc").mkdir()
    (rootfs / "etc/resolv.conf").symlink_to("/run/resolv.conf")
    (rootfs / "opt").mkdir()
    (rootfs / "opt/words").write_text("seven words")
    (rootfs / "opt/out").symlink_to("/etc")


@pytest.fixture
def images(tmp_path: Path) -> Images:
    made = Images(tmp_path / "images")
    made.add("sandbox:latest", OLD, MADE, "inputs", fill)
    return made


def test_a_name_means_the_newest(images: Images) -> None:
    """Built anew, the name means the new one at once; the old one stays for who still runs it."""
    images.add("sandbox:latest", NEW, MADE, "", fill)

    assert images.digest("sandbox:latest") == NEW
    assert [images.digest(digest) for digest in (OLD, NEW)] == [OLD, NEW]
    assert [(one.digest, names) for one, names in images.all()] == [(OLD, ()), (NEW, ("sandbox:latest",))]


def test_the_same_image_is_not_unpacked_twice(images: Images) -> None:
    """Another name for it costs nothing."""
    images.add("registry:5000/a/b:c", OLD, MADE, "", lambda rootfs: pytest.fail("it was unpacked again"))

    assert images.digest("registry:5000/a/b:c") == OLD


@pytest.mark.parametrize("name", ["other:latest", "../names", "", NEW, "sha256:../../etc"])
def test_an_image_that_is_not_there_has_a_name(images: Images, name: str) -> None:
    """And the message says how to get it."""
    with pytest.raises(ImageMissing, match="airlock image build"):
        images.digest(name)


def test_an_attempt_that_was_cut_off_is_no_image(images: Images, tmp_path: Path) -> None:
    """Nothing of it is seen, and the next attempt removes it."""

    def fail(rootfs: Path) -> None:
        fill(rootfs)
        raise EngineError("no space")

    with pytest.raises(EngineError, match="no space"):
        images.add("sandbox:latest", NEW, MADE, "", fail)
    (images.directory / "unfinished-1").mkdir()

    assert images.digest("sandbox:latest") == OLD
    images.add("sandbox:latest", NEW, MADE, "", fill)
    assert not list(images.directory.glob("unfinished-*"))


def test_the_image_is_made_fit_for_containers(images: Images) -> None:
    """Mount points, and the three files that Docker would mount; a link in their place leads nowhere."""
    rootfs = images.rootfs(OLD)

    assert all((rootfs / name).is_dir() for name in ("proc", "dev", "sys", "in", "out", "work"))
    assert (rootfs / "etc/hostname").read_text() == "sandbox\n"
    assert not (rootfs / "etc/resolv.conf").is_symlink()


@pytest.mark.parametrize("path", ["/opt/out/hosts", "/opt/out/../words", "/../../etc/passwd"])
def test_nothing_outside_of_an_image_is_read(images: Images, path: str) -> None:
    """Neither by way of a link in it, nor up and out."""
    with pytest.raises(EngineError):
        images.file(OLD, path, 1 << 20)


def test_a_damaged_description_has_a_name(images: Images) -> None:
    """As after a disk that was full."""
    (images.rootfs(OLD).parent / "image.json").write_text("{")

    with pytest.raises(EngineError, match=r"image\.json"):
        images.describe(OLD)
