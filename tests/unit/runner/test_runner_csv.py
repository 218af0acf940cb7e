"""CSV and TSV without options: what cells are, which delimiter and encoding a file has, what is written."""

import csv as python_csv
import datetime as dt
import decimal
import io
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from runner.failure import BadInput, EmptyInput, UnsupportedValue
from runner_jobs import Noted
from table_files import read, written


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        pytest.param(b"a,b\n1,x\n,\n3,\"\"\n", {"a": [1, None, 3], "b": ["x", None, ""]}, id="T03-missing-and-empty"),
        pytest.param(b"a,b\n1,NA\n2,nan\n", {"a": [1, 2], "b": ["NA", "nan"]}, id="T05-text"),
        pytest.param(b"a,b\n1,nan\n2,1.5\n", {"a": [1, 2], "b": ["nan", "1.5"]}, id="T05-nan-is-no-number"),
        pytest.param(b"a,b\n1,1.5\n2,nan\n", {"a": [1, 2], "b": ["1.5", "nan"]}, id="T05-nan-after-a-number"),
        pytest.param(b"a,b\n1,1\n2,\"\"\n", {"a": [1, 2], "b": ["1", ""]}, id="T05-empty-text-among-numbers"),
        pytest.param(b"a\n1\n\n3\n", {"a": [1, None, 3]}, id="one-column-empty-line"),
        pytest.param(b"\n\na\nnan\n\n", {"a": ["nan", None]}, id="one-column-after-empty-lines"),
        pytest.param(b"a,b\n1,2\n\n3,4\n", {"a": [1, 3], "b": [2, 4]}, id="empty-line"),
        pytest.param(b"a,a,\n1,2,3\n", {"a": [1], "a (2)": [2], "Col3": [3]}, id="3.5-header"),
        pytest.param(b"a,a\n1,nan\n", {"a": [1], "a (2)": ["nan"]}, id="3.5-header-and-nan"),
        pytest.param(b"a\r1\r2", {"a": [1, 2]}, id="line-ends-of-old"),
        pytest.param(b"\xef\xbb\xbfa\r\n1\r\n", {"a": [1]}, id="mark-and-crlf"),
        pytest.param(b'"a\n,b",c\n"x\r\ny","""q"""\n', {"a\n,b": ["x\r\ny"], "c": ['"q"']}, id="quoted"),
        pytest.param(b"a,b\n", {"a": [], "b": []}, id="T16-header-only"),
        pytest.param(b"a,b", {"a": [], "b": []}, id="T16-header-without-end"),
        pytest.param("a\n日本🙂\n".encode(), {"a": ["日本🙂"]}, id="T19-text"),
        pytest.param(b"a\n-inf\n1.5\n", {"a": [float("-inf"), 1.5]}, id="T12-infinite"),
        pytest.param(b"a,b\n 5 ,-1e-3\n 6, 2\n", {"a": [5, 6], "b": [-0.001, 2.0]}, id="blanks-around-numbers"),
        pytest.param(b"a\n true \nFALSE\n\n", {"a": [True, False, None]}, id="truth"),
        pytest.param(b"a\ntrue\n1\n", {"a": ["true", "1"]}, id="truth-and-number"),
        pytest.param(b"a\n1\nx\n", {"a": ["1", "x"]}, id="mixed-is-text"),
    ],
)  # fmt: skip
def test_csv_reading(text: bytes, columns: dict[str, list[Any]], tmp_path: Path, noted: Noted) -> None:
    """An empty cell is missing, quotes make text, and nothing else stands for missing; there is nothing to warn of."""
    found = read(tmp_path, text, "csv", noted)

    assert found.to_pydict() == columns
    assert noted.messages == []


