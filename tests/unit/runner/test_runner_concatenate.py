"""The task concatenate: many tables, one after the other."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from generated_tables import columns
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from runner import kinds
from runner.concatenate import _BATCH_ROWS
from runner.failure import UnsupportedValue
from runner_jobs import Room, arrow_bytes
from table_files import read, written
from table_jobs import done, result

BOUNDED = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One directory for all examples."""
    return tmp_path_factory.mktemp("concatenate")


def _categories(*values: Any, levels: list[Any], ordered: bool = False, index: Any = None) -> pa.Array:
    indices = pa.array([None if value is None else levels.index(value) for value in values], index or pa.int8())
    return pa.DictionaryArray.from_arrays(indices, pa.array(levels), ordered=ordered)


@st.composite
def cut_tables(draw: st.DrawFn) -> list[pa.Table]:
    """A table of any columns, cut into parts."""
    rows = draw(st.integers(0, 6))
    found = draw(st.lists(columns(rows), min_size=1, max_size=4))
    whole = pa.Table.from_arrays(found, names=[f"c{n}" for n in range(len(found))])
    places = sorted(draw(st.lists(st.integers(0, rows), max_size=4)))
    return [whole.slice(a, b - a) for a, b in zip([0, *places], [*places, rows], strict=True)]


@BOUNDED
@given(parts=cut_tables())
def test_the_result_is_that_of_concat_tables(parts: list[pa.Table], place: Path) -> None:
    """Whatever the columns hold, and wherever a table is cut: its parts, concatenated, are the table again."""
    expected = read(place, written(place, pa.concat_tables(parts).combine_chunks(), "arrow"), "arrow")

    report = done(place, "concatenate", parts, ["arrow"])

    found = result(place)
    assert found.schema.equals(expected.schema)
    assert _plain(found) == _plain(expected)
    assert report.outputs[1].rows == expected.num_rows


def _plain(table: pa.Table) -> list[str]:
    """What the columns hold, as texts: NaN differs from itself, and Python does not reach every time."""
    columns = [kinds.decoded(c) if pa.types.is_dictionary(c.type) else c for c in table.columns]
    return [column.combine_chunks().to_string(window=1000) for column in columns]


@BOUNDED
@given(
    parts=st.lists(
        st.lists(st.tuples(st.none() | st.integers(-(2**63), 2**63 - 1), st.sampled_from(["", "x", "ü", None]),
                           st.none() | st.integers(0, 10**15)), max_size=4),
        min_size=1, max_size=4,
    )
)  # fmt: skip
@pytest.mark.parametrize("form", ["parquet", "csv", "tsv", "json", "azure_json", "arrow_stream"])
def test_every_format_has_the_rows_of_all(form: str, parts: list[list[tuple[Any, ...]]], place: Path) -> None:
    """Each format holds what it would hold if the whole table were converted; times have their decimals alike."""
    types = [pa.int64(), pa.string(), pa.timestamp("us")]
    tables = [
        pa.table([pa.array([row[n] for row in rows], t) for n, t in enumerate(types)], names=["n", "s", "t"])
        for rows in parts
    ]
    whole = pa.concat_tables(tables)

    report = done(place, "concatenate", tables, [form])

    data = (place / form).read_bytes()
    assert report.files == {form: len(data)}
    if form in ("csv", "tsv"):
        assert data == written(place, whole, form)
    elif form.endswith("json"):
        assert json.loads(data) == json.loads(written(place, whole, form))
    else:
        found, expected = (read(place, each, form).to_pydict() for each in (data, written(place, whole, form)))
        assert found == expected


