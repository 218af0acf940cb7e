"""The task ingest: a table in any format becomes an Arrow file, a preview and statistics."""

import datetime as dt
import decimal
import json
import statistics as python_statistics
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from generated_tables import tables
from hypothesis import HealthCheck, given, settings
from runner import preview, statistics
from runner_jobs import Done, Room
from table_jobs import done

BOUNDED = settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
D = decimal.Decimal
NAN = float("nan")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One directory for all examples."""
    return tmp_path_factory.mktemp("ingest")


def _ingested(room: Room, table: Any) -> Done:
    room.job["task"] = "ingest"
    room.give_table(1, table)
    found = room.run()
    assert (found.code, found.report["error"]) == (0, None)
    return found


def _column(room: Room, column: Any) -> dict[str, Any]:
    (found,) = _ingested(room, {"c": column}).json("statistics.json")["columns"]
    assert (found.pop("name"), bool(found.pop("type"))) == ("c", True)
    return {name: value for name, value in found.items() if value is not None}


def test_a_csv_file(room: Room) -> None:
    """Reading options apply; the result, its shape, the preview and the statistics are those of the typed table."""
    room.job["task"] = "ingest"
    room.give(1, b"zip;n;day\n007;1;2020-01-02\n;2.5;\n", "csv", delimiter=";", types={"zip": "string"})

    found = room.run()

    assert (found.code, found.log, found.warnings) == (0, "", [])
    assert found.table.to_pydict() == {"zip": ["007", None], "n": [1.0, 2.5], "day": [dt.date(2020, 1, 2), None]}
    types = {"zip": "string", "n": "double", "day": "date32[day]"}
    columns = [{"name": name, "type": data_type} for name, data_type in types.items()]
    assert found.report["output"] == {"rows": 2, "columns": columns}
    assert set(found.report["files"]) == {"result", "preview.json", "statistics.json"}
    assert found.json("preview.json") == {
        "columns": columns, "rows": [["007", 1.0, "2020-01-02"], [None, 2.5, None]], "total_rows": 2,
        "truncated": False,
    }  # fmt: skip
    told = found.json("statistics.json")
    assert (told["rows"], told["truncated"], told["bytes"] > 0) == (2, False, True)
    assert [column["distinct"] for column in told["columns"]] == [1, 2, 1]


def test_a_broken_file_leaves_nothing(room: Room) -> None:
    """A table that cannot be read is an error by name, and no file holds anything."""
    room.job["task"] = "ingest"
    room.give(1, b"PAR1 and then nothing", "parquet")

    found = room.run()

    assert (found.error["code"], found.report["files"]) == ("0018", {})
    assert [(found.outputs / name).stat().st_size for name in ("result", "preview.json", "statistics.json")] == [0] * 3


# --- statistics.json


def test_numbers(room: Room) -> None:
    """Extremes, mean and the deviation of a sample."""
    values = [1, 5, 2, 2, None]

    assert _column(room, pa.array(values, pa.int32())) == {
        "nulls": 1, "distinct": 3, "minimum": 1, "maximum": 5, "mean": 2.5,
        "standard_deviation": pytest.approx(python_statistics.stdev([1, 5, 2, 2])),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pa.array([2**62] * 4 + [None]), {"nulls": 1, "distinct": 1, "minimum": 2**62, "maximum": 2**62,
                                          "mean": float(2**62), "standard_deviation": 0.0}),
        (pa.array([2**64 - 1], pa.uint64()), {"nulls": 0, "distinct": 1, "minimum": 2**64 - 1, "maximum": 2**64 - 1,
                                              "mean": float(2**64)}),
        (pa.array([NAN, None, 1.0, -0.0, 0.0]), {"nulls": 2, "distinct": 2, "minimum": 0.0, "maximum": 1.0,
                                                 "mean": pytest.approx(1 / 3),
                                                 "standard_deviation": pytest.approx(0.5773502691896258)}),
        (pa.array([float("inf"), 1.0]), {"nulls": 0, "distinct": 2, "minimum": 1.0, "maximum": "Infinity",
                                         "mean": "Infinity"}),
        (pa.array([1.5, None], pa.float16()), {"nulls": 1, "distinct": 1, "minimum": 1.5, "maximum": 1.5, "mean": 1.5}),
        (pa.array([D("1.10"), D("-2.00")], pa.decimal32(5, 2)),
         {"nulls": 0, "distinct": 2, "minimum": "-2.00", "maximum": "1.10", "mean": pytest.approx(-0.45),
          "standard_deviation": pytest.approx(2.192031021678297)}),
        (pa.array([True, False, None, True]), {"nulls": 1, "distinct": 2, "true_count": 2}),
        (pa.array([None], pa.bool_()), {"nulls": 1, "distinct": 0, "true_count": 0}),
        (pa.array([dt.datetime(2020, 1, 2, 3), None]),
         {"nulls": 1, "distinct": 1, "minimum": "2020-01-02T03:00:00", "maximum": "2020-01-02T03:00:00"}),
        (pa.array([1, 90_061], pa.duration("s")),
         {"nulls": 0, "distinct": 2, "minimum": "00:00:01", "maximum": "1.01:01:01"}),
        (pa.array([b"x", None]), {"nulls": 1, "distinct": 1}),
        (pa.nulls(2), {"nulls": 2, "distinct": 0}),
        (pa.array([[1], None]), {"nulls": 1}),
        (pa.array(["b", "a", None, "b"]), {"nulls": 1, "distinct": 2, "minimum": "a", "maximum": "b",
                                           "top": [["b", 2], ["a", 1]]}),
        (pa.array([], pa.int64()), {"nulls": 0, "distinct": 0}),
    ],
)  # fmt: skip
def test_columns(column: pa.Array, expected: dict[str, Any], room: Room) -> None:
    """Every type has the figures that mean something for it, and null for the others."""
    assert _column(room, column) == expected


def test_categories(room: Room) -> None:
    """Only levels that are in use count, and a missing level is a missing value."""
    levels = pa.array(["unused", "b", None, "a"])
    column = pa.DictionaryArray.from_arrays(pa.array([3, 1, 1, 2, None], pa.int8()), levels)

    assert _column(room, column) == {
        "nulls": 2, "distinct": 2, "minimum": "a", "maximum": "b", "top": [["b", 2], ["a", 1]],
    }  # fmt: skip


def test_the_most_frequent_are_five(room: Room) -> None:
    """Of values that are as frequent, those that come first are told; long ones are cut."""
    found = _column(room, ["z", "y" * 300, "c", "d", "e", "f", "z"])

    assert found["top"] == [["z", 2], ["y" * 99 + "…", 1], ["c", 1], ["d", 1], ["e", 1]]
    assert (len(found["maximum"]), found["minimum"]) == (1, "c")


@pytest.mark.parametrize("count", [statistics.DISTINCT, statistics.DISTINCT + 1])
def test_distinct_values_are_counted_to_a_limit(count: int, tmp_path: Path) -> None:
    """A hundred thousand distinct values are counted exactly, one more is too many, wherever they lie."""
    column = [f"v{n % count}" for n in range(3 * count)]

    found = json.loads(statistics.statistics(pa.table({"c": column})))["columns"][0]

    assert found["distinct"] == (count if count == statistics.DISTINCT else None)


@pytest.mark.parametrize(("count", "told"), [(1000, True), (1001, False)])
def test_top_is_of_few_distinct_values(count: int, told: bool) -> None:
    """Beyond a thousand distinct values the most frequent ones mean nothing."""
    found = json.loads(statistics.statistics(pa.table({"c": [f"v{n}" for n in range(count)]})))["columns"][0]

    assert (found["top"] is not None) == told


def test_ten_thousand_columns_fit(tmp_path: Path) -> None:
    """A table of ten thousand columns with long values has the statistics of all, without the most frequent."""
    table = pa.table({f"column {n}": ["x" * 95, "y" * 95] for n in range(10_000)})

    data = statistics.statistics(table)

    found = json.loads(data)
    assert len(data) <= statistics.BYTES
    assert (found["truncated"], len(found["columns"])) == (True, 10_000)
    assert {column["top"] for column in found["columns"]} == {None}


def test_a_hundred_thousand_columns_are_cut(room: Room) -> None:
    """What does not fit is left out from the end, and both files say so."""
    table = pa.Table.from_arrays([pa.array([1])] * 100_000, names=[f"column {n}" for n in range(100_000)])

    found = _ingested(room, table)

    told, shown = found.json("statistics.json"), found.json("preview.json")
    assert (found.outputs / "statistics.json").stat().st_size <= statistics.BYTES
    assert (found.outputs / "preview.json").stat().st_size <= preview.BYTES
    assert told["truncated"]
    assert 10_000 < len(told["columns"]) < 100_000
    assert shown["truncated"]
    assert shown["rows"] == [[1] * len(shown["columns"])]


# --- preview.json


@pytest.mark.parametrize(("rows", "truncated"), [(100, False), (101, True)])
def test_a_hundred_rows_are_shown(rows: int, truncated: bool) -> None:
    """The first hundred rows, and how many there are."""
    found = json.loads(preview.preview(pa.table({"n": range(rows)})))

    assert (len(found["rows"]), found["total_rows"], found["truncated"]) == (100, rows, truncated)


def test_long_cells_are_cut(tmp_path: Path) -> None:
    """Texts, bytes and lists that are long are cut, with a mark; a cell of the size of the table costs nothing."""
    table = pa.table({
        "s": ["é" * 10**7], "b": [b"\0" * 10**7], "l": [list(range(10**6))], "short": ["…"], "ll": [[1] * 400],
    })  # fmt: skip

    found = json.loads(preview.preview(table))

    s, b, l, short, ll = found["rows"][0]  # noqa: E741
    assert (s, b, short) == ("é" * 999 + "…", "A" * 999 + "…", "…")
    assert (l.startswith("["), l.endswith("…"), len(l) <= 1000) == (True, True, True)
    assert (ll.endswith("…"), len(ll)) == (True, 1000)
    assert found["truncated"] is True


def test_fewer_rows_rather_than_more_bytes() -> None:
    """What does not fit is cut and left out until it does."""
    wide = pa.table({f"c{n}": ["x" * 500] * 200 for n in range(1000)})

    data = preview.preview(wide)

    found = json.loads(data)
    assert len(data) <= preview.BYTES
    assert (len(found["columns"]), found["total_rows"], found["truncated"]) == (1000, 200, True)
    assert 0 < len(found["rows"]) < 100
    assert found["rows"][0][0].endswith("…")


def test_cells_are_those_of_json(room: Room) -> None:
    """Cells are as in the JSON format; what that refuses is text."""
    zoned = pa.array([0], pa.timestamp("us", "Europe/Paris"))
    complex_numbers = pa.struct([("real", pa.float64()), ("imag", pa.float64())])
    table = {
        "i": [2**63 - 1], "d": [D("1.10")], "inf": [float("-inf")], "nan": [NAN], "t": zoned, "b": [b"\xff"],
        "s": [{"a": [None]}], "m": pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int64())),
        "far": pa.array([2**40], pa.timestamp("s")), "far list": pa.array([[2**62]], pa.list_(pa.timestamp("us"))),
        "c": [{"real": 1.5, "imag": -2.0}], "no": pa.array([None], complex_numbers),
    }  # fmt: skip

    (row,) = _ingested(room, table).json("preview.json")["rows"]

    assert row[:8] == [
        2**63 - 1, "1.10", "-Infinity", None, "1970-01-01T00:00:00", "/w==", {"a": [None]}, [["k", 1]],
    ]  # fmt: skip
    assert "1099511627776" in row[8]
    assert "4611686018427387904" in row[9]
    assert row[10:] == ["(1.5-2j)", None]


@BOUNDED
@given(table=tables())
def test_any_table_has_a_preview_and_statistics(table: pa.Table, place: Path) -> None:
    """Whatever a table holds, both files are valid JSON, and count its rows and missing values."""
    done(place, "ingest", [table], ["arrow"])

    shown, told = (json.loads((place / name).read_bytes(), parse_constant=_refuse) for name in
                   ("preview.json", "statistics.json"))  # fmt: skip
    assert shown["total_rows"] == told["rows"] == table.num_rows
    assert len(shown["rows"]) == (table.num_rows if table.num_columns else 0)
    for place_of, column in enumerate(told["columns"]):
        missing = sum(row[place_of] is None for row in shown["rows"])
        assert column["nulls"] <= missing or "double" not in column["type"]


def _refuse(constant: str) -> None:
    raise ValueError(constant)