@pytest.mark.parametrize(
    ("cells", "data_type", "first"),
    [
        (["2020-01-02"], pa.date32(), dt.date(2020, 1, 2)),
        (["0001-01-01", "2020-01-02 03:04"], pa.timestamp("s"), dt.datetime(1, 1, 1)),
        (["2020-01-02T03:04:05.25"], pa.timestamp("us"), dt.datetime(2020, 1, 2, 3, 4, 5, 250000)),
        (["2020-01-02T03:04:05+01:00"], pa.timestamp("s", "UTC"), dt.datetime(2020, 1, 2, 2, 4, 5, tzinfo=dt.UTC)),
        (["03:04"], pa.time32("s"), dt.time(3, 4)),
        (["03:04:05.000001"], pa.time64("us"), dt.time(3, 4, 5, 1)),
        (["2020-02-30"], pa.string(), "2020-02-30"),
        (["2020-01-02", "soon"], pa.string(), "2020-01-02"),
        (["2020-01-02T03:04:05+01:00", "2020-01-02T03:04:05"], pa.string(), "2020-01-02T03:04:05+01:00"),
        (["24:00"], pa.string(), "24:00"),
        (["02.01.2020"], pa.string(), "02.01.2020"),
    ],
)
def test_dates_and_times_are_iso_8601(cells: list[str], data_type: pa.DataType, first: Any, tmp_path: Path) -> None:
    """Dates and times are found when all cells are of the one form that cannot be misread."""
    found = read(tmp_path, "\n".join(["a", *cells, ""]).encode(), "csv").column("a")

    assert (found.type, found[0].as_py()) == (data_type, first)


# --- digits


@pytest.mark.parametrize(
    ("cells", "code"),
    [
        (["00123", "4"], "kept_as_text"),
        (["-01", "4"], "kept_as_text"),
        (["+4912345678"], "kept_as_text"),
        (["1.5", "007"], "kept_as_text"),
        (["01.5"], "kept_as_text"),
        (["0x10"], "kept_as_text"),
        (["1", "18446744073709551616"], "kept_as_text"),
        (["-9223372036854775809"], "kept_as_text"),
        (["1e400", "1"], "kept_as_text"),
        (["1e-400", "1.5"], "kept_as_text"),
        (["1,5", "x"], None),
        (["1_000"], None),
        (["12a"], None),
        (["-"], None),
    ],
)
def test_what_a_number_would_change_stays_text(
    cells: list[str], code: str | None, tmp_path: Path, noted: Noted
) -> None:
    """Leading zeros, plus signs, more than 64 bits, numbers out of reach: text, with a warning naming the column."""
    found = read(
        tmp_path, "\n".join(["a;b", *(f"{cell};x" for cell in cells), ""]).encode(), "csv", noted, delimiter=";"
    )

    assert found.column("a").to_pylist() == cells
    assert noted.codes == ([code] if code else [])
    assert all("column 'a'" in message for _, message in noted.messages)


@pytest.mark.parametrize(
    ("cells", "values", "data_type"),
    [
        (["123456789012345678", "", "-0"], [123456789012345678, None, 0], pa.int64()),
        (["0", "18446744073709551615"], [0, 2**64 - 1], pa.uint64()),
        (["9007199254740993", "1"], [2**53 + 1, 1], pa.int64()),
        (["0.30000000000000004", "1e22"], [0.1 + 0.2, 1e22], pa.float64()),
        (["0.10000000000000001", "1.00000000000000000000"], [0.1, 1.0], pa.float64()),
        (["0.1000000000000000055511151231257827"], [0.1], pa.float64()),
        (["5e-324", "1.7976931348623157e308"], [5e-324, 1.7976931348623157e308], pa.float64()),
    ],
)
def test_numbers_that_keep_their_digits(
    cells: list[str], values: list[Any], data_type: pa.DataType, tmp_path: Path, noted: Noted
) -> None:
    """Whole numbers of 64 bits are exact; a fraction is, when written again it has the same digits."""
    found = read(tmp_path, "\n".join(["a,b", *(f"{cell},x" for cell in cells), ""]).encode(), "csv", noted).column("a")

    assert (found.to_pylist(), found.type) == (values, data_type)
    assert noted.messages == []


@pytest.mark.parametrize("cell", ["0.1234567890123456789", "9007199254740993.0", "4.95e-324", "-1.00000000000000001"])
def test_fractions_that_lose_digits_are_rounded_with_a_warning(cell: str, tmp_path: Path, noted: Noted) -> None:
    """What floating point cannot tell is said, with the column and an example."""
    found = read(tmp_path, f"a\n1.5\n{cell}\n".encode(), "csv", noted, delimiter=",")

    assert found.column("a").to_pylist() == [1.5, float(cell)]
    assert noted.codes == ["precision_lost"]
    assert "column 'a'" in noted.messages[0][1]
    assert cell in noted.messages[0][1]


