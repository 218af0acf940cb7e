"""Arrow to pandas and back: names, index, types and missing values (1.3 and 1.4 of the module contract)."""

import datetime as dt
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from runner.failure import BadInput, UnsupportedValue
from runner.frames import checked, to_arrow, to_pandas
from runner.job import PROFILES
from runner_jobs import Noted

CLASSIC, DESIGNER = PROFILES["classic"], PROFILES["designer"]
MOMENT = dt.datetime(2020, 1, 2, 3, 4, 5, 678901)
PARIS = dt.timezone(dt.timedelta(hours=1))


def _frame(*values: Any) -> pd.DataFrame:
    """A frame of one column of Python objects, exactly these."""
    column = np.empty(len(values), dtype=object)
    for position, value in enumerate(values):
        column[position] = value
    return pd.DataFrame({"x": pd.Series(column, dtype=object)})


def _nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def _itself() -> list[Any]:
    value: list[Any] = []
    value += [value] * 10
    return value


# --- names and index


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        pytest.param([1, 2.0, None, ("p", "q")], ["1", "2.0", "None", "('p', 'q')"], id="N01"),
        pytest.param(["a", "a", "a"], ["a", "a (2)", "a (3)"], id="N02"),
        pytest.param([1, "1"], ["1", "1 (2)"], id="N04"),
        pytest.param(["a", "b", "a", "b"], ["a", "b", "a (2)", "b (2)"], id="N05"),
        pytest.param(["", "naïve é", "a b/c"], ["Col1", "naïve é", "a b/c"], id="N07"),
        pytest.param(["a", "a", "a (2)"], ["a", "a (3)", "a (2)"], id="3.7-taken-numbers"),
        pytest.param(["Col2", ""], ["Col2", "Col2 (2)"], id="3.9-taken-position"),
        pytest.param(["a", "A", " a"], ["a", "A", " a"], id="3.8-exact"),
        pytest.param([float("nan"), b"x", True], ["nan", "b'x'", "True"], id="3.3-values"),
        pytest.param([pd.Timestamp("2020-01-01")], ["2020-01-01 00:00:00"], id="3.3-time"),
        pytest.param(["日本", "e\u0301", "🙂"], ["日本", "e\u0301", "🙂"], id="T19-any-script"),
    ],
)
def test_column_names(labels: list[Any], expected: list[str], noted: Noted) -> None:
    """3.3-3.9: names become text, then distinct; the first of equal names keeps its own."""
    frame = pd.DataFrame([list(range(len(labels)))])
    frame.columns = pd.Index(labels, dtype=object, tupleize_cols=False)

    table = to_arrow(frame, CLASSIC, noted)

    assert table.column_names == expected
    assert [column[0].as_py() for column in table.columns] == list(range(len(labels)))


def test_incoming_names_are_made_distinct(noted: Noted) -> None:
    """3.10: a table whose columns share a name arrives with distinct ones, none of them empty."""
    table = pa.Table.from_arrays([pa.array([n]) for n in range(4)], names=["a", "", "a", "Col2"])

    assert checked(table, noted).column_names == ["a", "Col2", "a (2)", "Col2 (2)"]


@pytest.mark.parametrize(
    ("frame", "codes"),
    [
        pytest.param(pd.DataFrame({"a": [1, 2], "b": [3, 4]}).set_index("a"), ["index_dropped"], id="X02-named"),
        pytest.param(pd.DataFrame({"b": [1, 3, 4]}).query("b > 1"), [], id="X03-filtered"),
        pytest.param(pd.DataFrame({"b": [4, 3]}, index=[9, 3]), [], id="X04-sorted"),
    ],
)
def test_the_index_is_dropped(frame: pd.DataFrame, codes: list[str], noted: Noted) -> None:
    """X02-X04: the index goes, the order of the rows stays; a named index is missed aloud."""
    table = to_arrow(frame, CLASSIC, noted)

    assert table.to_pydict() == {"b": frame["b"].tolist()}
    assert noted.codes == codes


def test_x01_incoming_index(noted: Noted) -> None:
    """X01: an incoming frame has a 64-bit index that counts from 0."""
    frame = to_pandas(checked(pa.table({"a": [5, 6, 7]}), noted), "numpy", CLASSIC, noted)

    assert frame.index.dtype == np.int64
    assert frame.index.tolist() == [0, 1, 2]


def test_metadata_of_a_table_is_ignored(noted: Noted) -> None:
    """What a file says to pandas (an index, other types) is not obeyed."""
    source = pa.Table.from_pandas(pd.DataFrame({"a": [1, 2]}, index=pd.Index([7, 8], name="i")))

    frame = to_pandas(checked(source, noted), "numpy", CLASSIC, noted)

    assert list(frame.columns) == ["a", "i"]
    assert frame.index.tolist() == [0, 1]


