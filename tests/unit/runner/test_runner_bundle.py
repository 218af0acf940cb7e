"""Unpacking script bundles: rules 5.1 to 5.10 of the module contract."""

import importlib.util
import io
import re
import stat
import struct
import zipfile
from pathlib import Path

import pytest
from runner import archive
from runner.bundle import Bundle, unpack
from runner.failure import BadBundle
from runner.job import Paths
from runner_jobs import Noted, zip_bytes


def _unpacked(tmp_path: Path, data: bytes | None, noted: Noted) -> Bundle:
    """Unpack a bundle into the folder ``work``, which is made."""
    (tmp_path / "work").mkdir()
    archive_file = None if data is None else _archive(tmp_path, data)
    return unpack(archive_file, Paths(work=tmp_path / "work"), noted)


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


def test_5_3_files_and_folders_are_kept(tmp_path: Path, noted: Noted) -> None:
    """5.1, 5.3, 5.6: any file, the folders as they are, nested zips as files; ./src is the same folder."""
    files = {"Hello.py": "x = 1", "pkg/__init__.py": "", "pkg/sub/m.py": "", "data.bin": b"\x00", "inner.zip": b"PK"}

    unpacked = _unpacked(tmp_path, zip_bytes(files), noted)

    found = {str(path.relative_to(unpacked.root)) for path in unpacked.root.rglob("*") if path.is_file()}
    assert found == set(files)
    assert (tmp_path / "work" / "src" / "Hello.py").read_text() == "x = 1"
    assert unpacked.modules() == ["Hello", "pkg"]
    assert unpacked.only_folder is None


def test_b10_no_bundle(tmp_path: Path, noted: Noted) -> None:
    """B10: without a bundle the folder is there, and empty."""
    unpacked = _unpacked(tmp_path, None, noted)

    assert list(unpacked.root.iterdir()) == []
    assert unpacked.only_folder is None


@pytest.mark.parametrize("extra", [{}, {"__MACOSX/Hello/x": b"", ".DS_Store": b""}])
def test_b04_the_only_folder(extra: dict[str, bytes], tmp_path: Path, noted: Noted) -> None:
    """B04: a zip of a folder is told from a zip of its files, whatever a Mac adds."""
    data = zip_bytes({"Hello/Hello.py": "", "Hello/other.txt": "", **extra})

    unpacked = _unpacked(tmp_path, data, noted)

    assert unpacked.only_folder == unpacked.root / "Hello"


def test_5_9_backslashes_separate_folders(tmp_path: Path, noted: Noted) -> None:
    """5.9: names written by Windows programs become folders, empty ones too."""
    data = zip_bytes({"pkg\\": b"", "pkg\\sub\\m.py": "x = 1"})

    unpacked = _unpacked(tmp_path, data, noted)

    assert (unpacked.root / "pkg" / "sub" / "m.py").read_text() == "x = 1"


def test_untouched_files_are_known(tmp_path: Path, noted: Noted) -> None:
    """6.6: a file is untouched until it is written to."""
    unpacked = _unpacked(tmp_path, zip_bytes({"a.png": b"x"}), noted)
    path = unpacked.root / "a.png"

    before = unpacked.untouched(str(path), path.stat())
    path.write_bytes(b"longer")

    assert before
    assert not unpacked.untouched(str(path), path.stat())


@pytest.mark.parametrize(
    ("data", "words"),
    [
        pytest.param(_entry("../x"), "points outside of it", id="5.9-parent"),
        pytest.param(_entry("a\\..\\..\\x"), "points outside of it", id="5.9-parent-backslash"),
        pytest.param(_entry("/etc/x"), "absolute", id="5.9-absolute"),
        pytest.param(_entry("\\x"), "absolute", id="5.9-absolute-backslash"),
        pytest.param(_entry("C:/x"), "absolute", id="5.9-drive"),
        pytest.param(_entry("./"), "is empty", id="5.9-no-name"),
        pytest.param(_entry("a\0b.py").replace(b"placeholder", b"a\0b.py"), "NUL", id="5.9-nul"),
        pytest.param(_entry("n" * 256), "more than 255 bytes", id="5.9-long"),
        pytest.param(_entry("/".join(["n"] * 1025)), "more than 2048 bytes", id="5.9-deep"),
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
def test_bad_bundles_are_refused(data: bytes, words: str, tmp_path: Path, noted: Noted) -> None:
    """B06, 5.9: error 0102 that names the entry and what is wrong with it; nothing lands outside."""
    with pytest.raises(BadBundle, match=words) as refused:
        _unpacked(tmp_path, data, noted)

    assert (refused.value.code, refused.value.reason) == ("0102", "bad_input")
    assert {path.name for path in tmp_path.iterdir()} == {"bundle.zip", "work"}


def test_repeated_names_are_refused(tmp_path: Path, noted: Noted) -> None:
    """5.9: the second file of a name, however it is spelt, would replace the first in silence."""
    data = zip_bytes({"a/b.py": "1", "a\\.//b.py": "2"})

    with pytest.raises(BadBundle, match="'a/b.py' twice"):
        _unpacked(tmp_path, data, noted)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        pytest.param(zip_bytes({f"f{n}": b"" for n in range(10_001)}), "10001 entries; at most 10000", id="entries"),
        pytest.param(zip_bytes({"zeros": bytes(2 * 1024 * 1024)}), "'zeros' is packed more than 100", id="ratio"),
    ],
)
def test_5_9_limits(data: bytes, words: str, tmp_path: Path, noted: Noted) -> None:
    """5.9: the number of entries and the ratio are limited."""
    with pytest.raises(BadBundle, match=words):
        _unpacked(tmp_path, data, noted)


