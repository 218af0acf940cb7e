"""What the author of a CSV file may state: delimiter, encoding, missing values, dates, types, columns."""

import datetime as dt
import decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from runner.failure import BadInput, UnconvertibleCell
from runner_jobs import Noted
from table_files import read


def _column(tmp_path: Path, cells: list[str], **reading: Any) -> pa.ChunkedArray:
    text = "\n".join(["c", *cells, ""])
    return read(tmp_path, text.encode(), "csv", delimiter="|", **reading).column("c")


# --- delimiter and encoding


@pytest.mark.parametrize(("form", "delimiter"), [("csv", ";"), ("csv", "~"), ("csv", " "), ("tsv", ","), ("csv", "\t")])
def test_a_stated_delimiter_is_taken(form: str, delimiter: str, tmp_path: Path, noted: Noted) -> None:
    """What is stated is not detected, and there is nothing to warn of."""
    data = f"a{delimiter}b\n1{delimiter}2\n".encode()

    assert read(tmp_path, data, form, noted, delimiter=delimiter).to_pydict() == {"a": [1], "b": [2]}
    assert noted.messages == []


@pytest.mark.parametrize("delimiter", ["", ";;", '"', "\n", "\r", "§", "\0"])
def test_delimiters_that_are_none(delimiter: str, tmp_path: Path) -> None:
    """A delimiter is one ASCII character, and no quote or line end."""
    with pytest.raises(BadInput, match="must be one ASCII character"):
        read(tmp_path, b"a,b\n1,2\n", "csv", delimiter=delimiter)


@pytest.mark.parametrize("encoding", ["cp1252", "latin-1", "utf-16", "UTF-16-LE", "cp500", "utf_8", "gb18030", "utf-7"])
def test_a_stated_encoding_is_taken(encoding: str, tmp_path: Path, noted: Noted) -> None:
    """Any text encoding of Python is read, piece by piece, without a warning."""
    rows = "1,é\n" * 400_000

    found = read(tmp_path, f"a,b\n{rows}".encode(encoding), "csv", noted, encoding=encoding)

    assert found.num_rows == 400_000
    assert found.column("b").unique().to_pylist() == ["é"]
    assert noted.messages == []


@pytest.mark.parametrize(
    ("encoding", "data", "words"),
    [
        ("nonsense", b"a\n1\n", "the encoding 'nonsense' is unknown"),
        ("../encodings", b"a\n1\n", "is unknown"),
        ("zip_codec", b"a\n1\n", "'zip_codec' is (unknown|not an encoding of text)"),
        ("rot13", b"a\n1\n", "not an encoding of text"),
        ("unicode_escape", b"a\n1\n", "not an encoding of text"),
        ("idna", b"a\n1\n", "not an encoding of text"),
        ("utf-8", b"a\n\xe9\n", r"byte 2 \(counted from 0\) is not UTF-8"),
        ("ascii", b"a\n1\n\xe9\n", r"byte 4 \(counted from 0\) is not ascii text"),
        ("utf-16-le", b"a\0\n\0\0\xd8", r"byte 4 \(counted from 0\) is not utf-16-le text"),
        ("shift_jis", b"a\n" + b"x" * 2**20 + b"\x81", rf"byte {2 + 2**20} \(counted from 0\) is not shift_jis text"),
    ],
)
def test_encodings_that_do_not_work(encoding: str, data: bytes, words: str, tmp_path: Path) -> None:
    """What is no encoding of text is refused by name, and a byte that cannot be decoded by its place."""
    with pytest.raises(BadInput, match=words):
        read(tmp_path, data, "csv", encoding=encoding)


# --- missing


def test_further_texts_for_missing(tmp_path: Path) -> None:
    """Stated texts stand for missing values, unless they are in quotes."""
    data = b'a,b\nNA,-\n1,NA\n2,"NA"\n'

    found = read(tmp_path, data, "csv", missing=("NA", "-"))

    assert found.to_pydict() == {"a": [None, 1, 2], "b": [None, None, "NA"]}


# --- types