# --- delimiters


@pytest.mark.parametrize(
    ("text", "columns", "delimiter"),
    [
        pytest.param("a;b\n1,5;2\n3,25;4\n", {"a": ["1,5", "3,25"], "b": [2, 4]}, ";", id="semicolon"),
        pytest.param("a\tb\n1,5\tx;y\n", {"a": ["1,5"], "b": ["x;y"]}, "\t", id="tab"),
        pytest.param("a|b|c\n1|2|3\n", {"a": [1], "b": [2], "c": [3]}, "|", id="bar"),
        pytest.param('"a;b",c\n"x;y",1\n', {"a;b": ["x;y"], "c": [1]}, ",", id="comma-despite-quoted-semicolons"),
        pytest.param('"a,b";c\n"x,y";1\n', {"a,b": ["x,y"], "c": [1]}, ";", id="semicolon-despite-quoted-commas"),
        pytest.param("a;b\nx, y;1\nz;2\n", {"a": ["x, y", "z"], "b": [1, 2]}, ";", id="commas-in-text"),
        pytest.param("EUR, net;n\n1,5;3\n2,7;4\n", {"EUR, net": ["1,5", "2,7"], "n": [3, 4]}, ";", id="decimal-commas"),
        pytest.param("a,b\n1,2\n", {"a": [1], "b": [2]}, ",", id="numbers-and-commas"),
        pytest.param("a,b\nx;y,1\n", {"a": ["x;y"], "b": [1]}, ",", id="semicolon-in-text"),
        pytest.param("a\nx;y\nz\n", {"a": ["x;y", "z"]}, ",", id="one-column-with-semicolons"),
        pytest.param("price\n1,5\n2\n", {"price": ["1,5", "2"]}, ";", id="one-column-of-decimal-commas"),
        pytest.param("a\n1\n", {"a": [1]}, ",", id="one-column"),
        pytest.param('a;b\n"x\ny;z,";1\n', {"a": ["x\ny;z,"], "b": [1]}, ";", id="line-ends-in-quotes"),
    ],
)
def test_the_delimiter_is_detected(
    text: str, columns: dict[str, list[Any]], delimiter: str, tmp_path: Path, noted: Noted
) -> None:
    """It is what cuts header and rows alike, with quotes respected; another one than the comma is told."""
    found = read(tmp_path, text.encode(), "csv", noted)

    assert found.to_pydict() == columns
    assert noted.codes == ([] if delimiter == "," else ["delimiter_detected"])
    assert all(repr(delimiter) in message for _, message in noted.messages)


def test_a_wide_header_is_enough_to_tell_the_delimiter(tmp_path: Path, noted: Noted) -> None:
    """More columns than the sample has room for are still told apart."""
    names = [f"column_{n:01000}" for n in range(2_000)]
    text = ";".join(names) + "\n" + ";".join("1" for _ in names) + "\n"

    found = read(tmp_path, text.encode(), "csv", noted)

    assert found.shape == (1, len(names))
    assert noted.codes == ["delimiter_detected"]


def test_the_delimiter_of_tsv_is_the_tab(tmp_path: Path, noted: Noted) -> None:
    """TSV is CSV with tabs; there is nothing to detect."""
    found = read(tmp_path, b"a\tb\n1\tx,y\n", "tsv", noted)

    assert found.to_pydict() == {"a": [1], "b": ["x,y"]}
    assert noted.messages == []


# --- encodings


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-be"])
def test_a_byte_order_mark_tells_the_encoding(encoding: str, tmp_path: Path, noted: Noted) -> None:
    """UTF-8, UTF-16 and UTF-32 are recognised by their marks, which are no part of the first name."""
    mark = "" if encoding in ("utf-8-sig", "utf-16", "utf-32") else "\ufeff"
    data = f"{mark}é,b\n日本🙂,1\n".encode(encoding)

    found = read(tmp_path, data, "csv", noted)

    assert found.to_pydict() == {"é": ["日本🙂"], "b": [1]}
    assert noted.messages == []


