"""Compressed tables: inflated while they are counted; whatever is wrong with them is refused."""

import gzip
from pathlib import Path

import pyarrow as pa
import pytest
from runner.failure import BadInput, EmptyInput
from runner.job import FORMATS
from runner.memory import Gathered
from table_files import compressed, read, written

TABLE = pa.table({"a": [1, 2, None], "s": ["x", "", None]})
TEXT = b"a,b\n" + b"1,x\n" * 100_000
KINDS = ["gzip", "zstd"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", FORMATS)
def test_every_format_is_read_compressed(form: str, kind: str, tmp_path: Path) -> None:
    """Also those that need to be read from their end, such as Parquet; and only the wanted columns of them."""
    data = compressed(written(tmp_path, TABLE, form), kind)

    assert read(tmp_path, data, form, compression=kind).equals(TABLE)
    assert read(tmp_path, data, form, compression=kind, columns=("s",)).equals(TABLE.select(["s"]))


@pytest.mark.parametrize("kind", KINDS)
def test_several_members_are_one_file(kind: str, tmp_path: Path) -> None:
    """What was compressed in parts and put together is read as a whole."""
    data = compressed(TEXT, kind) + compressed(b"2,y\n", kind) + compressed(b"", kind)

    found = read(tmp_path, data, "csv", compression=kind)

    assert found.num_rows == 100_001
    assert found.column("b")[-1].as_py() == "y"


@pytest.mark.parametrize("kind", KINDS)
def test_the_limit_is_exact(kind: str, tmp_path: Path) -> None:
    """As many bytes as the limit are read; one more is refused, with the limit and its name."""
    data = compressed(TEXT, kind)

    found = read(tmp_path, data, "csv", compression=kind, inflated_bytes=len(TEXT))

    assert found.num_rows == 100_000
    with pytest.raises(BadInput, match=rf"more than {len(TEXT) - 1} bytes, which is the limit \(inflated_bytes\)"):
        read(tmp_path, data, "csv", compression=kind, inflated_bytes=len(TEXT) - 1)


@pytest.mark.parametrize("kind", KINDS)
def test_no_more_is_inflated_than_the_limit(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A small file that inflates to a gigabyte stops at the limit."""
    part = compressed(bytes(2**20), kind)
    gathered: list[int] = []
    write = Gathered.write

    def counting(self: Gathered, data: bytes) -> None:
        gathered.append(len(data))
        write(self, data)

    monkeypatch.setattr(Gathered, "write", counting)

    with pytest.raises(BadInput, match="more than 5000000 bytes"):
        read(tmp_path, part * 1024, "csv", compression=kind, inflated_bytes=5_000_000)

    assert sum(gathered) == 5_000_001


@pytest.mark.parametrize("kind", KINDS)
def test_every_cut_is_refused(kind: str, tmp_path: Path) -> None:
    """A file that ends too early is refused, also between a member and the half of the next."""
    whole = compressed(b"a,b\n1,x\n", kind) + compressed(b"2,y\n3,z\n", kind)
    first = len(compressed(b"a,b\n1,x\n", kind))
    read_whole = []

    for length in range(1, len(whole)):
        try:
            read(tmp_path, whole[:length], "csv", compression=kind)
            read_whole.append(length)
        except BadInput:
            continue

    assert read_whole == [first]  # which is a whole file


@pytest.mark.parametrize(
    ("data", "kind", "words"),
    [
        pytest.param(b"a,b\n1,2\n", "gzip", "it is not gzip data, although", id="plain-as-gzip"),
        pytest.param(b"a,b\n1,2\n", "zstd", "it is not zstd data, although", id="plain-as-zstd"),
        pytest.param(compressed(TEXT, "zstd"), "gzip", "it is not gzip data", id="zstd-as-gzip"),
        pytest.param(compressed(TEXT, "gzip")[:-1], "gzip", "was cut, or .* follows it, after [0-9]+", id="gzip-cut"),
        pytest.param(compressed(TEXT, "gzip") + b"more", "gzip", "is corrupt, or something else", id="gzip-text"),
        pytest.param(compressed(TEXT, "gzip") + b"x", "gzip", "was cut, or something short follows it", id="gzip-more"),
        pytest.param(compressed(TEXT, "zstd") + b"more", "zstd", "else follows it, after [0-9]+", id="zstd-more"),
        pytest.param(compressed(TEXT, "gzip")[:-8] + bytes(8), "gzip", "gzip data is corrupt", id="gzip-checksum"),
    ],
)  # fmt: skip
def test_what_is_not_right_is_refused(data: bytes, kind: str, words: str, tmp_path: Path) -> None:
    """Another format, a cut, a wrong checksum or anything after the end is an error that says so."""
    with pytest.raises(BadInput, match=f"as csv: .*{words}"):
        read(tmp_path, data, "csv", compression=kind)


def test_a_compressed_file_that_was_not_declared(tmp_path: Path) -> None:
    """Nothing is guessed: without the declaration its bytes are no table."""
    with pytest.raises(BadInput):
        read(tmp_path, gzip.compress(TEXT, mtime=0), "csv")


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_compressed(kind: str, tmp_path: Path) -> None:
    """A file that inflates to nothing is empty: error 0003."""
    with pytest.raises(EmptyInput, match="empty once it is inflated"):
        read(tmp_path, compressed(b"", kind), "csv", compression=kind)


def test_gathered_bytes_lie_in_one_piece() -> None:
    """However they arrive, they come out in order and as many as went in."""
    gathered = Gathered()
    pieces = [bytes([n % 251]) * (n * 1009) for n in range(100)]

    for piece in pieces:
        gathered.write(piece)

    assert gathered.finish().to_pybytes() == b"".join(pieces)