# --- there and back


def test_categories_of_several_batches(noted: Noted) -> None:
    """T10: batches that number their categories differently arrive as one set of levels."""
    chunks = [pa.DictionaryArray.from_arrays([0], [level]) for level in ("x", "y")]

    frame = to_pandas(checked(pa.table({"x": pa.chunked_array(chunks)}), noted), "numpy", CLASSIC, noted)

    assert frame["x"].tolist() == ["x", "y"]
    assert frame["x"].cat.categories.tolist() == ["x", "y"]


def test_p14_the_frame_may_be_changed(noted: Noted) -> None:
    """P14: a script may write into its frame, in place; the table it came from stays as it was."""
    source = pa.table({"a": [1, 2], "s": ["x", "y"], "t": pa.array([0, 1], pa.timestamp("us"))})

    frame = to_pandas(checked(source, noted), "numpy", CLASSIC, noted)
    frame.loc[0, "a"] = 9
    frame.loc[0, "s"] = "z"
    frame.iloc[0, 2] = MOMENT

    assert to_arrow(frame, CLASSIC, noted).to_pylist()[0] == {"a": 9, "s": "z", "t": MOMENT}
    assert source.to_pydict()["a"] == [1, 2]
    assert source.to_pydict()["s"] == ["x", "y"]


def test_corrupt_offsets_are_refused(noted: Noted) -> None:
    """A text column whose offsets point behind its bytes never reaches pandas."""
    offsets = pa.py_buffer(np.array([0, 1_000_000, 1], np.int32))
    column = pa.Array.from_buffers(pa.string(), 2, [None, offsets, pa.py_buffer(b"x")])

    with pytest.raises(BadInput, match="corrupt"):
        checked(pa.table({"x": column}), noted)


# --- what scripts make


class _Thing:
    """Something of a script's own."""


@pytest.mark.parametrize(
    ("cell", "name"),
    [
        ([1], "list"),
        ({"a": 1}, "dict"),
        ((1,), "tuple"),
        ({1}, "set"),
        (np.array([1]), "numpy.ndarray"),
        (pd.DataFrame(), "DataFrame"),
        (_Thing(), "_Thing"),
        (_itself(), "list"),
    ],
)
def test_t14_strange_cells_are_refused_by_place(cell: Any, name: str, noted: Noted) -> None:
    """T14: a cell that a table cannot hold is named by column, row and type; one that holds itself too."""
    with pytest.raises(UnsupportedValue, match=rf"column 'x', row 1: .*{name}"):
        to_arrow(_frame(None, cell), CLASSIC, noted)


def test_t14_columns_of_a_chosen_type_pass(noted: Noted) -> None:
    """T14: a list of a type that somebody chose is no guess: it passes in every profile."""
    table = pa.table({"x": [None, [1]]})

    assert to_arrow(table, CLASSIC, noted).equals(table)
    assert to_arrow(table.to_pandas(types_mapper=pd.ArrowDtype), CLASSIC, noted).equals(table)


@pytest.mark.parametrize("cell", [[1, None], {"a": 1}, [{"a": [1]}]])
def test_t14_designer_passes_nested_cells(cell: Any, noted: Noted) -> None:
    """T14: the designer profile lets lists and dicts through."""
    assert to_arrow(_frame(cell, None), DESIGNER, noted).to_pydict() == {"x": [cell, None]}


@pytest.mark.parametrize("cell", [_itself(), _nested(4), _nested(5000)], ids=["itself", "four-deep", "very-deep"])
def test_t14_deep_cells_are_refused(cell: Any, noted: Noted) -> None:
    """A cell that nests too deep, or holds itself, is an error and not the end of the process."""
    with pytest.raises(UnsupportedValue, match="column 'x', row 0: .*nested more than 3 deep"):
        to_arrow(_frame(cell), DESIGNER, noted)


def test_t16_no_rows_no_columns(noted: Noted) -> None:
    """T16: an empty frame is a table of no rows and no columns."""
    table = to_arrow(pd.DataFrame(), CLASSIC, noted)

    assert (table.num_rows, table.num_columns) == (0, 0)


def test_duplicate_labels_keep_their_own_values(noted: Noted) -> None:
    """N02: columns of one name are taken by place, so that each keeps its values."""
    frame = pd.DataFrame([[1, "x"]], columns=["a", "a"])

    assert to_arrow(frame, CLASSIC, noted).to_pydict() == {"a": [1], "a (2)": ["x"]}