def test_text_that_is_not_utf_8_is_taken_for_windows_1252(tmp_path: Path, noted: Noted) -> None:
    """The guess is told, with the first byte that made it one, also far into the file."""
    head = b"a,b\n" + b"1,xx\n" * 500_000

    found = read(tmp_path, head + "1,x€é\n".encode("cp1252"), "csv", noted)

    assert found.column("b")[-1].as_py() == "x€é"
    assert noted.codes == ["encoding_guessed"]
    assert f"byte {len(head) + 3} " in noted.messages[0][1]


def test_text_that_is_in_neither_encoding_is_refused(tmp_path: Path) -> None:
    """A byte that Windows-1252 does not have is no text of it; both places are named."""
    with pytest.raises(BadInput, match="byte 2 is not UTF-8, and the guess was Windows-1252: byte 3 "):
        read(tmp_path, b"a\n\xe9\x81\n", "csv")


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-be"])
def test_wide_text_without_a_mark_is_refused(encoding: str, tmp_path: Path) -> None:
    """UTF-16 without a mark looks like UTF-8 full of NULs; it is not read as that, but can be stated."""
    data = "a,b\n1,2\n".encode(encoding)

    with pytest.raises(BadInput, match="begins like UTF-16 or UTF-32 without a byte order mark; state the encoding"):
        read(tmp_path, data, "csv")

    assert read(tmp_path, data, "csv", encoding=encoding).to_pydict() == {"a": [1], "b": [2]}


def test_text_in_utf_8_is_not_copied(tmp_path: Path) -> None:
    """Of a file that is mapped, only the cells come into memory."""
    data = b"a,b\n" + b"1,2\n" * 1_000_000
    before = pa.total_allocated_bytes()

    found = read(tmp_path, data, "csv", columns=("b",))

    assert pa.total_allocated_bytes() - before < 1.5 * found.nbytes


# --- broken files


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("a,b\n1,2\n3\n", "line 3 has 1 cells where the header has 2", id="too-few"),
        pytest.param("a,b\n1,2,3\n", "line 2 has 3 cells where the header has 2", id="too-many"),
        pytest.param('\n\na,b\n"x\ny",2\n\n3\n', "line 7 has 1 cells", id="lines-are-those-of-the-file"),
        pytest.param("title\na,b\n1,2\n", "line 2 has 2 cells where the header has 1", id="title"),
        pytest.param('a,b\n"x,2\n', "line 2 has 1 cells", id="quote-not-closed"),
    ],
)
def test_ragged_rows_are_named(text: str, words: str, tmp_path: Path) -> None:
    """A row that is too short or too long is named by its line in the file, with both numbers of cells."""
    with pytest.raises(BadInput, match=words):
        read(tmp_path, text.encode(), "csv")


@pytest.mark.parametrize("data", [b"", b"\n\r\n", b"\xef\xbb\xbf", "\n".encode("utf-16")])
def test_nothing_at_all(data: bytes, tmp_path: Path) -> None:
    """A file without a header is empty: error 0003."""
    with pytest.raises(EmptyInput) as refused:
        read(tmp_path, data, "csv")

    assert refused.value.code == "0003"


def test_a_cell_larger_than_any_block(tmp_path: Path) -> None:
    """A cell of some megabytes, such as a model in base64, is read whole."""
    large = "x" * 3_000_000

    found = read(tmp_path, f"a,b\n{large},1\n".encode(), "csv")

    assert found.column("a")[0].as_py() == large


def test_the_limit_of_pythons_csv_is_left_as_it_was(tmp_path: Path) -> None:
    """What the script itself reads with the module csv follows the rules that it finds everywhere."""
    before = python_csv.field_size_limit()

    read(tmp_path, b"a\n1\n", "csv")

    assert python_csv.field_size_limit() == before


# --- writing