@pytest.mark.parametrize(
    ("target", "cells", "values", "data_type"),
    [
        ("int8", ["-128", "", " +7"], [-128, None, 7], pa.int8()),
        ("int16", ["007"], [7], pa.int16()),
        ("int32", ["1"], [1], pa.int32()),
        ("int64", ["9223372036854775807"], [2**63 - 1], pa.int64()),
        ("uint8", ["255"], [255], pa.uint8()),
        ("uint16", ["65535"], [65535], pa.uint16()),
        ("uint32", ["1"], [1], pa.uint32()),
        ("uint64", ["18446744073709551615"], [2**64 - 1], pa.uint64()),
        ("float32", ["0.5"], [0.5], pa.float32()),
        ("float64", ["1", "nan", "-Infinity", "0.1234567890123456789"],
         [1.0, None, float("-inf"), 0.1234567890123456789], pa.float64()),
        ("string", ["007", " x", "1e400", ""], ["007", " x", "1e400", None], pa.string()),
        ("bool", ["TRUE", "0", "1", "false"], [True, False, True, False], pa.bool_()),
        ("date", ["2020-01-02", "2020-01-02T00:00"], [dt.date(2020, 1, 2)] * 2, pa.date32()),
        ("timestamp", ["2020-01-02T03:04:05.5Z"], [dt.datetime(2020, 1, 2, 3, 4, 5, 500000)], pa.timestamp("us")),
        ("time", ["03:04", "03:04:05.25"], [dt.time(3, 4), dt.time(3, 4, 5, 250000)], pa.time64("us")),
        ("duration", ["-1.02:03:04.5", "00:00:00"], [-dt.timedelta(1, 7384, 500000), dt.timedelta(0)],
         pa.duration("us")),
        ("decimal(20, 19)", ["0.1234567890123456789"], [decimal.Decimal("0.1234567890123456789")],
         pa.decimal128(20, 19)),
        ("decimal(40,0)", ["1" * 40], [decimal.Decimal("1" * 40)], pa.decimal256(40, 0)),
        ("binary", ["/wA=", ""], [b"\xff\0", None], pa.binary()),
    ],
)  # fmt: skip
def test_stated_types(target: str, cells: list[str], values: list[Any], data_type: pa.DataType, tmp_path: Path) -> None:
    """A cell is converted exactly, or not at all; blanks around it and leading zeros are no hindrance."""
    found = _column(tmp_path, cells, types={"c": target})

    assert (found.to_pylist(), found.type) == (values, data_type)


@pytest.mark.parametrize(
    ("target", "cell"),
    [
        ("int8", "128"), ("uint64", "-1"), ("int64", "1.0"), ("int64", "0x10"), ("int64", "1e3"), ("int64", "x"),
        ("float64", "1e400"), ("float64", "1,5"), ("bool", "yes"), ("date", "2020-02-30"), ("date", "2.1.2020"),
        ("date", "2020-01-02T03:04"),
        ("timestamp", "now"), ("time", "25:00"), ("time", "3"), ("duration", "1:00"), ("duration", "00:60:00"),
        ("decimal(3,1)", "1.25"), ("decimal(3,1)", "100"), ("binary", "/w"), ("binary", "é"),
    ],
)  # fmt: skip
def test_a_cell_that_does_not_convert(target: str, cell: str, tmp_path: Path) -> None:
    """The first one is named by column, row, line, value and type: error 0042."""
    good = {"bool": "1", "date": "2020-01-02", "timestamp": "2020-01-02", "time": "01:00", "duration": "00:00:01"}
    cells = ["", good.get(target, "2" if target != "binary" else "AA=="), cell, cell]

    with pytest.raises(UnconvertibleCell) as refused:
        _column(tmp_path, cells, types={"c": target})

    assert refused.value.code == "0042"
    assert f"column 'c', row 2 (line 4): {cell!r} is not of type {target}" in str(refused.value)