def test_parts_through_the_process(room: Room) -> None:
    """Empty tables without columns are skipped, levels are united, and the report has the shape of the whole."""
    room.job["task"] = "concatenate"
    room.give_part(1, pa.table({}))
    room.give_part(2, pa.table({"a": [1, 2], "k": _categories("x", "y", levels=["x", "y"])}))
    room.give_part(3, pa.table({"a": pa.array([], pa.int64()), "k": _categories(levels=["x"])}))
    room.give_part(4, pa.table({"a": [3, None], "k": _categories("z", None, levels=["z", "y"])}))
    room.also("csv")

    done = room.run()

    assert (done.code, done.report["error"], done.log, done.warnings) == (0, None, "", [])
    assert done.table.to_pydict() == {"a": [1, 2, 3, None], "k": ["x", "y", "z", None]}
    assert done.table["k"].chunk(0).dictionary.to_pylist() == ["x", "y", "z"]
    assert (done.outputs / "result.csv").read_text() == '"a","k"\n1,"x"\n2,"y"\n3,"z"\n,\n'
    assert done.report["output"] == {
        "rows": 4,
        "columns": [
            {"name": "a", "type": "int64"},
            {"name": "k", "type": "dictionary<values=string, indices=int8, ordered=0>"},
        ],
    }
    assert done.report["inputs"] == []


def test_only_empty_tables(room: Room) -> None:
    """Tables without a column, and nothing else, make a table without a column."""
    room.job["task"] = "concatenate"
    for number in range(3):
        room.give_part(number, pa.table({}))
    for form in ("csv", "json", "parquet"):
        room.also(form)

    done = room.run()

    assert (done.code, done.table.shape) == (0, (0, 0))
    assert done.report["output"] == {"rows": 0, "columns": []}
    assert (done.outputs / "result.json").read_text() == "[]\n"


def test_ten_thousand_small_tables_become_few_batches(room: Room) -> None:
    """As many tables as may be, of a row each, are one file that is quickly read."""
    room.job["task"] = "concatenate"
    for number in range(10_000):
        room.give_part(number, pa.table({"n": [number], "s": [str(number)]}))

    done = room.run()

    assert done.code == 0, done.report
    assert done.table["n"].to_pylist() == list(range(10_000))
    assert done.table["n"].num_chunks == 1


def test_large_tables_are_written_as_they_are(tmp_path: Path) -> None:
    """A table that fills a batch is not put together with others."""
    large, small = pa.table({"n": range(_BATCH_ROWS)}), pa.table({"n": [1]})

    done(tmp_path, "concatenate", [small, small, large, small], ["arrow"])

    assert [len(chunk) for chunk in result(tmp_path)["n"].chunks] == [_BATCH_ROWS + 2, 1]


def test_memory_stays_near_that_of_one_part(tmp_path: Path) -> None:
    """Forty parts, compressed so that reading must unpack them, never lie in memory together."""
    part = pa.table({"n": pa.array(range(100_000)), "s": pa.array([f"row {n}" for n in range(100_000)])})
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    packed = arrow_bytes(part, lambda file, schema: pa.ipc.new_file(file, schema, options=options))
    before, pool = pa.default_memory_pool(), pa.system_memory_pool()
    pa.set_memory_pool(pool)
    try:
        done(tmp_path, "concatenate", [packed] * 40, ["arrow"])
    finally:
        pa.set_memory_pool(before)

    assert result(tmp_path).num_rows == 4_000_000
    assert part.nbytes < pool.max_memory() < 6 * part.nbytes


LOW_HIGH = _categories("low", levels=["low", "high"], ordered=True)
UNLIKE = {
    "type": ({"x": ["a"]}, {"x": [1]}, "item 2: column 'x' is int64, in item 1 it is string"),
    "name": ({"x": [1]}, {"y": [1]}, "item 2: column 1 is 'y', in item 1 it is 'x'"),
    "order": ({"x": [1], "y": [1]}, {"y": [1], "x": [1]}, "item 2: column 1 is 'y', in item 1 it is 'x'"),
    "number": ({"x": [1]}, {"x": [1], "y": [1]}, "item 2: it has 2 columns, item 1 has 1"),
    "categories": ({"x": LOW_HIGH}, {"x": ["low"]}, "item 2: column 'x' is string, in item 1 it is dictionary"),
    "levels": (
        {"x": LOW_HIGH},
        {"x": _categories("low", levels=["high", "low"], ordered=True)},
        "item 2: the ordered levels of column 'x' are others than in item 1",
    ),
}


