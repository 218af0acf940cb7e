"""JSON: lists of objects, and tables in the shape of Azure ML's web services, in and out."""

import datetime as dt
import decimal
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from runner.failure import BadInput, UnconvertibleCell
from runner_jobs import Noted
from table_files import read, written

D = decimal.Decimal


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        pytest.param('[{"a":1,"b":"x"},{"b":null}]', {"a": [1, None], "b": ["x", None]}, id="absent-is-missing"),
        pytest.param('[{},{"a":1},{"b":true}]', {"a": [None, 1, None], "b": [None, None, True]}, id="keys-come-later"),
        pytest.param('[{"a":1},{"a":2.5}]', {"a": [1.0, 2.5]}, id="numbers"),
        pytest.param('[{"a":1.5},{"a":"-Infinity"}]', {"a": [1.5, float("-inf")]}, id="T12-infinite"),
        pytest.param('[{"a":"NA"},{"a":""}]', {"a": ["NA", ""]}, id="T05-text"),
        pytest.param('[{"a":"Infinity"},{"a":"1"}]', {"a": ["Infinity", "1"]}, id="text-that-looks-like-numbers"),
        pytest.param('[{"a":"2020-01-02"}]', {"a": ["2020-01-02"]}, id="text-that-looks-like-a-date"),
        pytest.param('[{"a":9007199254740993}]', {"a": [9007199254740993]}, id="exact-int"),
        pytest.param('[{"a":9223372036854775808},{"a":0}]', {"a": [2**63, 0]}, id="exact-unsigned"),
        pytest.param('[{"a":18446744073709551616},{"a":-1}]', {"a": [D(2**64), D(-1)]}, id="exact-beyond-64-bits"),
        pytest.param(f'[{{"a":{"9" * 76}}}]', {"a": [D("9" * 76)]}, id="exact-76-digits"),
        pytest.param('[{"a":0.1000000000000000000},{"a":1e3}]', {"a": [0.1, 1000.0]}, id="zeros-are-no-digits"),
        pytest.param('\ufeff [{"a":"日本🙂"}] ', {"a": ["日本🙂"]}, id="T19-mark"),
        pytest.param('[{"a":[1,2]}]', {"a": [[1, 2]]}, id="list"),
        pytest.param('[{"a":{"b":[0.5,null]}}]', {"a": [{"b": [0.5, None]}]}, id="nested"),
        pytest.param('[{"a":null}]', {"a": [None]}, id="missing-of-no-type"),
        pytest.param("[]", {}, id="no-rows"),
    ],
)
def test_json_reading(text: str, columns: dict[str, list[Any]], tmp_path: Path, noted: Noted) -> None:
    """A list of objects; a key that is not there is a missing value; numbers are exact, text stays text."""
    found = read(tmp_path, text.encode(), "json", noted)

    assert found.to_pydict() == columns
    assert noted.messages == []