@pytest.mark.parametrize(
    ("column", "cells"),
    [
        pytest.param(pa.array(["x", "", None, 'q"', "007"]), ['"x"', '""', "", '"q"""', '"007"'], id="text"),
        pytest.param(pa.array([1.5, float("nan"), 1.0, float("-inf")]), ["1.5", "", "1.0", "-inf"], id="numbers"),
        pytest.param(
            pa.array([-0.0, 1e22, 1e-7, 2.0**53]), ["-0.0", "1e+22", "1e-7", "9.007199254740992e+15"], id="whole"
        ),
        pytest.param(pa.array([0.1], pa.float32()), ["0.10000000149011612"], id="narrow"),
        pytest.param(pa.array([2**64 - 1, None], pa.uint64()), ["18446744073709551615", ""], id="unsigned"),
        pytest.param(pa.array([0, None], pa.timestamp("ns")), ['"1970-01-01T00:00:00"', ""], id="seconds"),
        pytest.param(pa.array([1], pa.timestamp("us")), ['"1970-01-01T00:00:00.000001"'], id="microseconds"),
        pytest.param(pa.array([1], pa.timestamp("us", "Europe/Paris")), ['"1970-01-01T00:00:00.000001"'], id="utc"),
        pytest.param(pa.array([dt.date(2020, 1, 2)]), ['"2020-01-02"'], id="date"),
        pytest.param(pa.array([dt.date(1, 1, 1)], pa.date64()), ['"0001-01-01"'], id="date64"),
        pytest.param(pa.array([dt.time(3, 4, 5, 6)]), ['"03:04:05.000006"'], id="time"),
        pytest.param(
            pa.array([0, -1_500, 90_061_000_001], pa.duration("us")),
            ['"00:00:00"', '"-00:00:00.0015"', '"1.01:01:01.000001"'],
            id="span",
        ),
        pytest.param(pa.array([b"\xff\x00", None]), ['"/wA="', ""], id="bytes"),
        pytest.param(pa.DictionaryArray.from_arrays([1, None], ["x", "y"]), ['"y"', ""], id="category"),
        pytest.param(pa.array([[1, None], None]), ['"[1, null]"', ""], id="list"),
        pytest.param(pa.array([{"é": decimal.Decimal("1.10")}]), ['"{""é"": ""1.10""}"'], id="struct"),
        pytest.param(pa.array([True, None]), ["true", ""], id="bool"),
        pytest.param(pa.array([decimal.Decimal("1.10")]), ["1.10"], id="decimal"),
        pytest.param(pa.nulls(2), ["", ""], id="null"),
    ],
)
@pytest.mark.parametrize("form", ["csv", "tsv"])
def test_csv_writing(column: pa.Array, cells: list[str], form: str, tmp_path: Path) -> None:
    """Missing is an empty cell, text is quoted, times are ISO 8601, bytes are base64, digits are all there."""
    delimiter = {"csv": ",", "tsv": "\t"}[form]
    table = pa.table({"c": column, 'n"': pa.nulls(len(column), pa.int8())})

    text = written(tmp_path, table, form).decode()

    assert text == "".join(
        f"{cell}{delimiter}{end}\n" for cell, end in [('"c"', '"n"""'), *((cell, "") for cell in cells)]
    )


def test_csv_of_many_rows_is_read_by_others_alike(tmp_path: Path) -> None:
    """Rows written in several portions, with all that needs quotes, are what Python's own reader gives."""
    texts = ['a"b', "c,d", "e\nf", "", "g\th"] * 20_000
    table = pa.table({"n": range(100_000), "t": texts})

    rows = list(python_csv.reader(io.StringIO(written(tmp_path, table, "csv").decode(), newline="")))

    assert rows == [["n", "t"], *([str(n), text] for n, text in enumerate(texts))]


def test_a_table_without_columns_is_written(tmp_path: Path) -> None:
    """It is an empty line, which is no table to read."""
    assert written(tmp_path, pa.table({}), "csv") == b"\n"


@pytest.mark.parametrize("form", ["csv", "tsv", "json", "azure_json"])
@pytest.mark.parametrize(
    ("column", "words"),
    [
        (pa.array([{"real": 1.0, "imag": 2.0}]), "column 'z' holds complex numbers"),
        (pa.array([None, 2**61], pa.timestamp("s")), "column 'z', row 1 is a time outside of the years 1 to 9999"),
        (pa.array([0, -800_000], pa.int32()).cast(pa.date32()), "column 'z', row 1 is a time outside of the years"),
        (pa.array([(1, 2, 3)], pa.month_day_nano_interval()), "column 'z' is of the type month_day_nano_interval"),
    ],
    ids=["complex", "far", "before", "months"],
)
def test_t11_what_text_cannot_hold(form: str, column: pa.Array, words: str, tmp_path: Path) -> None:
    """T11: complex numbers, far times and spans of months are refused by name in the text formats."""
    with pytest.raises(UnsupportedValue, match=words):
        written(tmp_path, pa.table({"z": column}), form)