def test_the_line_of_a_cell_counts_quoted_and_empty_lines(tmp_path: Path) -> None:
    """Rows are counted from 0 without the empty lines; lines are those of the file."""
    data = b'\n"a\n",b\n"x\ny",1\n\n\nz,no\n'

    with pytest.raises(UnconvertibleCell, match=r"column 'b', row 1 \(line 8\): 'no'"):
        read(tmp_path, data, "csv", types={"b": "int64"})


@pytest.mark.parametrize("target", ["int", "decimal", "decimal(0,0)", "decimal(77,0)", "decimal(3,4)", "Int64", ""])
def test_types_that_there_are_not(target: str, tmp_path: Path) -> None:
    """An unknown type is refused with the list of those there are."""
    with pytest.raises(BadInput, match="there is no type .*; there are int8, .*decimal"):
        _column(tmp_path, ["1"], types={"c": target})


def test_a_type_for_a_column_that_is_not_selected(tmp_path: Path) -> None:
    """It may be stated; the column is not even looked at."""
    found = read(tmp_path, b"a,b\nx,1\n", "csv", columns=("b",), types={"a": "int64"})

    assert found.to_pydict() == {"b": [1]}


def test_stated_types_of_a_table_without_rows(tmp_path: Path) -> None:
    """Columns have their stated types also when there is no cell of them."""
    targets = {"a": "int8", "b": "duration", "c": "binary", "d": "time", "e": "bool", "f": "decimal(3,1)"}

    found = read(tmp_path, b"a,b,c,d,e,f,g\n", "csv", types=targets, dates={"g": "%Y"})

    assert [str(data_type) for data_type in found.schema.types] == [
        "int8", "duration[us]", "binary", "time64[us]", "bool", "decimal128(3, 1)", "date32[day]",
    ]  # fmt: skip


# --- dates


@pytest.mark.parametrize(
    ("form", "cells", "values", "data_type"),
    [
        ("%d.%m.%Y", ["02.01.2020", "", "2.1.2020"], [dt.date(2020, 1, 2), None, dt.date(2020, 1, 2)], pa.date32()),
        ("%m/%d/%y %I:%M %p", ["01/02/20 3:04 PM"], [dt.datetime(2020, 1, 2, 15, 4)], pa.timestamp("us")),
        ("%Y%m%d%H%M%S.%f", ["20200102030405.25"], [dt.datetime(2020, 1, 2, 3, 4, 5, 250000)], pa.timestamp("us")),
        ("%Y-%m-%d %H:%M %z", ["2020-01-02 03:04 +0100"], [dt.datetime(2020, 1, 2, 2, 4)], pa.timestamp("us")),
    ],
)
def test_dates_of_a_stated_format(
    form: str, cells: list[str], values: list[Any], data_type: pa.DataType, tmp_path: Path
) -> None:
    """The format is Python's; without a time of day in it there are dates, a zone makes the time UTC."""
    found = _column(tmp_path, cells, dates={"c": form})

    assert (found.to_pylist(), found.type) == (values, data_type)


def test_a_date_that_is_not_of_the_stated_format(tmp_path: Path) -> None:
    """A day that does not exist is an error, and never another day."""
    cells = ["28.02.2020", "31.02.2020"]

    with pytest.raises(
        UnconvertibleCell, match=r"row 1 \(line 3\): '31.02.2020' is not a time of the format '%d.%m.%Y'"
    ):
        _column(tmp_path, cells, dates={"c": "%d.%m.%Y"})


@pytest.mark.parametrize("form", ["%Q", "%"])
def test_formats_that_are_none(form: str, tmp_path: Path) -> None:
    """A format that Python does not know is the format's fault, not the cell's."""
    with pytest.raises(BadInput, match="is none of Python's strptime") as refused:
        _column(tmp_path, ["1"], dates={"c": form})

    assert refused.value.code == "0018"


def test_a_column_with_a_type_and_a_date_format(tmp_path: Path) -> None:
    """Both at once contradict each other."""
    with pytest.raises(BadInput, match="column 'c' is in both options"):
        _column(tmp_path, ["1"], dates={"c": "%Y"}, types={"c": "date"})