@pytest.mark.parametrize(
    ("text", "values", "example"),
    [
        ('[{"a":0.1234567890123456789}]', [0.12345678901234568], "0.1234567890123456789"),
        ('[{"a":9007199254740993},{"a":0.5}]', [2.0**53, 0.5], "9007199254740993"),
        ('[{"a":[0.1234567890123456789]}]', [[0.12345678901234568]], "0.1234567890123456789"),
    ],
)
def test_json_numbers_that_lose_digits(
    text: str, values: list[Any], example: str, tmp_path: Path, noted: Noted
) -> None:
    """A number that floating point cannot tell is rounded, with a warning that names column and number."""
    found = read(tmp_path, text.encode(), "json", noted)

    assert found.column("a").to_pylist() == values
    assert noted.codes == ["precision_lost"]
    assert "column 'a'" in noted.messages[0][1]
    assert example in noted.messages[0][1]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("3", "line 1, column 1: a list of objects .* or an object with ColumnNames"),
        ("", "the file is empty"),
        (" ", "a list of objects"),
        ('{"a":1}', "'a' is no part of a table"),
        ("[1]", "row 0 must be an object, not a int"),
        ('[{"a":1},{"a":"x"}]', r"column 'a' .*int \(row 0\), str \(row 1\)"),
        ('[{"a":1},{"a":true}]', r"column 'a' .*int \(row 0\), bool \(row 1\)"),
        ('[{"a":1},{"a":[1]}]', r"column 'a' .*int \(row 0\), list \(row 1\)"),
        ('[{},{"a":1,\n"a":2}]', "row 1: line 1, column 5: an object holds the key 'a' twice"),
        ('[{"a":1', "row 0: line 1, column 8: Expecting ',' delimiter"),
        ('[{"a":1}', "line 1, column 9: ',' or ']' is expected"),
        ('[{"a":1},]', "row 1: line 1, column 10: a value is expected"),
        ('[{"a":1}] x', "something follows the end"),
        ('[{"a":NaN}]', "row 0: .*NaN is no JSON"),
        ('[{"a":-Infinity}]', "-Infinity is no JSON"),
        ('[{"a":1e400}]', "the number '1e400' is beyond the range"),
        ('[{"a":-1e-400}]', "the number '-1e-400' is beyond the range"),
        (f'[{{"a":{"9" * 77}}}]', "column 'a', row 0: a number of 77 digits is too long"),
        (f'[{{"a":{"9" * 5000}}}]', "has 5000 digits, which is too many"),
        ('[{"a":' + "[" * 500 + "]" * 500 + "}]", "column 'a', row 0 is nested more than 3 deep"),
        ('[{"a":' + "[" * 100_000, "row 0: line 1, column 2: it is nested too deeply"),
        ("[" * 100_000, "nested too deeply|must be an object"),
        ("\xff", "byte 0 .* is not UTF-8"),
    ],
    ids=lambda value: value[:24] if isinstance(value, str) else "",
)
def test_json_that_is_no_table(text: str, words: str, tmp_path: Path) -> None:
    """What is no list of objects of one kind is refused, naming the row, the column or the place in the text."""
    with pytest.raises(BadInput, match=words):
        read(tmp_path, text.encode("latin-1"), "json")


def test_json_text_that_is_no_unicode(tmp_path: Path, noted: Noted) -> None:
    """Lone surrogates, which JSON can hold and no table can, are replaced with a warning; in names, too."""
    found = read(tmp_path, b'[{"a\\ud800":"x\\udfff"},{"a\\ud800":null}]', "json", noted)

    assert found.to_pydict() == {"a?": ["x?", None]}
    assert noted.codes == ["surrogates_replaced"]


def test_json_options(tmp_path: Path) -> None:
    """Encoding, missing texts, types and dates can be stated as for CSV; types see the digits as written."""
    rows = '[{"n":"NA","d":0.1234567890123456789,"t":"02.01.2020","s":1},{"n":7,"s":1.5},{"s":true}]'

    found = read(
        tmp_path, rows.encode("utf-16"), "json", encoding="utf-16", missing=("NA",), dates={"t": "%d.%m.%Y"},
        types={"d": "decimal(20,19)", "s": "string"},
    )  # fmt: skip

    assert found.to_pydict() == {
        "n": [None, 7, None],
        "d": [D("0.1234567890123456789"), None, None],
        "t": [dt.date(2020, 1, 2), None, None],
        "s": ["1", "1.5", "true"],
    }


def test_a_list_of_nothing_has_the_columns_that_were_named(tmp_path: Path) -> None:
    """Objects tell which columns there are; without any, the options do."""
    found = [
        read(tmp_path, b"[]", "json", **options)
        for options in ({"types": {"a": "int8"}, "dates": {"b": "%Y"}}, {"columns": ("b", "a"), "types": {"a": "int8"}})
    ]

    assert [table.schema.types for table in found] == [[pa.int8(), pa.date32()], [pa.null(), pa.int8()]]
    assert [table.column_names for table in found] == [["a", "b"], ["b", "a"]]


@pytest.mark.parametrize(("cell", "shown"), [('"x"', "'x'"), ("1.5", "'1.5'"), ("[1]", r"\[1\]"), ("{}", "{}")])
def test_json_cells_that_do_not_convert(cell: str, shown: str, tmp_path: Path) -> None:
    """Error 0042 names column, row and value."""
    with pytest.raises(UnconvertibleCell, match=f"column 'a', row 1: {shown} is not"):
        read(tmp_path, f'[{{"a":1}},{{"a":{cell}}}]'.encode(), "json", types={"a": "int8"})


