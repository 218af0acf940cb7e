"""The formats at the edge: what is read, what is refused and how, and what is written."""

import datetime as dt
import decimal
import io
import json
import os
import resource
import signal
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet
from runner.failure import BadInput, OutputLimit, UnsupportedValue
from runner.formats import read_frame, read_table, write_table
from runner_jobs import Noted, arrow_bytes

TABLE = pa.table({"a": [1, 2**63 - 1, None], "s": ["x", "", None], "f": [1.5, float("inf"), None]})
STREAM = arrow_bytes(pa.table({"a": [4294967295] * 3}), pa.ipc.new_stream)
FILE = arrow_bytes(TABLE)


def _parquet_bytes(table: pa.Table) -> bytes:
    file = io.BytesIO()
    parquet.write_table(table, file)
    return file.getvalue()


def _read(tmp_path: Path, data: bytes, form: str, noted: Noted | None = None) -> pa.Table:
    path = tmp_path / "dataframe1"
    path.write_bytes(data)
    return read_table(path, form, 1, noted or Noted())


def _written(tmp_path: Path, table: pa.Table, form: str) -> bytes:
    path = tmp_path / "result"
    path.touch()
    size = write_table(table, path, form, 10**9)
    data = path.read_bytes()
    assert size == len(data)
    return data


@pytest.mark.parametrize("form", ["arrow", "arrow_stream", "parquet", "csv", "json"])
def test_what_is_written_can_be_read(form: str, tmp_path: Path) -> None:
    """Every output format is an input format, and brings the same table back."""
    data = _written(tmp_path, TABLE, form)

    assert _read(tmp_path, data, form).to_pydict() == TABLE.to_pydict()


@pytest.mark.parametrize("form", ["arrow", "arrow_stream", "parquet"])
def test_binary_formats_keep_the_types(form: str, tmp_path: Path) -> None:
    """Times, spans, categories, bytes and complex numbers survive in the formats that have types."""
    table = pa.table(
        {
            "t": pa.array([1], pa.timestamp("us")),
            "d": pa.array([1], pa.duration("us")),
            "c": pa.DictionaryArray.from_arrays(pa.array([0], pa.int32()), ["x"]),
            "b": pa.array([b"\x00"]),
            "z": pa.array([{"real": 1.0, "imag": 2.0}]),
        }
    )

    assert _read(tmp_path, _written(tmp_path, table, form), form).equals(table)


# --- CSV


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        pytest.param(b"a,b\n1,x\n,\n3,\"\"\n", {"a": [1, None, 3], "b": ["x", None, ""]}, id="T03-missing-and-empty"),
        pytest.param(b"a,b\n1,NA\n2,nan\n", {"a": [1, 2], "b": ["NA", "nan"]}, id="T05-text"),
        pytest.param(b"a,b\n1,nan\n2,1.5\n", {"a": [1, 2], "b": ["nan", "1.5"]}, id="T05-nan-is-no-number"),
        pytest.param(b"a\n1\n\n3\n", {"a": [1, None, 3]}, id="one-column-empty-line"),
        pytest.param(b"\n\na\nnan\n\n", {"a": ["nan", None]}, id="one-column-after-empty-lines"),
        pytest.param(b"a,b\n1,2\n\n3,4\n", {"a": [1, 3], "b": [2, 4]}, id="empty-line"),
        pytest.param(b"a,a,\n1,2,3\n", {"a": [1], "a (2)": [2], "Col3": [3]}, id="3.5-header"),
        pytest.param(b"a,a\n1,nan\n", {"a": [1], "a (2)": ["nan"]}, id="3.5-header-and-nan"),
        pytest.param(b"\xef\xbb\xbfa\r\n1\r\n", {"a": [1]}, id="mark-and-crlf"),
        pytest.param(b'a\n"x\n""y"""\n', {"a": ['x\n"y"']}, id="quoted"),
        pytest.param(b"a,b\n", {"a": [], "b": []}, id="T16-header-only"),
        pytest.param("a\n日本🙂\n".encode(), {"a": ["日本🙂"]}, id="T19-text"),
        pytest.param(b"a\n-inf\n1.5\n", {"a": [float("-inf"), 1.5]}, id="T12-infinite"),
        pytest.param(
            b"a,b\n2020-01-02 03:04:05,true\n", {"a": [dt.datetime(2020, 1, 2, 3, 4, 5)], "b": [True]}, id="inferred"
        ),
    ],
)  # fmt: skip
def test_csv_reading(text: bytes, columns: dict[str, list[Any]], tmp_path: Path) -> None:
    """An empty cell is missing, quotes make text, and nothing else stands for missing."""
    assert _read(tmp_path, text, "csv").to_pydict() == columns