@pytest.mark.parametrize("case", UNLIKE.values(), ids=UNLIKE.keys())
def test_tables_that_do_not_fit_together(case: tuple[Any, Any, str], room: Room) -> None:
    """The first table that is unlike the first is named by its number, with what is unlike; there is no result."""
    first, second, words = case
    room.job["task"] = "concatenate"
    room.give_part(1, pa.table(first))
    room.give_part(2, pa.table(second))

    done = room.run()

    assert (done.error["code"], done.report["reason"]) == ("0018", "bad_input")
    assert words in done.error["message"]
    assert (done.report["files"], (done.outputs / "result").read_bytes()) == ({}, b"")


def test_a_skipped_table_keeps_its_number(room: Room) -> None:
    """Items are counted with those that are skipped."""
    room.job["task"] = "concatenate"
    room.give_part(1, pa.table({}))
    room.give_part(2, pa.table({"x": ["a"]}))
    for number in range(3, 17):
        room.give_part(number, pa.table({"x": ["b"]}))
    room.give_part(17, pa.table({"x": [1]}))

    assert "item 17: column 'x' is int64, in item 2 it is string" in room.run().error["message"]


def test_forms_of_storage_agree(tmp_path: Path) -> None:
    """Wide and narrow offsets are one type; so are categories whose numbers are of another width."""
    wide = pa.table({"s": pa.array(["x"], pa.large_string()), "k": _categories("a", levels=["a"], index=pa.int16())})
    narrow = pa.table({"s": ["y"], "k": _categories("b", levels=["b"])})

    done(tmp_path, "concatenate", [narrow, wide], ["arrow"])

    assert result(tmp_path).to_pydict() == {"s": ["y", "x"], "k": ["b", "a"]}
    assert result(tmp_path).schema.types == [pa.large_string(), pa.dictionary(pa.int32(), pa.string())]


def test_more_levels_than_the_numbers_of_the_first(tmp_path: Path) -> None:
    """When the levels of all are too many for the type of the numbers, a wider type is taken."""
    parts = [pa.table({"k": _categories(f"{n}", levels=[f"{n}"])}) for n in range(129)]

    done(tmp_path, "concatenate", parts[:128], ["arrow"])
    fits = result(tmp_path)
    done(tmp_path, "concatenate", parts, ["arrow"])

    assert fits["k"].type.index_type == pa.int8()
    assert result(tmp_path)["k"].type.index_type == pa.int32()
    assert result(tmp_path)["k"].to_pylist() == [f"{n}" for n in range(129)]


def test_ordered_levels_that_go_on(tmp_path: Path) -> None:
    """Ordered levels may be a beginning of those of another table: their order is that of both."""
    short = pa.table({"k": _categories("a", levels=["a"], ordered=True)})
    long = pa.table({"k": _categories("b", levels=["a", "b"], ordered=True)})

    done(tmp_path, "concatenate", [short, long, short], ["arrow"])

    assert result(tmp_path)["k"].to_pylist() == ["a", "b", "a"]
    assert result(tmp_path)["k"].type.ordered


def test_a_failing_format_names_the_row_of_the_whole(tmp_path: Path) -> None:
    """A row that a text format cannot hold is counted from the first row of all."""
    parts = [pa.table({"t": pa.array(cells, pa.timestamp("s"))}) for cells in ([0] * 3, [2**40])]

    with pytest.raises(UnsupportedValue, match="column 't', row 3 is a time outside"):
        done(tmp_path, "concatenate", parts, ["csv", "arrow"])

    assert [(tmp_path / name).read_bytes() for name in ("csv", "arrow")] == [b"", b""]


def test_a_corrupt_part_is_named(room: Room) -> None:
    """A part that is no Arrow file is named by its number."""
    room.job["task"] = "concatenate"
    room.give_part(1, pa.table({"x": [1]}))
    room.give_part(2, arrow_bytes(pa.table({"x": [1]}))[:-20])

    done = room.run()

    assert done.error["code"] == "0018"
    assert done.error["message"].startswith("item 2 cannot be read as arrow: ")