def test_a_long_column_that_changes_its_mind(tmp_path: Path) -> None:
    """Whole numbers that were packed already become floating point when a fraction follows much later."""
    cells = [*range(70_000), 0.5, None, "Infinity"]
    rows = [{"a": cell, "late": "x"} if row > 69_000 else {"a": cell} for row, cell in enumerate(cells)]

    found = read(tmp_path, json.dumps(rows).encode(), "json")

    assert found.column("a").to_pylist() == [*map(float, range(70_000)), 0.5, None, float("inf")]
    assert found.column("late").null_count == 69_001


def test_json_is_not_held_as_python_values(tmp_path: Path) -> None:
    """Plain columns are packed while they are read: there are never as many Python values as cells."""
    data = json.dumps([{"a": n, "b": "text"} for n in range(70_000)]).encode()

    found = read(tmp_path, data, "json")

    assert [column.num_chunks for column in found.columns] == [2, 2]
    assert found.column("a").to_pylist() == list(range(70_000))


def test_json_writing(tmp_path: Path) -> None:
    """Missing is null, infinities and decimals are text, integers are exact, times are ISO 8601."""
    table = pa.table(
        {
            "i": pa.array([2**64 - 1, None], pa.uint64()),
            "f": [float("inf"), float("nan")],
            "t": pa.array([1, None], pa.timestamp("ms")),
            "d": pa.array([86_400, None], pa.duration("s")),
            "m": pa.array([D("0.0000000001"), None]),
            "b": [b"\xff", None],
            "n": [{"x": [float("-inf"), None], "y": dt.timedelta(1), "z": D("1E-10")}, None],
            "s": ["é\x00", ""],
        }
    )

    rows = json.loads(written(tmp_path, table, "json"))

    assert rows == [
        {
            "i": 2**64 - 1,
            "f": "Infinity",
            "t": "1970-01-01T00:00:00.001",
            "d": "1.00:00:00",
            "m": "0.0000000001",
            "b": "/w==",
            "n": {"x": ["-Infinity", None], "y": "1.00:00:00", "z": "0.0000000001"},
            "s": "é\x00",
        },
        {"i": None, "f": None, "t": None, "d": None, "m": None, "b": None, "n": None, "s": ""},
    ]


@pytest.mark.parametrize("form", ["json", "azure_json"])
def test_json_of_many_rows(form: str, tmp_path: Path) -> None:
    """Rows written in several portions are one list."""
    table = pa.table({"a": list(range(20_000))})

    assert read(tmp_path, written(tmp_path, table, form), form).equals(table)


# --- the shape of Azure ML's web services


def _azure(**parts: Any) -> bytes:
    return json.dumps(parts).encode()


@pytest.mark.parametrize("form", ["json", "azure_json"])
@pytest.mark.parametrize("wrapped", [False, True])
def test_azure_tables_are_read(wrapped: bool, form: str, tmp_path: Path) -> None:
    """A table in this shape is recognised, bare or as the value of an answer; null is missing."""
    table = {"ColumnNames": ["a", "b"], "Values": [["1", "x"], ["2", None]]}
    data = _azure(type="table", value=table) if wrapped else _azure(**table)

    assert read(tmp_path, data, form).to_pydict() == {"a": [1, 2], "b": ["x", None]}


def test_azure_values_may_come_before_the_names(tmp_path: Path) -> None:
    """The order of the parts is free, and names are made distinct."""
    data = _azure(Values=[[1, 2, 3]], ColumnTypes=None, ColumnNames=["a", "a", ""])

    assert read(tmp_path, data, "azure_json").to_pydict() == {"a": [1], "a (2)": [2], "Col3": [3]}