def test_tsv_reading(tmp_path: Path) -> None:
    """TSV is CSV with tabs."""
    assert _read(tmp_path, b"a\tb\n1\tx,y\n", "tsv").to_pydict() == {"a": [1], "b": ["x,y"]}


def test_csv_numbers_that_lose_digits_are_noted(tmp_path: Path, noted: Noted) -> None:
    """Integers too long for 64 bits become floating point, with a warning."""
    table = _read(tmp_path, b"a,b\n12345678901234567890,1.5\n", "csv", noted)

    assert table.schema.types == [pa.float64(), pa.float64()]
    assert noted.codes == ["precision_lost"]


@pytest.mark.parametrize(
    ("column", "text"),
    [
        pytest.param(pa.array(["x", "", None, 'q"', "007"]), '"c"\n"x"\n""\n\n"q"""\n"007"\n', id="text"),
        pytest.param(pa.array([1.5, float("nan"), None, float("-inf")]), '"c"\n1.5\n\n\n-inf\n', id="numbers"),
        pytest.param(pa.array([0, None], pa.timestamp("ns")), '"c"\n"1970-01-01T00:00:00"\n\n', id="seconds"),
        pytest.param(pa.array([1], pa.timestamp("us")), '"c"\n"1970-01-01T00:00:00.000001"\n', id="microseconds"),
        pytest.param(
            pa.array([1], pa.timestamp("us", "Europe/Paris")), '"c"\n"1970-01-01T00:00:00.000001"\n', id="utc"
        ),
        pytest.param(pa.array([dt.date(2020, 1, 2)]), '"c"\n"2020-01-02"\n', id="date"),
        pytest.param(
            pa.array([0, -1_500, 90_061_000_001], pa.duration("us")),
            '"c"\n"00:00:00"\n"-00:00:00.0015"\n"1.01:01:01.000001"\n',
            id="span",
        ),
        pytest.param(pa.array([b"\xff\x00", None]), '"c"\n"/wA="\n\n', id="bytes"),
        pytest.param(pa.DictionaryArray.from_arrays([1, None], ["x", "y"]), '"c"\n"y"\n\n', id="category"),
        pytest.param(pa.array([[1, None], None]), '"c"\n"[1, null]"\n\n', id="list"),
        pytest.param(pa.array([True, None]), '"c"\ntrue\n\n', id="bool"),
        pytest.param(pa.array([decimal.Decimal("1.10")]), '"c"\n1.10\n', id="decimal"),
    ],
)
def test_csv_writing(column: pa.Array, text: str, tmp_path: Path) -> None:
    """Missing is an empty cell, text is quoted, times are ISO 8601, bytes are base64."""
    assert _written(tmp_path, pa.table({"c": column}), "csv").decode() == text


def test_csv_of_another_encoding_names_the_byte(tmp_path: Path) -> None:
    """Text that is not UTF-8 is refused with the place of the first bad byte, also far into the file."""
    head = b"a,b\n" + b"1,xx\n" * 500_000

    with pytest.raises(BadInput, match=rf"input port 1 \(dataframe1\).*as csv: byte {len(head) + 3} .*not UTF-8"):
        _read(tmp_path, head + b"1,x\xe9y\n", "csv")


