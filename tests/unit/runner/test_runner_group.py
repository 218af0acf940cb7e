"""The task group: rows with one value beside each other."""

import datetime as dt
import decimal
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from generated_tables import LEAVES, columns
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from runner import group
from runner_jobs import Room
from table_jobs import done, result

BOUNDED = settings(
    max_examples=100,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
NAN = float("nan")
KEYS: dict[str, tuple[pa.DataType, st.SearchStrategy[Any]]] = {
    "bool": (pa.bool_(), st.booleans()),
    "int8": (pa.int8(), st.integers(-2, 2)),
    "uint64": (pa.uint64(), st.sampled_from([0, 2**53, 2**53 + 1, 2**64 - 1])),
    "float16": (pa.float16(), st.sampled_from([0.0, -0.0, 1.5, NAN])),
    "float64": (pa.float64(), st.sampled_from([0.0, -0.0, 1.5, NAN, float("inf")])),
    "string": (pa.string(), st.sampled_from(["", "a", "A", "ü"])),
    "binary": (pa.binary(), st.sampled_from([b"", b"\xff"])),
    "decimal32": (pa.decimal32(5, 2), st.sampled_from([decimal.Decimal("1.10"), decimal.Decimal("-2.00")])),
    "date": (pa.date32(), st.sampled_from([dt.date(1, 1, 1), dt.date(2020, 1, 2)])),
    "timestamp": (pa.timestamp("ns"), st.sampled_from([0, 1, 10**9])),
    "duration": (pa.duration("us"), st.sampled_from([0, 1])),
    "null": (pa.null(), st.nothing()),
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One directory for all examples."""
    return tmp_path_factory.mktemp("group")


def _groups(place: Path) -> list[dict[str, Any]]:
    return json.loads((place / "groups.json").read_bytes())


def _in_chunks(column: pa.Array, cut: int) -> pa.ChunkedArray:
    return pa.chunked_array([column.slice(0, cut), column.slice(cut)])


@BOUNDED
@given(data=st.data())
@pytest.mark.parametrize("categories", [False, True])
@pytest.mark.parametrize("key", KEYS)
def test_groups_are_those_of_pandas(key: str, categories: bool, data: st.DataObject, place: Path) -> None:
    """Rows, order and sizes of the groups are what groupby gives, missing values being a group, too."""
    data_type, values = KEYS[key]
    found = data.draw(st.lists(st.none() | values, max_size=12))
    column = pa.array(found, data_type)
    if categories and key not in ("float16", "decimal32", "null"):
        column = column.dictionary_encode()
    cut = data.draw(st.integers(0, len(found)))
    table = pa.table({"k": _in_chunks(column, cut), "row": _in_chunks(pa.array(range(len(found))), cut)})

    report = done(place, "group", [table], ["arrow"], group_by="k")

    # Numbers stand for the values of a group, so that pandas changes none of them.
    known = [repr(0.0 if value == 0 and "float" in key else value) for value in found]
    frame = pd.DataFrame({"k": ["missing" if text in ("nan", "None") else text for text in known]})
    expected = [list(rows) for rows in frame.groupby("k", sort=False, dropna=False).indices.values()]
    expected.sort(key=lambda rows: rows[0])
    groups = _groups(place)
    rows = result(place)["row"].to_pylist()
    assert [rows[g["offset"] : g["offset"] + g["rows"]] for g in groups] == expected
    assert sum(g["rows"] for g in groups) == len(rows) == len(found) == report.outputs[1].rows
    missing = [g for g in groups if g["value"] is None]
    assert len(missing) == ("missing" in set(frame["k"]))


@BOUNDED
@given(data=st.data())
def test_all_columns_follow(data: st.DataObject, place: Path) -> None:
    """Columns of every type are put in the new order, and keep their type."""
    rows = data.draw(st.integers(0, 6))
    column = data.draw(columns(rows))
    keys = data.draw(st.lists(st.integers(0, 2), min_size=rows, max_size=rows))
    table = pa.table({"k": pa.array(keys, pa.int64()), "v": column})
    done(place, "convert", [table], ["arrow"])
    plain = result(place).combine_chunks()
    order = sorted(range(rows), key=lambda row: keys.index(keys[row]))

    done(place, "group", [table], ["arrow"], group_by="k")

    found = result(place)
    assert found.schema.equals(plain.schema)
    for row, before in enumerate(order):
        one, other = found["v"].slice(row, 1), plain["v"].slice(before, 1)
        assert one.combine_chunks().to_string() == other.combine_chunks().to_string()


def test_every_type_of_single_values_makes_groups(place: Path) -> None:
    """There is no type of a single value whose column is refused."""
    for data_type in (*LEAVES, pa.null()):
        table = pa.table({"k": pa.nulls(2, data_type)})

        done(place, "group", [table], ["arrow"], group_by="k")

        assert _groups(place) == [{"value": None, "offset": 0, "rows": 2}], data_type


def test_a_group_job(room: Room) -> None:
    """Values come as in JSON, groups in the order of their first rows, in every format that was asked for."""
    room.job |= {"task": "group", "group_by": "day"}
    days = [dt.date(2020, 1, 2), None, dt.date(2020, 1, 1), dt.date(2020, 1, 2)]
    room.give_table(1, {"n": [1, 2, 3, 4], "day": days})
    room.also("csv")

    done = room.run()

    assert (done.code, done.report["error"], done.log) == (0, None, "")
    assert done.json("groups.json") == [
        {"value": "2020-01-02", "offset": 0, "rows": 2},
        {"value": None, "offset": 2, "rows": 1},
        {"value": "2020-01-01", "offset": 3, "rows": 1},
    ]
    assert done.table["n"].to_pylist() == [1, 4, 2, 3]
    text = (done.outputs / "result.csv").read_text()
    assert text.splitlines() == ['"n","day"', '1,"2020-01-02"', '4,"2020-01-02"', "2,", '3,"2020-01-01"']
    assert done.report["inputs"][0]["rows"] == done.report["output"]["rows"] == 4


def test_a_table_without_rows(room: Room) -> None:
    """No rows, no groups; the categories keep their levels."""
    room.job |= {"task": "group", "group_by": "k"}
    room.give_table(1, {"k": pa.DictionaryArray.from_arrays(pa.array([], pa.int8()), pa.array(["a", "b"]))})

    done = room.run()

    assert (done.json("groups.json"), done.table.num_rows) == ([], 0)


def test_values_that_json_refuses_are_text(room: Room) -> None:
    """Times beyond the year 9999 make groups, and are told as Arrow tells them."""
    room.job |= {"task": "group", "group_by": "t"}
    room.give_table(1, {"t": pa.array([2**40, 0, 2**40], pa.timestamp("s"))})

    values = [found["value"] for found in room.run().json("groups.json")]

    assert len(values) == 2
    assert "1099511627776" in values[0]


def test_many_batches(tmp_path: Path) -> None:
    """Rows beyond one batch lie where the groups say."""
    rows = 3 * group._BATCH_ROWS + 5
    table = pa.table({"k": [n % 7 for n in range(rows)], "n": range(rows)})

    done(tmp_path, "group", [table], ["arrow"], group_by="k")

    assert result(tmp_path)["n"].to_pylist() == [n for k in range(7) for n in range(k, rows, 7)]


@pytest.mark.parametrize(("groups", "code"), [(group.MAX_GROUPS, None), (group.MAX_GROUPS + 1, "0018")])
def test_the_limit_of_groups(groups: int, code: str | None, room: Room) -> None:
    """Ten thousand groups are made; one more is an error with both numbers."""
    room.job |= {"task": "group", "group_by": "k"}
    room.give_table(1, {"k": pa.array(range(groups))})

    done = room.run()

    assert (done.report["error"] or {}).get("code") == code
    if code:
        assert "column 'k' makes 10001 groups; the limit is 10000 groups" in done.error["message"]
        assert (done.outputs / "groups.json").read_bytes() == b""
    else:
        assert len(done.json("groups.json")) == groups


@pytest.mark.parametrize("size", [2_900_000, 30_000_000])
def test_the_limit_of_their_bytes(size: int, room: Room) -> None:
    """Values that would make groups.json too large are refused, by both numbers; none is cut."""
    room.job |= {"task": "group", "group_by": "k"}
    room.give_table(1, {"k": ["a" * size, "b" * size, "c" * size]})

    done = room.run()

    assert done.error["code"] == "0018"
    assert "makes 3 groups, and their values take more than 8388608 bytes" in done.error["message"]


@pytest.mark.parametrize(
    ("column", "name", "code", "words"),
    [
        (pa.array([1]), "x", "0001", "column 'x', but the table has the columns 'k'"),
        (pa.array([[1]]), "k", "0017", "column 'k' is of the type list<"),
        (pa.array([{"real": 1.0, "imag": 2.0}]), "k", "0017", "groups are made of single values"),
    ],
)
def test_columns_that_make_no_groups(column: pa.Array, name: str, code: str, words: str, room: Room) -> None:
    """An unknown column, and one of nested values, are errors with their codes."""
    room.job |= {"task": "group", "group_by": name}
    room.give_table(1, {"k": column})

    done = room.run()

    assert (done.error["code"], done.report["reason"]) == (code, "bad_input")
    assert words in done.error["message"]