@pytest.mark.parametrize(
    ("stated", "values", "cells", "data_type"),
    [
        ("Boolean", ["True", "False", None, True], [True, False, None, True], pa.bool_()),
        ("Byte", ["255"], [255], pa.uint8()),
        ("SByte", [-1], [-1], pa.int8()),
        ("Int16", ["-5"], [-5], pa.int16()),
        ("UInt16", ["5"], [5], pa.uint16()),
        ("Int32", ["5", 6], [5, 6], pa.int32()),
        ("UInt32", ["5"], [5], pa.uint32()),
        ("Int64", ["9223372036854775807"], [2**63 - 1], pa.int64()),
        ("UInt64", ["18446744073709551615"], [2**64 - 1], pa.uint64()),
        ("Single", ["0.5"], [0.5], pa.float32()),
        ("Double", ["29.4621959870899", "-Infinity", 1e300], [29.4621959870899, float("-inf"), 1e300], pa.float64()),
        ("Decimal", ["1.10", "-20"], [D("1.10"), D("-20.00")], pa.decimal128(4, 2)),
        ("String", ["007", 1.5, True], ["007", "1.5", "true"], pa.string()),
        ("Guid", ["6f9619ff"], ["6f9619ff"], pa.string()),
        ("DateTime", ["2010-05-30T18:08:00"], [dt.datetime(2010, 5, 30, 18, 8)], pa.timestamp("s")),
        ("DateTime", ["5/30/2010 6:08:00 PM"], [dt.datetime(2010, 5, 30, 18, 8)], pa.timestamp("us")),
        ("DateTimeOffset", ["2010-05-30T18:08:00+02:00"], [dt.datetime(2010, 5, 30, 16, 8)], pa.timestamp("s")),
        ("TimeSpan", ["-1.02:03:04.5"], [-dt.timedelta(1, 7384, 500000)], pa.duration("us")),
        ("Byte[]", ["/wA="], [b"\xff\0"], pa.binary()),
        ("Numeric", ["1.5"], [1.5], pa.float64()),
    ],
)
def test_azure_types(stated: str, values: list[Any], cells: list[Any], data_type: pa.DataType, tmp_path: Path) -> None:
    """ColumnTypes decide what the values become."""
    data = _azure(ColumnNames=["c"], ColumnTypes=[stated], Values=[[value] for value in values])

    found = read(tmp_path, data, "azure_json").column("c")

    assert (found.to_pylist(), found.type) == (cells, data_type)


@pytest.mark.parametrize(
    ("values", "cells", "codes"),
    [
        ([1, 2.5], [1.0, 2.5], []),
        (["1", 2], [1, 2], []),
        (["007", 2], ["007", "2"], ["kept_as_text"]),
        (["2020-01-02", None], [dt.date(2020, 1, 2), None], []),
        (["18446744073709551616"], ["18446744073709551616"], ["kept_as_text"]),
        ([True, "false"], [True, False], []),
        ([0.1234567890123456, "x"], ["0.1234567890123456", "x"], []),
        (["", "1"], ["", "1"], []),
    ],
)
def test_azure_values_without_types(
    values: list[Any], cells: list[Any], codes: list[str], tmp_path: Path, noted: Noted
) -> None:
    """JSON's own scalars are what they are; a column with text in it is read as CSV is."""
    data = _azure(ColumnNames=["c"], Values=[[value] for value in values])

    found = read(tmp_path, data, "azure_json", noted)

    assert found.column("c").to_pylist() == cells
    assert noted.codes == codes


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"Values": []}, "ColumnNames is missing"),
        ({"ColumnNames": ["a"]}, "Values is missing"),
        ({"ColumnNames": "a", "Values": []}, "ColumnNames must be a list of texts"),
        ({"ColumnNames": ["a", 1], "Values": []}, "ColumnNames must be a list of texts"),
        ({"ColumnNames": ["a"], "Values": [["1"], ["1", "2"]]}, "row 1 of Values has 2 values; 1 are expected"),
        ({"Values": [["1"], []], "ColumnNames": ["a"]}, "row 1 of Values has 0 values; 1 are expected"),
        ({"Values": [["1"]], "ColumnNames": ["a", "b"]}, "ColumnNames has 2 entries, and the rows of Values have 1"),
        ({"ColumnNames": ["a"], "ColumnTypes": [], "Values": []}, "ColumnTypes has 0 entries"),
        ({"ColumnNames": ["a"], "ColumnTypes": ["Int"], "Values": [["1"]]}, "'a': ColumnTypes names 'Int'; there are"),
        ({"ColumnNames": ["a"], "Values": [{"a": 1}]}, "row 0 of Values must be a list, not a dict"),
        ({"ColumnNames": ["a"], "Values": [[[1]]]}, "column 'a' holds lists or objects"),
        ({"ColumnNames": ["a"], "Values": [["x"], [{}]]}, "column 'a', row 1: {} is not one value"),
        ({"ColumnNames": ["a"], "Values": [], "More": 1}, "'More' is no part of a table"),
        ({"type": "table", "value": {"type": "table", "value": {}}}, "'value' is no part of a table"),
    ],
)
def test_azure_shapes_that_do_not_fit(parts: dict[str, Any], words: str, tmp_path: Path) -> None:
    """What is missing, ragged or unknown is named, with its row."""
    with pytest.raises(BadInput, match=words):
        read(tmp_path, _azure(**parts), "azure_json")