# --- JSON


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        pytest.param('[{"a":1,"b":"x"},{"b":null}]', {"a": [1, None], "b": ["x", None]}, id="absent-is-missing"),
        pytest.param('[{"a":1},{"a":2.5}]', {"a": [1.0, 2.5]}, id="numbers"),
        pytest.param('[{"a":1.5},{"a":"-Infinity"}]', {"a": [1.5, float("-inf")]}, id="T12-infinite"),
        pytest.param('[{"a":"NA"},{"a":""}]', {"a": ["NA", ""]}, id="T05-text"),
        pytest.param('[{"a":9007199254740993}]', {"a": [9007199254740993]}, id="exact-int"),
        pytest.param('\ufeff[{"a":"日本🙂"}]', {"a": ["日本🙂"]}, id="T19-mark"),
        pytest.param('[{"a":[1,2]}]', {"a": [[1, 2]]}, id="list"),
        pytest.param("[]", {}, id="no-rows"),
    ],
)
def test_json_reading(text: str, columns: dict[str, list[Any]], tmp_path: Path) -> None:
    """A list of objects; a key that is not there is a missing value."""
    assert _read(tmp_path, text.encode(), "json").to_pydict() == columns


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"a":1}', "must be a list of objects"),
        ("[1]", "row 0 must be an object, not a int"),
        ('[{"a":1},{"a":"x"}]', r"column 'a' .*int \(row 0\), str \(row 1\)"),
        ('[{"a":1,"a":2}]', "holds the key 'a' twice"),
        ('[{"a":1', "delimiter"),
        ('[{"a":18446744073709551616}]', "column 'a'"),
        ('[{"a":' + "[" * 500 + "]" * 500 + "}]", "column 'a', row 0 is nested more than 3 deep"),
        ("[" * 100_000, "as json"),
        ("\xff", "not UTF-8"),
    ],
)
def test_json_that_is_no_table(text: str, words: str, tmp_path: Path) -> None:
    """What is no list of objects of one kind is refused, naming the row or the column."""
    with pytest.raises(BadInput, match=words):
        _read(tmp_path, text.encode("latin-1"), "json")


def test_json_writing(tmp_path: Path) -> None:
    """Missing is null, the infinities are text, 64-bit integers are exact, times are ISO 8601."""
    table = pa.table(
        {
            "i": [2**63 - 1, None],
            "f": [float("inf"), float("nan")],
            "t": pa.array([1, None], pa.timestamp("ms")),
            "d": pa.array([86_400, None], pa.duration("s")),
            "b": [b"\xff", None],
            "n": [{"x": [float("-inf"), None]}, None],
            "s": ["é\x00", ""],
        }
    )

    rows = json.loads(_written(tmp_path, table, "json"))

    assert rows == [
        {
            "i": 2**63 - 1,
            "f": "Infinity",
            "t": "1970-01-01T00:00:00.001",
            "d": "1.00:00:00",
            "b": "/w==",
            "n": {"x": ["-Infinity", None]},
            "s": "é\x00",
        },
        {"i": None, "f": None, "t": None, "d": None, "b": None, "n": None, "s": ""},
    ]


def test_json_of_many_rows(tmp_path: Path) -> None:
    """Rows written in several portions are one list."""
    table = pa.table({"a": list(range(20_000))})

    rows = json.loads(_written(tmp_path, table, "json"))

    assert [row["a"] for row in rows] == list(range(20_000))


@pytest.mark.parametrize("form", ["csv", "json"])
@pytest.mark.parametrize(
    ("column", "words"),
    [
        (pa.array([{"real": 1.0, "imag": 2.0}]), "column 'z' holds complex numbers"),
        (pa.array([2**61], pa.timestamp("s")), "column 'z' holds times outside of the years 1 to 9999"),
    ],
)
def test_t11_what_text_cannot_hold(form: str, column: pa.Array, words: str, tmp_path: Path) -> None:
    """T11: complex numbers and far times are refused by name in the text formats."""
    with pytest.raises(UnsupportedValue, match=words):
        _written(tmp_path, pa.table({"z": column}), form)


# --- broken files