def test_5_9_total(tmp_path: Path, noted: Noted, monkeypatch: pytest.MonkeyPatch) -> None:
    """5.9: all files together are limited; what was counted is what came out."""
    monkeypatch.setattr(archive, "MAX_BYTES", 2500)

    with pytest.raises(BadBundle, match="more than 2500 bytes, unpacked"):
        _unpacked(tmp_path, zip_bytes({f"f{n}": bytes(1000) for n in range(3)}), noted)


def test_5_9_claimed_sizes_are_not_believed(tmp_path: Path, noted: Noted, monkeypatch: pytest.MonkeyPatch) -> None:
    """5.9: a header that claims a small size does not let a large file through."""
    monkeypatch.setattr(archive, "MAX_BYTES", 1_000_000)
    data = bytearray(zip_bytes({"big": bytes(range(256)) * 65537}))
    central = data.index(b"PK\x01\x02")
    struct.pack_into("<I", data, central + 24, 10)

    with pytest.raises(BadBundle, match="more than 1000000 bytes|correct format"):
        _unpacked(tmp_path, bytes(data), noted)


def test_5_9_no_room(tmp_path: Path, noted: Noted, monkeypatch: pytest.MonkeyPatch) -> None:
    """5.9: a bundle that the working directory has no room for is refused, with both sizes, before it is written."""
    monkeypatch.setattr(archive, "_free_bytes", lambda folder: 4000)

    with pytest.raises(BadBundle, match="holds 5000 bytes, unpacked; the working directory has room for 4000"):
        _unpacked(tmp_path, zip_bytes({"a": bytes(2500), "b": bytes(2500)}), noted)

    assert list((tmp_path / "work" / "Script Bundle").iterdir()) == []


def _wheel(files: dict[str, bytes | str]) -> bytes:
    """A wheel of these files; what describes it is not looked at."""
    return zip_bytes({"m-1.0.dist-info/METADATA": "Name: m", **files})


def test_5_10_wheels_are_unpacked(tmp_path: Path, noted: Noted) -> None:
    """5.10: wheels in any folder are unpacked beside the bundle, modules only; the wheel stays a file."""
    files = {"m/__init__.py": "", "m-1.0.data/purelib/top.py": "", "m-1.0.data/scripts/run": "", "m-1.0.data/a": ""}
    data = zip_bytes({"sub/m-1.0-py3-none-any.whl": _wheel(files), "m-1.0-py3-none-any.whl": _wheel(files)})

    unpacked = _unpacked(tmp_path, data, noted)

    (folder,) = unpacked.wheels
    found = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert found == {"m/__init__.py", "top.py", "m-1.0.dist-info/METADATA"}
    assert (unpacked.root / "sub" / "m-1.0-py3-none-any.whl").is_file()
    assert noted.codes == []


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("m-1.0-cp27-cp27m-win_amd64.whl", "made for cp27-cp27m-win_amd64; this Python takes cp3"),
        ("m-1.0-py2-none-any.whl", "made for py2-none-any; .* and py3-none-any"),
        ("m.whl", "'m.whl' in the script bundle is not used: its name"),
    ],
)
def test_5_10_wheels_of_other_pythons_are_skipped(name: str, words: str, tmp_path: Path, noted: Noted) -> None:
    """5.10: a wheel that cannot work here is left alone; the warning names what it is for, and what this is."""
    unpacked = _unpacked(tmp_path, zip_bytes({name: _wheel({"m.py": ""})}), noted)

    assert unpacked.wheels == ()
    assert noted.codes == ["wheel_skipped"]
    assert re.search(words, noted.messages[0][1])


@pytest.mark.parametrize(
    ("wheel", "words"),
    [
        pytest.param(b"no zip", "the wheel 'm-1.0-py3-none-any.whl' in the script bundle is not a ZIP", id="no-zip"),
        pytest.param(_entry("../../x.py"), "in the wheel .* '../../x.py' points outside", id="outside"),
        pytest.param(_entry("m-1.0.data/purelib//../x.py"), "points outside", id="outside-of-data"),
        pytest.param(_entry("x", b"y", stat.S_IFLNK | 0o777), "symbolic link", id="link"),
        pytest.param(zip_bytes({"a.py": "1", "m-1.0.data/platlib/a.py": "2"}), "'a.py' twice", id="twice"),
        pytest.param(zip_bytes({f"f{n}": b"" for n in range(10_000)}), "10000 entries; at most 10000", id="entries"),
    ],
)
def test_5_10_wheels_are_checked_like_the_bundle(wheel: bytes, words: str, tmp_path: Path, noted: Noted) -> None:
    """5.10: what a bundle may not hold, a wheel may not hold either, and both share the limits."""
    with pytest.raises(BadBundle, match=words):
        _unpacked(tmp_path, zip_bytes({"m-1.0-py3-none-any.whl": wheel}), noted)


def test_5_10_bytecode_of_other_pythons_is_left_out(tmp_path: Path, noted: Noted) -> None:
    """5.10: compiled modules of another Python are left out, with a warning; those of this one stay."""
    own = importlib.util.MAGIC_NUMBER + bytes(12)
    files = {"old.pyc": b"\x03\xf3\r\n1234", "own.pyc": own, "a/__pycache__/b.cpython-27.pyc": b"\x03\xf3\r\n"}

    unpacked = _unpacked(tmp_path, zip_bytes(files), noted)

    assert [Path(path).name for path in unpacked.files] == ["own.pyc"]
    assert not (unpacked.root / "old.pyc").exists()
    assert noted.codes == ["bytecode_ignored"]
    assert "'old.pyc' in the script bundle" in noted.messages[0][1]