def test_azure_parts_that_come_twice(tmp_path: Path) -> None:
    """A part that comes twice is refused: nobody can tell which one is meant."""
    with pytest.raises(BadInput, match="the key 'Values' comes twice"):
        read(tmp_path, b'{"ColumnNames":["a"],"Values":[["1"]],"Values":[["2"]]}', "json")


def test_records_are_no_azure_table(tmp_path: Path) -> None:
    """The format azure_json demands the shape."""
    with pytest.raises(BadInput, match="as azure_json: line 1, column 1: '{' is expected"):
        read(tmp_path, b'[{"a":1}]', "azure_json")


@pytest.mark.parametrize("stated", ["Int32", "Double", "Boolean", "DateTime", "TimeSpan", "Byte[]", "Decimal"])
def test_azure_values_that_do_not_convert(stated: str, tmp_path: Path) -> None:
    """Error 0042 names column, row and value."""
    data = _azure(ColumnNames=["a"], ColumnTypes=[stated], Values=[[None], ["n/a"]])

    with pytest.raises(UnconvertibleCell, match="column 'a', row 1: 'n/a' is not of type"):
        read(tmp_path, data, "azure_json")


def test_azure_writing(tmp_path: Path) -> None:
    """Every value is a text or null, and ColumnTypes says what it was."""
    table = pa.table(
        {
            "bool": [True, None],
            "int8": pa.array([1, None], pa.int8()),
            "uint64": pa.array([2**64 - 1, None], pa.uint64()),
            "double": [0.1 + 0.2, 1.0],
            "inf": [float("-inf"), float("nan")],
            "decimal": [D("1.10"), None],
            "string": ['é"', ""],
            "moment": pa.array([dt.datetime(2020, 1, 2, 3, 4, 5), None], pa.timestamp("us")),
            "date": [dt.date(2020, 1, 2), None],
            "span": [dt.timedelta(1, 1), None],
            "time": [dt.time(3, 4, 5, 600000), None],
            "bytes": [b"\xff", None],
            "level": pa.DictionaryArray.from_arrays([1, None], ["x", "y"]),
            "list": [[1, None], None],
        }
    )

    found = json.loads(written(tmp_path, table, "azure_json"))

    assert dict(zip(found["ColumnNames"], zip(found["ColumnTypes"], *found["Values"], strict=True), strict=True)) == {
        "bool": ("Boolean", "True", None),
        "int8": ("Int16", "1", None),
        "uint64": ("UInt64", "18446744073709551615", None),
        "double": ("Double", "0.30000000000000004", "1"),
        "inf": ("Double", "-Infinity", None),
        "decimal": ("Decimal", "1.10", None),
        "string": ("String", 'é"', ""),
        "moment": ("DateTime", "2020-01-02T03:04:05", None),
        "date": ("DateTime", "2020-01-02T00:00:00", None),
        "span": ("TimeSpan", "1.00:00:01", None),
        "time": ("TimeSpan", "03:04:05.600000", None),
        "bytes": ("Byte[]", "/w==", None),
        "level": ("String", "y", None),
        "list": ("String", "[1, null]", None),
    }