@pytest.mark.parametrize(
    ("data", "form", "words"),
    [
        pytest.param(b"", "csv", "the file is empty", id="empty"),
        pytest.param(b"\n", "csv", "Empty CSV", id="csv-no-header"),
        pytest.param(b"a,b\n1\n", "csv", "Expected 2 columns, got 1", id="csv-ragged"),
        pytest.param(FILE[:-3], "arrow", "Not an Arrow file", id="arrow-cut"),
        pytest.param(STREAM, "arrow", "format arrow_stream", id="stream-as-file"),
        pytest.param(FILE, "arrow_stream", "its format is arrow", id="file-as-stream"),
        pytest.param(STREAM[:-8], "arrow_stream", "end marker is missing", id="stream-cut-between-messages"),
        pytest.param(STREAM[:-4], "arrow_stream", "arrow_stream: .*", id="stream-cut-in-the-marker"),
        pytest.param(STREAM[:-30], "arrow_stream", "arrow_stream: .*", id="stream-cut-in-a-message"),
        pytest.param(_parquet_bytes(TABLE)[:-3], "parquet", "Parquet magic bytes", id="parquet-cut"),
        pytest.param(b"PAR1" + b"\xff" * 64 + struct.pack("<I", 60) + b"PAR1", "parquet", "parquet: .*", id="parquet"),
        pytest.param(b"a,b\n1,2\n", "parquet", "Parquet", id="csv-as-parquet"),
    ],
)
def test_broken_tables_are_refused(data: bytes, form: str, words: str, tmp_path: Path) -> None:
    """A broken table is an error that names port, file and format, and no path of ours."""
    with pytest.raises(BadInput, match=words) as refused:
        _read(tmp_path, data, form)

    assert f"the table on input port 1 (dataframe1) cannot be read as {form}" in str(refused.value)
    assert str(tmp_path) not in str(refused.value)


def test_a_type_that_is_no_text_is_refused(tmp_path: Path) -> None:
    """A time zone whose name is not UTF-8 is the table's fault, though only pandas stumbles over it."""
    path = tmp_path / "dataframe2"
    data = arrow_bytes(pa.table({"t": pa.array([1], pa.timestamp("us", "Zone/Name"))}))
    path.write_bytes(data.replace(b"Zone/Name", b"Zone/\xff\xff\xff\xff"))

    with pytest.raises(BadInput, match=r"input port 2 \(dataframe2\) cannot be read as arrow: .*utf-8"):
        read_frame(path, "arrow", 2, Noted())


def test_a_stream_may_hold_what_looks_like_its_end(tmp_path: Path) -> None:
    """Values that look like the end marker are values: a complete stream that ends in them is read."""
    assert _read(tmp_path, STREAM, "arrow_stream").to_pydict() == {"a": [4294967295] * 3}


def test_every_cut_of_every_format_is_refused(tmp_path: Path) -> None:
    """However many bytes are missing at the end, a binary table is refused and never read as a shorter one."""
    whole = {"arrow": FILE, "arrow_stream": STREAM, "parquet": _parquet_bytes(TABLE)}
    accepted = []

    for form, data in whole.items():
        for length in range(1, len(data), 7):
            try:
                _read(tmp_path, data[:length], form)
                accepted.append((form, length))
            except BadInput:
                continue

    assert accepted == []


# --- the size limit of a file


@pytest.fixture
def small_files() -> Iterator[int]:
    """No file may grow beyond 64 KiB, as RLIMIT_FSIZE has it in a container."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (65536, before[1]))
    yield 65536
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.parametrize("form", ["arrow", "arrow_stream", "parquet", "csv", "json"])
def test_an_output_that_does_not_fit(form: str, small_files: int, tmp_path: Path) -> None:
    """Past the size limit the error names the file and the limit, and the file is left empty."""
    path = tmp_path / "result"
    path.touch()
    table = pa.table({"a": [os.urandom(1000).hex() for _ in range(200)]})

    with pytest.raises(OutputLimit, match=f"'result' .*File too large; the limit is {small_files} bytes"):
        write_table(table, path, form, small_files)

    assert path.stat().st_size == 0
