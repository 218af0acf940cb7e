"""Arrow to pandas and back: names, index, types and missing values (1.3 and 1.4 of the module contract)."""

import datetime as dt
import decimal
import uuid
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from runner.failure import BadInput, UnsupportedValue
from runner.frames import checked, to_arrow, to_pandas
from runner_jobs import Noted

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

    table = to_arrow(frame, "classic", noted)

    assert table.column_names == expected
    assert [column[0].as_py() for column in table.columns] == list(range(len(labels)))


def test_incoming_names_are_made_distinct() -> None:
    """3.10: a table whose columns share a name arrives with distinct ones, none of them empty."""
    table = pa.Table.from_arrays([pa.array([n]) for n in range(4)], names=["a", "", "a", "Col2"])

    assert checked(table).column_names == ["a", "Col2", "a (2)", "Col2 (2)"]


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
    table = to_arrow(frame, "classic", noted)

    assert table.to_pydict() == {"b": frame["b"].tolist()}
    assert noted.codes == codes


def test_x01_incoming_index(noted: Noted) -> None:
    """X01: an incoming frame has a 64-bit index that counts from 0."""
    frame = to_pandas(checked(pa.table({"a": [5, 6, 7]})), noted)

    assert frame.index.dtype == np.int64
    assert frame.index.tolist() == [0, 1, 2]


def test_metadata_of_a_table_is_ignored(noted: Noted) -> None:
    """What a file says to pandas (an index, other types) is not obeyed."""
    source = pa.Table.from_pandas(pd.DataFrame({"a": [1, 2]}, index=pd.Index([7, 8], name="i")))

    frame = to_pandas(checked(source), noted)

    assert list(frame.columns) == ["a", "i"]
    assert frame.index.tolist() == [0, 1]


# --- there and back

ECHOED = [
    pytest.param(pa.array([1, -2], pa.int64()), "int64", id="T01-int"),
    pytest.param(pa.array([1, -2], pa.int8()), "int8", id="T01-narrow-int"),
    pytest.param(pa.array([1, 2**63 - 1], pa.uint64()), "uint64", id="T01-unsigned"),
    pytest.param(pa.array([1.5, -0.0]), "float64", id="T01-float"),
    pytest.param(pa.array([1.5, None], pa.float32()), "float32", id="T01-single"),
    pytest.param(pa.array(np.array([1.5], np.float16)), "float16", id="T01-half"),
    pytest.param(pa.array(["x", None, "", "NA", "nan", "日本🙂"]), "str", id="T03-T05-T19-text"),
    pytest.param(pa.array([True, False]), "bool", id="T06-bool"),
    pytest.param(pa.array([True, None, False]), "object", id="T06-bool-missing"),
    pytest.param(pa.array([MOMENT, None], pa.timestamp("us")), "datetime64[us]", id="T08-moment"),
    pytest.param(pa.array([0, 2**61], pa.timestamp("s")), "datetime64[s]", id="T08-far-away"),
    pytest.param(pa.array([1, None], pa.timestamp("ns")), "datetime64[ns]", id="T08-nanosecond"),
    pytest.param(pa.array([5, None], pa.duration("us")), "timedelta64[us]", id="T09-span"),
    pytest.param(pa.array([dt.time(1, 2, 3, 4), None]), "object", id="T09-time-of-day"),
    pytest.param(pa.array([float("inf"), float("-inf"), None]), "float64", id="T12-infinite"),
    pytest.param(pa.array([b"\x00\xff", None, b""]), "object", id="R18-bytes"),
    pytest.param(pa.array([], pa.int64()), "int64", id="T16-no-rows-int"),
    pytest.param(pa.array([], pa.string()), "str", id="T16-no-rows-text"),
    pytest.param(
        pa.DictionaryArray.from_arrays(pa.array([0, None], pa.int8()), ["x", "unused"]), "category", id="T10-levels"
    ),
    pytest.param(
        pa.DictionaryArray.from_arrays(pa.array([1, 0], pa.int8()), ["lo", "hi"], ordered=True),
        "category",
        id="T10-ordered",
    ),
    pytest.param(
        pa.array([{"real": 1.0, "imag": -2.0}, None], pa.struct({"real": pa.float64(), "imag": pa.float64()})),
        "complex128",
        id="T11-complex",
    ),
]


@pytest.mark.parametrize(("column", "dtype"), ECHOED)
def test_echo_keeps_values_and_types(column: pa.Array, dtype: str, noted: Noted) -> None:
    """T01-T19: what a script hands through comes back with its values, its type and its missing ones."""
    source = pa.table({"x": column})

    frame = to_pandas(checked(source), noted)
    back = to_arrow(frame, "classic", noted)

    assert str(frame["x"].dtype) == dtype
    assert back.schema == source.schema
    assert back.equals(source)
    assert noted.codes == []


