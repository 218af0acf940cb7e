"""What azureml_main may return, and which table that is (rules 2.1 to 2.13, cases R)."""

from __future__ import annotations

import pyarrow as pa
from module_runs import D1, ECHO, EMPTY, ended, fails, gives, run_each, run_module, same, start, warned

from tests.running import RunningServer


def returning(expression: str, before: str = "") -> str:
    """A script that returns the value of this expression; `df` is its first table."""
    return (
        f"import numpy as np\nimport pandas as pd\n{before}\n"
        f"def azureml_main(df=None, other=None):\n    return {expression}\n"
    )


def test_r01_a_trailing_comma(server: RunningServer) -> None:
    """`return df,` is a tuple, whose first item is the result."""

    module = run_module(server, returning("df,"), D1)

    gives(module, D1)


def test_r02_a_tuple(server: RunningServer) -> None:
    """`return (df,)` is the same."""

    module = run_module(server, returning("(df,)"), D1)

    gives(module, D1)


def test_r03_a_list(server: RunningServer) -> None:
    """`return [df]` is a sequence, too."""

    module = run_module(server, returning("[df]"), D1)

    gives(module, D1)


def test_r04_a_bare_frame(server: RunningServer) -> None:
    """`return df` is taken as the author means it."""

    module = run_module(server, returning("df"), D1)

    gives(module, D1)


def test_r05_an_array_of_frames(server: RunningServer) -> None:
    """An object array of length 1 is a sequence, too."""

    script = returning("held", "held = np.empty(1, dtype=object)").replace("    return", "    held[0] = df\n    return")

    module = run_module(server, script, D1)

    gives(module, D1)


def test_r07_a_second_frame_is_dropped(server: RunningServer) -> None:
    """There is one table port: the first frame is the result, and the loss of the other is told."""

    module = run_module(server, returning("df, df * 2"), D1)

    gives(module, D1, extra_dropped="1 extra")


def test_r08_nothing_returned(server: RunningServer) -> None:
    """A bare return and none at all: an empty table, and a warning."""
    scripts = {"bare return": "def azureml_main(df):\n    return\n", "no return": "def azureml_main(df):\n    df = 1\n"}

    modules = run_each(server, scripts, D1)

    for module in modules.values():
        gives(module, EMPTY, returned_nothing="nothing")


def test_r09_an_empty_sequence(server: RunningServer) -> None:
    """Neither an empty tuple nor an empty list holds a table."""

    modules = run_each(server, {expression: returning(expression) for expression in ("()", "[]")}, D1)

    fails(modules["()"], "0085", "ScriptRefused", "empty sequence", "tuple")
    fails(modules["[]"], "0085", "ScriptRefused", "empty sequence", "list")


def test_r11_things_that_are_no_table(server: RunningServer) -> None:
    """Text, a number and a function are refused by their type."""
    scripts = {expression: returning(expression) for expression in ("'text'", "3", "lambda: 1")}

    modules = run_each(server, scripts)

    fails(modules["'text'"], "0085", "ScriptRefused", "str", "return dataframe1,")
    fails(modules["3"], "0085", "ScriptRefused", "int", "return dataframe1,")
    fails(modules["lambda: 1"], "0085", "ScriptRefused", "function", "return dataframe1,")


def test_r11_lenient_makes_a_table_of_a_value(server: RunningServer) -> None:
    """Profile lenient: text and a number become one cell of a column `column`; a function stays none."""
    scripts = {expression: returning(expression) for expression in ("'text'", "3", "lambda: 1")}

    modules = run_each(server, scripts, profile="lenient")

    gives(modules["'text'"], pa.table({"column": ["text"]}))
    gives(modules["3"], pa.table({"column": [3]}))
    fails(modules["lambda: 1"], "0085", "ScriptRefused", "function")


def test_r12_a_dict_of_columns(server: RunningServer) -> None:
    """A dict is taken as a table, with a notice."""

    module = run_module(server, returning("{'x': [1, 2]}"))

    gives(module, pa.table({"x": [1, 2]}), returned_dict="dict")


def test_r14_lenient_takes_a_matrix(server: RunningServer) -> None:
    """Profile lenient: the columns of a matrix are numbered."""

    module = run_module(server, returning("np.arange(6).reshape(3, 2)"), profile="lenient")

    gives(module, pa.table({"column_0": [0, 2, 4], "column_1": [1, 3, 5]}))


def test_r15_a_bare_frame_whose_only_name_is_zero(server: RunningServer) -> None:
    """A frame is asked for its kind before anything looks at its item 0, which here is a column."""

    module = run_module(server, returning("pd.DataFrame({0: [5, 6]})"))

    gives(module, pa.table({"0": [5, 6]}))


def test_r16_a_fitted_model(server: RunningServer) -> None:
    """A model is no table; the message names its class and how to hand it on."""
    script = """
        from sklearn.linear_model import LinearRegression
        def azureml_main(df):
            return LinearRegression().fit(df[["a"]], df["b"])
    """

    module = run_module(server, script, D1)

    fails(module, "0085", "ScriptRefused", "LinearRegression", "pickle.dumps")


def test_r18_a_pickle_in_a_cell(server: RunningServer) -> None:
    """Bytes travel as they are: the next module loads the object that this one pickled."""
    dump = returning("pd.DataFrame({'model': [pickle.dumps({'k': (1, 'ü'), 'n': [None, 2.5]})]}),", "import pickle")
    load = """
        import pickle
        def azureml_main(df):
            restored = pickle.loads(df.loc[0, "model"])
            assert restored == {"k": (1, "ü"), "n": [None, 2.5]}, restored
            return df,
    """

    dumped = run_module(server, dump)
    loaded = run_module(server, load, dumped.table())

    warned(dumped)
    assert dumped.table().schema == pa.schema([("model", pa.binary())])
    gives(loaded, dumped.table())


