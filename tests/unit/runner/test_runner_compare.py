"""The task compare: are two tables the same?"""

import decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from generated_tables import columns, tables
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from runner import compare
from runner.equality import first_unequal
from runner_jobs import Room, arrow_bytes
from table_files import read, written
from table_jobs import done

BOUNDED = settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
NAN = float("nan")
EQUAL = {"verdict": "bytes_equal", "first_difference": None}
SAME_VALUES = {"verdict": "values_equal", "first_difference": None}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One directory for all examples."""
    return tmp_path_factory.mktemp("compare")


def _compared(room: Room, left: pa.Table | bytes, right: pa.Table | bytes) -> dict[str, Any]:
    room.job |= {"task": "compare", "outputs": []}
    for port, table in enumerate((left, right), start=1):
        room.give(port, table if isinstance(table, bytes) else arrow_bytes(table), "arrow")
    done = room.run()
    assert (done.code, done.report["error"], done.log) == (0, None, "")
    assert [shape["port"] for shape in done.report["inputs"]] == [1, 2]
    assert set(done.report["files"]) == {"comparison.json"}
    found: dict[str, Any] = done.json("comparison.json")
    return found


def test_identical_files(room: Room) -> None:
    """Files of the same bytes are told as such."""
    table = pa.table({"x": [1, None], "f": [NAN, None]})

    assert _compared(room, table, table) == EQUAL


def test_storage_does_not_matter(room: Room) -> None:
    """Batches, metadata, the order of levels, and what lies under missing values are no differences."""
    buffers = [pa.py_buffer(b"\x01"), pa.array([1, 99], pa.int64()).buffers()[1]]
    left = pa.table({
        "n": pa.Array.from_buffers(pa.int64(), 2, buffers),
        "k": pa.array(["a", "b"]).dictionary_encode(),
        "f": [NAN, None],
        "l": [[NAN], None],
    })  # fmt: skip
    other = pa.DictionaryArray.from_arrays(pa.array([1, 0], pa.int32()), pa.array(["b", "a"]))
    right = pa.table({"n": [1, None], "k": other, "f": [NAN, None], "l": [[NAN], None]})
    batches = [right.slice(0, 1), right.slice(1)]
    right = pa.concat_tables(batches).replace_schema_metadata({"by": "somebody"})

    assert _compared(room, left, right) == SAME_VALUES


def _difference(what: str, column: str | None, row: int | None, left: Any, right: Any, message: str) -> dict[str, Any]:
    found = {"what": what, "column": column, "row": row, "left": left, "right": right, "message": message}
    return {"verdict": "different", "first_difference": found}


LONG = "x" * 300
DIFFERENT = {
    "number of columns": (
        {"a": [1]}, {"a": [1], "b": [2]},
        ("columns", None, None, 1, 2, "the left table has 1 columns, the right one 2"),
    ),
    "names": (
        {"a": [1], "b": [1]}, {"a": [1], "c": [1]},
        ("columns", "b", None, "b", "c", "column 2 is 'b' on the left and 'c' on the right"),
    ),
    "rows": ({"a": [1]}, {"a": [1, 2]}, ("rows", None, None, 1, 2, "the left table has 1 rows, the right one 2")),
    "type": (
        {"a": [1], "b": [1]}, {"a": [1], "b": [1.0]},
        ("type", "b", None, "int64", "double", "column 'b' is int64 on the left and double on the right"),
    ),
    "column order": (
        {"a": [1, 2], "b": [1, 1]}, {"a": [1, 3], "b": [0, 1]},
        ("value", "a", 1, 2, 3, "column 'a', row 1: 2 on the left and 3 on the right"),
    ),
    "before a type": (
        {"a": [1], "b": [1]}, {"a": [2], "b": ["1"]},
        ("value", "a", 0, 1, 2, "column 'a', row 0: 1 on the left and 2 on the right"),
    ),
    "missing": (
        {"a": [""]}, {"a": pa.array([None], pa.string())},
        ("value", "a", 0, "", None, "column 'a', row 0: '' on the left and a missing value on the right"),
    ),
    "NaN": (
        {"a": [NAN]}, {"a": pa.array([None], pa.float64())},
        ("value", "a", 0, "NaN", None, "column 'a', row 0: 'NaN' on the left and a missing value on the right"),
    ),
    "large integers": (
        {"a": [2**53]}, {"a": [2**53 + 1]},
        ("value", "a", 0, 2**53, 2**53 + 1,
         "column 'a', row 0: 9007199254740992 on the left and 9007199254740993 on the right"),
    ),
    "nested": (
        {"a": [[1], [2, 3]]}, {"a": [[1], [2, 4]]},
        ("value", "a", 1, [2, 3], [2, 4], "column 'a', row 1: [2, 3] on the left and [2, 4] on the right"),
    ),
    "categories": (
        {"a": pa.array(["x"]).dictionary_encode()}, {"a": pa.array(["y"]).dictionary_encode()},
        ("value", "a", 0, "x", "y", "column 'a', row 0: 'x' on the left and 'y' on the right"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", DIFFERENT.values(), ids=DIFFERENT.keys())
def test_differences(case: tuple[Any, Any, tuple[Any, ...]], room: Room) -> None:
    """The first difference is told: names, then rows, then column by column the type and the values."""
    left, right, expected = case

    assert _compared(room, pa.table(left), pa.table(right)) == _difference(*expected)


def test_long_cells_are_cut(room: Room) -> None:
    """A difference fits on a screen, however long the cells are."""
    found = _compared(room, pa.table({"a": ["x" * 10**6]}), pa.table({"a": ["x" * 10**6 + "y"]}))["first_difference"]

    assert (len(found["left"]), len(found["message"]) < 500) == (200, True)


def test_slices_are_compared_as_tables(room: Room) -> None:
    """Of a slice the rows count: the files may be the same, or not."""
    room.job |= {"task": "compare", "outputs": []}
    for port, offset in ((1, 0), (2, 2)):
        room.give_table(port, {"a": [1, 2, 1, 2]})
        room.job["inputs"][-1]["slice"] = {"offset": offset, "rows": 2}

    assert room.run().json("comparison.json") == SAME_VALUES


@BOUNDED
@given(table=tables())
def test_a_table_equals_itself(table: pa.Table, place: Path) -> None:
    """Whatever a table holds, it has the values that it has, also when its batches are cut elsewhere."""
    done(place, "convert", [table], ["arrow"])
    one = (place / "arrow").read_bytes()
    whole = pa.ipc.open_file(one).read_all()

    done(place, "compare", [one, pa.concat_tables([whole.slice(0, 1), whole.slice(1)]).combine_chunks()])

    assert b'"different"' not in (place / "comparison.json").read_bytes()


@BOUNDED
@given(data=st.data())
def test_the_first_row_is_that_of_arrow(data: st.DataObject, place: Path) -> None:
    """Of columns of any type, the row that is found is the first whose text is another one."""
    rows = data.draw(st.integers(1, 6))
    column = data.draw(columns(rows))
    order = data.draw(st.lists(st.integers(0, rows - 1), min_size=rows, max_size=rows))
    plain = read(place, written(place, pa.table({"v": column.combine_chunks()}), "arrow"), "arrow")["v"]
    left = plain.combine_chunks()
    right = left.take(pa.array(order))

    found = first_unequal(left, right)

    texts = [[_text(each.slice(row, 1)) for row in range(rows)] for each in (left, right)]
    expected = next((row for row, (a, b) in enumerate(zip(*texts, strict=True)) if a != b), None)
    assert found == expected


def _text(only: pa.Array) -> str:
    if pa.types.is_dictionary(only.type):
        only = only.dictionary_decode()
    text: str = only.to_string(window=100)
    return text.replace("-0\n", "0\n").replace("-0,", "0,")


def test_rows_beyond_a_block(tmp_path: Path) -> None:
    """A difference far down is found in its row, in nested columns, too."""
    rows = 2 * compare._BLOCK_ROWS + 10
    lists = [[n, None] if n % 3 else None for n in range(rows)]
    changed = [*lists[:-1], [1, 2]]

    found = compare.first_difference(pa.table({"l": lists}), pa.table({"l": changed}))

    assert found is not None
    assert (found.column, found.row, found.right) == ("l", rows - 1, [1, 2])


def test_types_that_arrow_compares_by_a_detour() -> None:
    """Half precision, small decimals, maps and complex numbers are compared as what they are."""
    d, two, number = decimal.Decimal, pa.list_(pa.int8(), 2), {"real": NAN, "imag": 0.0}
    pairs = [
        (pa.array([1.5, NAN, None, 2.0], pa.float16()), pa.array([1.5, NAN, None, 2.5], pa.float16())),
        (pa.array([d("1.00"), None], pa.decimal32(5, 2)), pa.array([d("1.00"), d("2.00")], pa.decimal32(5, 2))),
        (pa.array([[("a", 1)], [("b", 2)]], pa.map_(pa.string(), pa.int8())),
         pa.array([[("a", 1)], [("b", 3)]], pa.map_(pa.string(), pa.int8()))),
        (pa.array([number, None]), pa.array([number, number])),
        (pa.array([[1, 2], None, [3, 4]], two), pa.array([[1, 2], None, [3, 5]], two)),
        (pa.array([[], [1]]), pa.array([[], [1, 1]])),
    ]  # fmt: skip

    assert [first_unequal(a, b) for a, b in pairs] == [3, 1, 1, 1, 2, 1]
    assert [first_unequal(a, a) for a, _ in pairs] == [None] * 6