@pytest.mark.parametrize(
    ("column", "dtype", "values", "codes"),
    [
        pytest.param(pa.array([1, None]), "float64", [1.0, None], [], id="T02-int-missing"),
        pytest.param(
            pa.array([2**60 + 1, None]), "float64", [float(2**60), None], ["precision_lost"], id="T02-beyond-53-bits"
        ),
        pytest.param(pa.array([None, None], pa.null()), "float64", [None, None], [], id="T17-unknown-type"),
        pytest.param(
            pa.array([MOMENT], pa.timestamp("us", "+05:00")), "datetime64[us]", [MOMENT], ["zone_dropped"], id="zone"
        ),
        pytest.param(pa.array([MOMENT], pa.timestamp("us", "UTC")), "datetime64[us]", [MOMENT], [], id="utc"),
        pytest.param(pa.array([dt.date(2020, 1, 2)]), "datetime64[ms]", [dt.datetime(2020, 1, 2)], [], id="date"),
        pytest.param(
            pa.array([decimal.Decimal("1.5")]), "float64", [1.5], ["decimal_to_double"], id="decimal"
        ),
        pytest.param(
            pa.array([1], pa.time64("ns")), "object", [dt.time(0)], ["precision_lost"], id="time-of-nanoseconds"
        ),
        pytest.param(pa.array(["x", None], pa.string_view()), "str", ["x", None], [], id="view"),
        pytest.param(
            pa.DictionaryArray.from_arrays([0, 1], ["x", "x"]), "str", ["x", "x"], [], id="repeated-levels"
        ),
        pytest.param(
            pa.DictionaryArray.from_arrays([0, 1], ["x", None]), "str", ["x", None], [], id="missing-level"
        ),
    ],
)  # fmt: skip
def test_types_that_arrive_as_others(
    column: pa.Array, dtype: str, values: list[Any], codes: list[str], noted: Noted
) -> None:
    """1.4: what pandas does not have arrives as the nearest it has, and a loss is said."""
    frame = to_pandas(checked(pa.table({"x": column})), noted)

    assert str(frame["x"].dtype) == dtype
    assert to_arrow(frame, "classic", Noted()).column(0).to_pylist() == values
    assert noted.codes == codes


def test_categories_of_several_batches(noted: Noted) -> None:
    """T10: batches that number their categories differently arrive as one set of levels."""
    chunks = [pa.DictionaryArray.from_arrays([0], [level]) for level in ("x", "y")]

    frame = to_pandas(checked(pa.table({"x": pa.chunked_array(chunks)})), noted)

    assert frame["x"].tolist() == ["x", "y"]
    assert frame["x"].cat.categories.tolist() == ["x", "y"]


def test_p14_the_frame_may_be_changed(noted: Noted) -> None:
    """P14: a script may write into its frame, in place; the table it came from stays as it was."""
    source = pa.table({"a": [1, 2], "s": ["x", "y"], "t": pa.array([0, 1], pa.timestamp("us"))})

    frame = to_pandas(checked(source), noted)
    frame.loc[0, "a"] = 9
    frame.loc[0, "s"] = "z"
    frame.iloc[0, 2] = MOMENT

    assert to_arrow(frame, "classic", noted).to_pylist()[0] == {"a": 9, "s": "z", "t": MOMENT}
    assert source.to_pydict()["a"] == [1, 2]
    assert source.to_pydict()["s"] == ["x", "y"]


@pytest.mark.parametrize(
    ("column", "words"),
    [
        (pa.array([], pa.map_(pa.string(), pa.int64())), "map<"),
        (pa.array([_nested(4)]), "list<"),
        (pa.array([], pa.month_day_nano_interval()), "interval"),
        (pa.array([], pa.run_end_encoded(pa.int32(), pa.int64())), "run_end_encoded"),
        (pa.UnionArray.from_sparse(pa.array([0], pa.int8()), [pa.array([1])]), "union"),
    ],
)
def test_unsupported_types_are_refused_by_column(column: pa.Array, words: str) -> None:
    """A column of a type that is not on the list is refused before its values are looked at."""
    table = pa.table({"col": column})

    with pytest.raises(BadInput, match=rf"column 'col' has the type .*{words}"):
        checked(table)