def test_rule_2_4_designer_keeps_a_second_table(server: RunningServer) -> None:
    """Profile designer has a second table port; a third table is dropped, with a warning."""
    two = start(server, returning("df, df * 2"), D1, profile="designer")
    three = start(server, returning("df, df * 2, df"), D1, profile="designer")
    one = start(server, returning("df,"), D1, profile="designer")
    doubled = pa.table({"a": [0, 4, 8, 12], "b": [2, 6, 10, 14]})

    both, more, first = (ended(server, run_id) for run_id in (two, three, one))

    gives(both, D1)
    same(both.table("output2"), doubled)
    assert both.run["output2"]["rows"] == 4
    gives(more, D1, extra_dropped="1 extra")
    same(more.table("output2"), doubled)
    gives(first, D1)
    same(first.table("output2"), EMPTY)


def test_rule_2_5_designer_returns_two_empty_tables(server: RunningServer) -> None:
    """Profile designer: nothing returned is two empty tables; classic has no second one to ask for."""
    nothing = "def azureml_main(df):\n    pass\n"

    designer = run_module(server, nothing, D1, profile="designer")
    classic = run_module(server, nothing, D1)

    gives(designer, EMPTY, returned_nothing="nothing")
    same(designer.table("output2"), EMPTY)
    assert (designer.run["output2"]["rows"], classic.run["output2"]) == (0, None)
    answer = server.get(f"{classic.address}/output2")
    assert (answer.status_code, answer.json()["code"]) == (409, "no_output")


def test_rule_2_6_a_sequence_that_begins_with_none(server: RunningServer) -> None:
    """None in the place of a table is an empty one."""

    modules = run_each(server, {expression: returning(expression) for expression in ("None,", "[None]")}, D1)

    for module in modules.values():
        gives(module, EMPTY)


def test_rule_2_7_an_array_made_of_a_frame(server: RunningServer) -> None:
    """numpy makes cells of `np.array([df])`: they come out under new names, and the loss is told."""

    module = run_module(server, returning("np.array([df])"), D1)

    gives(module, pa.table({"Col1": [0, 2, 4, 6], "Col2": [1, 3, 5, 7]}), names_lost="Col1")


def test_rule_2_9_a_series(server: RunningServer) -> None:
    """A Series is a column of its own name, else `column`; alone or in a tuple, and never an empty table."""
    scripts = {expression: returning(expression) for expression in ("df['b']", "df['b'],", "pd.Series([1.5])")}

    modules = run_each(server, scripts, D1)

    gives(modules["df['b']"], D1.select(["b"]))
    gives(modules["df['b'],"], D1.select(["b"]))
    gives(modules["pd.Series([1.5])"], pa.table({"column": [1.5]}))


def test_rule_2_10_lenient_takes_lists_and_vectors(server: RunningServer) -> None:
    """Profile lenient: a list of values and a vector are one column; classic refuses both by type."""
    scripts = {expression: returning(expression) for expression in ("[1, 2]", "np.array([0.5, 1.5])")}

    lenient = run_each(server, scripts, profile="lenient")
    classic = run_each(server, scripts)

    gives(lenient["[1, 2]"], pa.table({"column": [1, 2]}))
    gives(lenient["np.array([0.5, 1.5])"], pa.table({"column": [0.5, 1.5]}))
    fails(classic["[1, 2]"], "0085", "ScriptRefused", "int")
    fails(classic["np.array([0.5, 1.5])"], "0085", "ScriptRefused", "numpy.ndarray")


def test_rule_2_11_designer_takes_a_list_as_classic_does(server: RunningServer) -> None:
    """The later version failed on `[df]`; no profile here does."""

    module = run_module(server, returning("[df]"), D1, profile="designer")

    gives(module, D1)


def test_rule_2_12_iterators_and_files(server: RunningServer) -> None:
    """Things that would have to be read to become a table are refused by type."""
    scripts = {expression: returning(expression) for expression in ("iter([df])", "open('new.txt', 'w')")}

    modules = run_each(server, scripts, D1)

    fails(modules["iter([df])"], "0085", "ScriptRefused", "list_iterator")
    fails(modules["open('new.txt', 'w')"], "0085", "ScriptRefused", "TextIOWrapper")


def test_rule_2_13_tables_of_other_libraries(server: RunningServer) -> None:
    """Arrow and polars tables are results, alone or first in a sequence."""
    scripts = {
        "arrow": returning("pa.table({'x': [1, None], 's': ['u', None]})", "import pyarrow as pa"),
        "polars": returning("pl.DataFrame({'x': [1, None], 's': ['u', None]}),", "import polars as pl"),
    }

    modules = run_each(server, scripts)

    expected = pa.table({"x": [1, None], "s": ["u", None]})
    gives(modules["arrow"], expected)
    gives(modules["polars"], expected.set_column(1, "s", expected["s"].cast(pa.large_string())))


def test_rule_2_3_the_trap_of_a_long_bare_frame(server: RunningServer) -> None:
    """A bare frame of one row and many columns is not taken apart into its columns."""
    wide = pa.table({f"c{n}": [n] for n in range(50)})

    module = run_module(server, ECHO.replace("dataframe1,\n", "dataframe1\n"), wide)

    gives(module, wide)
