"""Unpacking script bundles: rules 5.1 to 5.9 of the module contract."""

import io
import stat
import struct
import zipfile
from pathlib import Path

import pytest
from runner import bundle
from runner.bundle import unpack
from runner.failure import BadBundle
from runner_jobs import zip_bytes


def _archive(tmp_path: Path, data: bytes) -> Path:
    path = tmp_path / "bundle.zip"
    path.write_bytes(data)
    return path


def _entry(name: str, data: bytes = b"x", mode: int = 0, method: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        entry = zipfile.ZipInfo("placeholder")
        entry.filename = name
        entry.external_attr = mode << 16
        entry.compress_type = method
        archive.writestr(entry, data)
    return file.getvalue()


def _flagged(data: bytes, flag: int) -> bytes:
    """Set a flag bit in the local and in the central header of a zip of one entry."""
    changed = bytearray(data)
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        place = data.index(signature) + offset
        (flags,) = struct.unpack_from("<H", data, place)
        struct.pack_into("<H", changed, place, flags | flag)
    return bytes(changed)


def test_5_3_files_and_folders_are_kept(tmp_path: Path) -> None:
    """5.1, 5.3, 5.6: any file, the folders as they are, nested zips as files; ./src is the same folder."""
    files = {"Hello.py": "x = 1", "pkg/__init__.py": "", "pkg/sub/m.py": "", "data.bin": b"\x00", "inner.zip": b"PK"}

    unpacked = unpack(_archive(tmp_path, zip_bytes(files)), tmp_path / "Script Bundle")

    found = {str(path.relative_to(unpacked.root)) for path in unpacked.root.rglob("*") if path.is_file()}
    assert found == set(files)
    assert (tmp_path / "src" / "Hello.py").read_text() == "x = 1"
    assert unpacked.modules() == ["Hello", "pkg"]
    assert unpacked.only_folder is None


def test_b10_no_bundle(tmp_path: Path) -> None:
    """B10: without a bundle the folder is there, and empty."""
    unpacked = unpack(None, tmp_path / "Script Bundle")

    assert list(unpacked.root.iterdir()) == []
    assert unpacked.only_folder is None


@pytest.mark.parametrize("extra", [{}, {"__MACOSX/Hello/x": b"", ".DS_Store": b""}])
def test_b04_the_only_folder(extra: dict[str, bytes], tmp_path: Path) -> None:
    """B04: a zip of a folder is told from a zip of its files, whatever a Mac adds."""
    data = zip_bytes({"Hello/Hello.py": "", "Hello/other.txt": "", **extra})

    unpacked = unpack(_archive(tmp_path, data), tmp_path / "Script Bundle")

    assert unpacked.only_folder == tmp_path / "Script Bundle" / "Hello"


def test_5_9_backslashes_separate_folders(tmp_path: Path) -> None:
    """5.9: names written by Windows programs become folders, empty ones too."""
    data = zip_bytes({"pkg\\": b"", "pkg\\sub\\m.py": "x = 1"})

    unpacked = unpack(_archive(tmp_path, data), tmp_path / "Script Bundle")

    assert (unpacked.root / "pkg" / "sub" / "m.py").read_text() == "x = 1"


def test_untouched_files_are_known(tmp_path: Path) -> None:
    """6.6: a file is untouched until it is written to."""
    unpacked = unpack(_archive(tmp_path, zip_bytes({"a.png": b"x"})), tmp_path / "Script Bundle")
    path = unpacked.root / "a.png"

    before = unpacked.untouched(str(path), path.stat())
    path.write_bytes(b"longer")

    assert before
    assert not unpacked.untouched(str(path), path.stat())


@pytest.mark.parametrize(
    ("data", "words"),
    [
        pytest.param(_entry("../x"), "points outside", id="5.9-parent"),
        pytest.param(_entry("a\\..\\..\\x"), "points outside", id="5.9-parent-backslash"),
        pytest.param(_entry("/etc/x"), "absolute", id="5.9-absolute"),
        pytest.param(_entry("\\x"), "absolute", id="5.9-absolute-backslash"),
        pytest.param(_entry("C:/x"), "absolute", id="5.9-drive"),
        pytest.param(_entry("./"), "is empty", id="5.9-no-name"),
        pytest.param(_entry("a\0b.py").replace(b"placeholder", b"a\0b.py"), "NUL", id="5.9-nul"),
        pytest.param(_entry("n" * 256), "more than 255 bytes", id="5.9-long"),
        pytest.param(_entry("x", b"/etc/passwd", stat.S_IFLNK | 0o777), "symbolic link", id="5.9-link"),
        pytest.param(_entry("x", b"", stat.S_IFIFO | 0o666), "special file", id="5.9-pipe"),
        pytest.param(zip_bytes({"a": b"", "a/b": b""}), "a file and a folder", id="5.9-file-and-folder"),
        pytest.param(_flagged(_entry("x"), 1), "encrypted", id="B06-encrypted"),
        pytest.param(_entry("x", method=zipfile.ZIP_BZIP2), "compression method 12", id="5.9-method"),
        pytest.param(b"not a zip", "not a ZIP file in the correct format", id="B06-no-zip"),
        pytest.param(b"", "not a ZIP file in the correct format", id="B06-empty"),
        pytest.param(zip_bytes({"a": b"x" * 1000})[:-40], "correct format", id="B06-cut"),
        pytest.param(zip_bytes({"a": b"abc"}).replace(b"K\x4cJ", b"K\x4cK", 1), "correct format", id="B06-corrupt"),
    ],
)
def test_bad_bundles_are_refused(data: bytes, words: str, tmp_path: Path) -> None:
    """B06, 5.9: error 0102 that names the entry and what is wrong with it; nothing lands outside."""
    (tmp_path / "work").mkdir()

    with pytest.raises(BadBundle, match=words) as refused:
        unpack(_archive(tmp_path, data), tmp_path / "work" / "Script Bundle")

    assert (refused.value.code, refused.value.reason) == ("0102", "bad_input")
    assert {path.name for path in tmp_path.iterdir()} == {"bundle.zip", "work"}


def test_repeated_names_are_refused(tmp_path: Path) -> None:
    """5.9: the second file of a name, however it is spelt, would replace the first in silence."""
    data = zip_bytes({"a/b.py": "1", "a\\.//b.py": "2"})

    with pytest.raises(BadBundle, match="'a/b.py' twice"):
        unpack(_archive(tmp_path, data), tmp_path / "Script Bundle")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        pytest.param(zip_bytes({f"f{n}": b"" for n in range(1001)}), "1001 entries; at most 1000", id="entries"),
        pytest.param(_entry("big", bytes(16 * 1024 * 1024 + 1)), "'big' has more than 16777216 bytes", id="one-file"),
        pytest.param(zip_bytes({"zeros": bytes(2 * 1024 * 1024)}), "'zeros' is packed more than 100", id="ratio"),
    ],
)
def test_5_9_limits(data: bytes, words: str, tmp_path: Path) -> None:
    """5.9: the number of entries, the size of a file and the ratio are limited."""
    with pytest.raises(BadBundle, match=words):
        unpack(_archive(tmp_path, data), tmp_path / "Script Bundle")


def test_5_9_total(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """5.9: all files together are limited; what was counted is what came out."""
    monkeypatch.setattr(bundle, "MAX_TOTAL_BYTES", 2500)

    with pytest.raises(BadBundle, match="more than 2500 bytes, unpacked"):
        unpack(_archive(tmp_path, zip_bytes({f"f{n}": bytes(1000) for n in range(3)})), tmp_path / "Script Bundle")


def test_5_9_claimed_sizes_are_not_believed(tmp_path: Path) -> None:
    """5.9: a header that claims a small size does not let a large file through."""
    data = bytearray(zip_bytes({"big": bytes(range(256)) * 65537}))
    central = data.index(b"PK\x01\x02")
    struct.pack_into("<I", data, central + 24, 10)

    with pytest.raises(BadBundle, match="more than 16777216 bytes|correct format"):
        unpack(_archive(tmp_path, bytes(data)), tmp_path / "Script Bundle")