def test_corrupt_offsets_are_refused() -> None:
    """A text column whose offsets point behind its bytes never reaches pandas."""
    offsets = pa.py_buffer(np.array([0, 1_000_000, 1], np.int32))
    column = pa.Array.from_buffers(pa.string(), 2, [None, offsets, pa.py_buffer(b"x")])

    with pytest.raises(BadInput, match="corrupt"):
        checked(pa.table({"x": column}))


# --- what scripts make

MADE = [
    pytest.param(_frame("x", None, np.nan, pd.NaT, pd.NA), "string", ["x"] + [None] * 4, [], id="T04-missing"),
    pytest.param(_frame(None, np.nan, pd.NaT), "string", [None] * 3, [], id="T17-all-missing"),
    pytest.param(_frame(1, None), "int64", [1, None], [], id="object-int"),
    pytest.param(_frame(1, 2.5), "double", [1.0, 2.5], [], id="object-numbers"),
    pytest.param(_frame(np.int8(1), 2), "int64", [1, 2], [], id="object-numpy-int"),
    pytest.param(_frame(np.True_, False, None), "bool", [True, False, None], [], id="T06-object-bool"),
    pytest.param(_frame(2**63, 1), "double", [2.0**63, 1.0], ["precision_lost"], id="object-huge-int"),
    pytest.param(_frame(10**400, None), "string", [str(10**400), None], ["made_text"], id="object-immense-int"),
    pytest.param(_frame(2**60 + 1, 2.5), "string", [str(2**60 + 1), "2.5"], ["made_text"], id="int-beyond-float"),
    pytest.param(_frame(MOMENT, None), "timestamp[us]", [MOMENT, None], [], id="object-moment"),
    pytest.param(
        _frame(MOMENT, pd.Timestamp(1)),
        "timestamp[ns]",
        [pd.Timestamp(MOMENT), pd.Timestamp(1)],
        [],
        id="object-nanosecond",
    ),
    pytest.param(
        _frame(MOMENT.replace(tzinfo=PARIS)),
        "timestamp[us]",
        [MOMENT - dt.timedelta(hours=1)],
        ["zone_dropped"],
        id="object-zone",
    ),
    pytest.param(
        _frame(MOMENT, MOMENT.replace(tzinfo=PARIS)),
        "string",
        [str(MOMENT), str(MOMENT.replace(tzinfo=PARIS))],
        ["made_text"],
        id="object-zone-and-none",
    ),
    pytest.param(_frame(dt.datetime(9999, 1, 1)), "timestamp[us]", [dt.datetime(9999, 1, 1)], [], id="object-far-away"),
    pytest.param(
        _frame(np.datetime64("2020-01-02"), pd.NaT), "timestamp[ns]", [pd.Timestamp("2020-01-02"), None], [], id="day"
    ),
    pytest.param(_frame(dt.date(2020, 1, 2), None), "date32[day]", [dt.date(2020, 1, 2), None], [], id="object-date"),
    pytest.param(
        _frame(dt.date(2020, 1, 2), MOMENT), "string", ["2020-01-02", str(MOMENT)], ["made_text"], id="date-and-moment"
    ),
    pytest.param(_frame(dt.time(1, tzinfo=PARIS)), "string", ["01:00:00+01:00"], ["made_text"], id="time-with-zone"),
    pytest.param(_frame(dt.timedelta(1), None), "duration[us]", [dt.timedelta(1), None], [], id="object-span"),
    pytest.param(
        _frame(pd.Timedelta(1), dt.timedelta(1)),
        "duration[ns]",
        [pd.Timedelta(1), pd.Timedelta(days=1)],
        [],
        id="object-fine-span",
    ),
    pytest.param(_frame(b"x", bytearray(b"y"), None), "binary", [b"x", b"y", None], [], id="object-bytes"),
    pytest.param(
        _frame(decimal.Decimal("1.5"), None), "double", [1.5, None], ["decimal_to_double"], id="object-decimal"
    ),
    pytest.param(_frame("x", 1), "string", ["x", "1"], ["made_text"], id="mixed-text-int"),
    pytest.param(_frame(1, True), "string", ["1", "True"], ["made_text"], id="mixed-int-bool"),
    pytest.param(
        _frame(uuid.UUID(int=5)), "string", [str(uuid.UUID(int=5))], ["made_text"], id="object-uuid"
    ),
    pytest.param(_frame("a\ud800"), "string", ["a?"], ["surrogates_replaced"], id="surrogate"),
    pytest.param(
        pd.DataFrame({"x": pd.period_range("2020", periods=1, freq="M")}),
        "string",
        ["2020-01"],
        ["made_text"],
        id="period",
    ),
    pytest.param(
        pd.DataFrame({"x": pd.interval_range(0, 1)}), "string", ["(0, 1]"], ["made_text"], id="interval"
    ),
    pytest.param(
        pd.DataFrame({"x": pd.arrays.SparseArray([0, 0, 5])}), "int64", [0, 0, 5], [], id="sparse"
    ),
    pytest.param(
        pd.DataFrame({"x": pd.array([1, None], dtype="Int64")}), "int64", [1, None], [], id="nullable-int"
    ),
    pytest.param(
        pd.DataFrame({"x": pd.array([1.5, None, np.nan], dtype="Float64")}),
        "double",
        [1.5, None, None],
        [],
        id="nullable-float",
    ),
    pytest.param(
        pd.DataFrame({"x": pd.array([True, None], dtype="boolean")}), "bool", [True, None], [], id="nullable-bool"
    ),
    pytest.param(
        pd.DataFrame({"x": np.array([1, 2**64 - 1], np.uint64)}),
        "double",
        [1.0, 2.0**64],
        ["precision_lost"],
        id="unsigned-beyond",
    ),
    pytest.param(
        pd.DataFrame({"x": np.array([1.5], np.longdouble)}), "double", [1.5], ["precision_lost"], id="long-double"
    ),
    pytest.param(
        pd.DataFrame({"x": pd.Series([1.5, None], dtype=pd.ArrowDtype(pa.float64()))}),
        "double",
        [1.5, None],
        [],
        id="arrow-dtype",
    ),
    pytest.param(
        pd.DataFrame({"x": pd.to_datetime(["2020-07-01"]).tz_localize("Europe/Paris").as_unit("us")}),
        "timestamp[us]",
        [dt.datetime(2020, 6, 30, 22)],
        ["zone_dropped"],
        id="zone",
    ),
    pytest.param(
        pd.DataFrame({"x": pd.Categorical([1, "1", None])}),
        "string",
        ["1", "1", None],
        ["made_text"],
        id="levels-that-become-one",
    ),
    pytest.param(
        pd.DataFrame({"x": np.array([1 + 2j, complex("nan")])}),
        "struct<real: double, imag: double>",
        [{"real": 1.0, "imag": 2.0}, None],
        [],
        id="T11-complex",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("frame", "data_type", "values", "codes"), MADE)
def test_what_scripts_make(
    frame: pd.DataFrame, data_type: str, values: list[Any], codes: list[str], noted: Noted
) -> None:
    """1.4: every kind of column has one rule, and no change of a value goes unsaid."""
    table = to_arrow(frame, "classic", noted)

    assert str(table.schema.types[0]) == data_type
    assert table.column(0).to_pylist() == values
    assert noted.codes == codes


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
        to_arrow(_frame(None, cell), "classic", noted)


def test_t14_arrow_columns_with_lists_are_refused(noted: Noted) -> None:
    """T14: a list in an Arrow column is no better than one in an object column."""
    with pytest.raises(UnsupportedValue, match="column 'x', row 1: .*list<"):
        to_arrow(pa.table({"x": [None, [1]]}), "classic", noted)


@pytest.mark.parametrize("cell", [[1, None], {"a": 1}, [{"a": [1]}]])
def test_t14_designer_passes_nested_cells(cell: Any, noted: Noted) -> None:
    """T14: the designer profile lets lists and dicts through."""
    assert to_arrow(_frame(cell, None), "designer", noted).to_pydict() == {"x": [cell, None]}


@pytest.mark.parametrize("cell", [_itself(), _nested(4), _nested(5000)], ids=["itself", "four-deep", "very-deep"])
def test_t14_deep_cells_are_refused(cell: Any, noted: Noted) -> None:
    """A cell that nests too deep, or holds itself, is an error and not the end of the process."""
    with pytest.raises(UnsupportedValue, match="column 'x', row 0: .*nested more than 3 deep"):
        to_arrow(_frame(cell), "designer", noted)


def test_t16_no_rows_no_columns(noted: Noted) -> None:
    """T16: an empty frame is a table of no rows and no columns."""
    table = to_arrow(pd.DataFrame(), "classic", noted)

    assert (table.num_rows, table.num_columns) == (0, 0)


def test_duplicate_labels_keep_their_own_values(noted: Noted) -> None:
    """N02: columns of one name are taken by place, so that each keeps its values."""
    frame = pd.DataFrame([[1, "x"]], columns=["a", "a"])

    assert to_arrow(frame, "classic", noted).to_pydict() == {"a": [1], "a (2)": ["x"]}
