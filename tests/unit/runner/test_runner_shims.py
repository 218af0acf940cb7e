"""Shims for what pandas, numpy and scikit-learn had: run by the real program, because they patch libraries."""

import textwrap

import pyarrow as pa
import pytest
from runner.shims import mentioned
from runner_jobs import Done, Room

HEAD = "import numpy as np\nimport pandas as pd\n"
LETTERS = "df = pd.DataFrame({'a': [1, 2, 3], 'b': [4.0, 5.0, 6.0]}, index=['x', 'y', 'z'])\n"


def evaluated(room: Room, body: str, head: str = HEAD) -> Done:
    """Run a body that leaves a frame, a series or a list called `out`."""
    text = head + "def azureml_main():\n" + textwrap.indent(body, "    ")
    return room.run(text + "\n    return pd.DataFrame(out) if isinstance(out, (list, dict, pd.Series)) else out\n")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param("out = [df.ix['y', 'a'], df.ix[1, 'a'], df.ix['y', 0], df.ix[1, 0]]", [2, 2, 2, 2], id="cell"),
        pytest.param("out = df.ix[0:2, 'a']", [1, 2], id="positions-end-before"),
        pytest.param("out = df.ix['x':'y', 'a']", [1, 2], id="labels-end-with"),
        pytest.param("out = df.ix[[0, 2], 'a']", [1, 3], id="list-of-positions"),
        pytest.param("out = df.ix[['z', 'x'], 0]", [3, 1], id="list-of-labels"),
        pytest.param("out = df.ix[df.a > 1, 0]", [2, 3], id="mask-and-position"),
        pytest.param("out = df.ix[:, 0:1].a", [1, 2, 3], id="columns-by-position"),
        pytest.param("out = df.ix[:, 'a':'a'].a", [1, 2, 3], id="columns-by-label"),
        pytest.param("out = df.ix[-1:].a", [3], id="from-the-end"),
        pytest.param("out = [df.ix[1].a, df.ix['y'].a]", [2, 2], id="row"),
        pytest.param("df.index = [10, 1, 2]\nout = [df.ix[1].a, df.ix[10, 'a'], df.ix[2, 0]]", [2, 1, 3], id="numbers"),
        pytest.param("df.index = [0, 1, 2]\nout = df.ix[0:1, 'a']", [1, 2], id="numbers-end-with"),
        pytest.param("df.index = pd.date_range('2020', periods=3)\nout = df.ix[0:1].a", [1], id="dates"),
        pytest.param("df.ix[0, 'a'] = 9\nout = df.a", [9, 2, 3], id="set-by-position"),
        pytest.param("df.ix['y', 'a'] = 9\nout = df.a", [1, 9, 3], id="set-by-label"),
        pytest.param("df.ix['w'] = [8, 9]\nout = df.a", [1, 2, 3, 8], id="set-a-new-row"),
        pytest.param("s = df.a\nout = [s.ix[0], s.ix['y'], s.ix[-1]]", [1, 2, 3], id="series"),
    ],
)
def test_ix(body: str, expected: list[int], room: Room) -> None:
    """7.13, V09: .ix takes labels, and positions where the labels are no numbers; one warning says what to write."""
    done = evaluated(room, LETTERS + body)

    assert done.report["error"] is None
    assert done.table.column(0).to_pylist() == expected
    assert [warning["code"] for warning in done.report["warnings"]] == ["removed_api"]
    assert ".ix was removed" in done.report["warnings"][0]["message"]


FRAME = "df = pd.DataFrame({'a': [2, 1], 'b': ['x', 'y']})\n"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param("out = df.append(df)", {"a": [2, 1, 2, 1], "b": ["x", "y", "x", "y"]}, id="append-frame"),
        pytest.param(
            "out = df.append({'a': 3}, ignore_index=True)", {"a": [2, 1, 3], "b": ["x", "y", None]}, id="append-dict"
        ),
        pytest.param("out = df.append([{'a': 3, 'b': 'z'}])", {"a": [2, 1, 3], "b": ["x", "y", "z"]}, id="dicts"),
        pytest.param(
            "out = df.append(pd.Series({'a': 3, 'b': 'z'}, name=7))",
            {"a": [2, 1, 3], "b": ["x", "y", "z"]},
            id="append-row",
        ),
        pytest.param(
            "out = pd.DataFrame(columns=['a']).append({'a': 1}, ignore_index=True)", {"a": [1]}, id="append-to-nothing"
        ),
        pytest.param("out = df.a.append(df.a)", {"a": [2, 1, 2, 1]}, id="append-series"),
        pytest.param("out = df.sort('a')", {"a": [1, 2], "b": ["y", "x"]}, id="sort"),
        pytest.param("out = df.sort(['b'], ascending=False)", {"a": [1, 2], "b": ["y", "x"]}, id="sort-down"),
        pytest.param("out = df.set_index('a').sort()", {"b": ["y", "x"]}, id="sort-index"),
        pytest.param("s = df.a.copy()\ns.sort()\nout = s", {"a": [1, 2]}, id="sort-series-in-place"),
        pytest.param("out = df.a.order()", {"a": [1, 2]}, id="order"),
        pytest.param("out = df.select(lambda label: label == 1)", {"a": [1], "b": ["y"]}, id="select-rows"),
        pytest.param("out = df.select(lambda name: name == 'b', axis=1)", {"b": ["x", "y"]}, id="select-columns"),
        pytest.param("out = {'v': df[['a']].as_matrix()[:, 0]}", {"v": [2, 1]}, id="as_matrix"),
        pytest.param("out = {'n': [name for name, column in df.iteritems()]}", {"n": ["a", "b"]}, id="iteritems"),
        pytest.param("out = {'v': [df.get_value(0, 'b'), df.b.get_value(1)]}", {"v": ["x", "y"]}, id="get_value"),
        pytest.param("out = df.set_value(0, 'a', 7)", {"a": [7, 1], "b": ["x", "y"]}, id="set_value"),
        pytest.param("out = df.lookup([1, 0], ['b', 'b']).tolist()", {"0": ["y", "x"]}, id="lookup"),
        pytest.param(
            "out = pd.DataFrame({'a': ['1', 'x']}).convert_objects(convert_numeric=True)",
            {"a": [1.0, None]},
            id="convert_objects",
        ),
        pytest.param("out = df.irow(1).to_frame().T.rename(columns=str)", {"a": [1], "b": ["y"]}, id="irow"),
        pytest.param("out = df.icol(0)", {"a": [2, 1]}, id="icol"),
        pytest.param("out = df.applymap(str)", {"a": ["2", "1"], "b": ["x", "y"]}, id="applymap"),
        pytest.param("out = {'m': [df.a.mad(), df.mad().a]}", {"m": [0.5, 0.5]}, id="mad"),
        pytest.param("out = pd.rolling_mean(df.a, 2)", {"a": [None, 1.5]}, id="rolling_mean"),
        pytest.param("out = pd.expanding_sum(df.a)", {"a": [2.0, 3.0]}, id="expanding_sum"),
        pytest.param("out = {'v': pd.rolling_max(np.array([1, 3, 2]), 1)}", {"v": [1.0, 3.0, 2.0]}, id="rolling-array"),
        pytest.param("out = {'v': [pd.np.sqrt(4.0), pd.datetime(2020, 1, 2).year]}", {"v": [2.0, 2020.0]}, id="pd.np"),
        pytest.param("out = {'v': [np.float(1), np.int(2), np.NaN]}", {"v": [1.0, 2.0, None]}, id="np.float"),
        pytest.param("out = {'v': np.array([1], dtype=np.object)}", {"v": [1]}, id="np.object"),
    ],
)  # fmt: skip
def test_removed_methods_and_functions(body: str, expected: dict[str, list[object]], room: Room) -> None:
    """7.13: what scripts of the time call gives what it gave, and every one has its warning."""
    done = evaluated(room, FRAME + body)

    assert done.report["error"] is None
    assert done.table.to_pydict() == expected
    assert "removed_api" in done.warnings


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("out = df.append({'a': 3})", "append(dictionary) needs ignore_index=True"),
        ("out = df.append(pd.Series({'a': 3}))", "append(series) needs ignore_index=True"),
        ("out = df.lookup([5], ['a'])", "labels was not found"),
        ("out = df.lookup([5], ['a', 'b'])", "same size"),
        ("out = df.ix['q', 0]", "q"),
    ],
)
def test_errors_of_emulated_methods_show_the_script_alone(body: str, words: str, room: Room) -> None:
    """An error inside a shim is the script's error: its line, and no frame of ours."""
    done = evaluated(room, FRAME + "df.index = ['x', 'y']\n" + body)

    assert words in done.error["message"]
    assert done.error["line"] == 6
    assert "runner" not in done.error["traceback"]


def test_a_chained_assignment_is_told(room: Room) -> None:
    """What pandas 3 no longer does, setting through a column, is said where it would have been silent."""
    done = evaluated(room, LETTERS + "df['a'].ix['x'] = 9\nout = df.a")

    assert done.table.to_pydict() == {"a": [1, 2, 3]}
    assert "changes a copy, not the frame" in done.report["warnings"][1]["message"]


def test_names_that_are_not_mentioned_are_not_there(room: Room) -> None:
    """A script that does not mention a removed name sees the library as it is."""
    names = ["append", "ix", "sort", "iteritems"]
    done = evaluated(
        room, f"out = {{'n': [hasattr(pd.DataFrame(), name) for name in {names}] + [hasattr(np, 'float')]}}"
    )

    assert done.table.to_pydict() == {"n": [False] * 5}
    assert "removed_api" not in done.warnings


def test_libraries_see_the_truth(room: Room) -> None:
    """Only the script's own code gets the shims: code of libraries sees the library as it is."""
    head = HEAD + "import operator\n"
    body = (
        "library = {'pd': pd, 'np': np}\n"
        'exec(compile(\'seen = [hasattr(pd.DataFrame(), name) for name in ("ix", "append")]\','
        " '/usr/lib/python3/library.py', 'exec'), library)\n"
        "df = pd.DataFrame({'a': [1]})\n"
        "assert df.append(df).ix[0, 'a'].tolist() == [1, 1]\n"
        "out = {'seen': library['seen']}"
    )

    done = evaluated(room, body, head)

    assert done.table.to_pydict() == {"seen": [False, False]}


def test_columns_go_before_shims(room: Room) -> None:
    """A column that is called like a removed method is the column."""
    done = evaluated(
        room, "df = pd.DataFrame({'sort': [1], 'append': [2]})\nout = [int(df.sort[0]), int(df.append[0])]"
    )

    assert done.table.to_pydict() == {"0": [1, 2]}
    assert "removed_api" not in done.warnings


def test_the_new_select_is_left_alone(room: Room) -> None:
    """A select of columns, as newer versions of pandas have it, is theirs."""
    done = evaluated(
        room, FRAME + "if not hasattr(pd.DataFrame, 'select'):\n    return {'a': [2, 1]}\nout = df.select('a')"
    )

    assert done.table.to_pydict() == {"a": [2, 1]}
    assert "removed_api" not in done.warnings


def test_bundle_modules_have_shims(room: Room) -> None:
    """Removed names in a Python file of the bundle work there."""
    room.give_bundle({"old.py": "def first(df):\n    return df.ix[0:0].append(df)\n"})

    done = room.run("import old, pandas as pd\ndef azureml_main():\n    return old.first(pd.DataFrame({'a': [1]}))\n")

    assert done.table.to_pydict() == {"a": [1, 1]}
    assert done.warnings == ["removed_api", "removed_api"]


def test_v02_pandas_tools_plotting(room: Room) -> None:
    """V02: scatter_matrix is imported from where it was, and draws one image."""
    done = evaluated(
        room,
        "axes = scatter_matrix(pd.DataFrame({'a': [1, 2, 4], 'b': [3, 1, 2]}))\n"
        "axes[0][0].figure.savefig('scatter.png')\nout = {'n': [axes.shape[0]]}",
        "import matplotlib\nmatplotlib.use('agg')\nimport pandas as pd\n"
        "from pandas.tools.plotting import scatter_matrix\n",
    )

    assert done.table.to_pydict() == {"n": [2]}
    assert [image["name"] for image in done.report["images"]] == ["scatter.png"]
    assert "the module pandas.tools.plotting was removed" in done.report["warnings"][0]["message"]


def test_pandas_tools_without_an_import(room: Room) -> None:
    """The module is there after ``import pandas`` alone, as it was."""
    done = evaluated(room, "out = {'n': [pd.tools.plotting.scatter_matrix.__name__, pd.scatter_matrix.__name__]}")

    assert done.table.to_pydict() == {"n": ["scatter_matrix", "scatter_matrix"]}


def test_mentions_are_found_in_code_and_imports() -> None:
    """What stands behind a dot, or in an import of one line or several, is mentioned; the rest is not."""
    source = b"from pandas import (rolling_mean,\n  np)\nimport sklearn.cross_validation\ndf .ix[0]\nfloat(sort)\n"

    assert mentioned([source]) == {"pandas", "import", "rolling_mean", "np", "sklearn", "cross_validation", "ix"}


# --- paths with backslashes


@pytest.mark.parametrize(
    "expression",
    [
        r"open('.\\Script Bundle\\data\\f.csv').read()",
        r"open(r'.\Script Bundle\data\f.csv').read()",
        r"pd.read_csv('.\\Script Bundle\\data\\f.csv').columns[0]",
        r"open(os.path.join('.\\Script Bundle', 'data\\f.csv')).read()",
        r"pathlib.Path(r'Script Bundle\data\f.csv').read_text()",
        r"str(os.path.exists(r'.\Script Bundle\data\f.csv') and 'content')",
        r"str(os.path.isdir(r'.\Script Bundle\data') and 'content')",
        r"str(os.listdir(r'.\Script Bundle\data') and 'content')",
    ],
)
def test_5_2_paths_with_backslashes(expression: str, room: Room) -> None:
    """5.2: a path of Windows leads to the file that was meant, with one warning that names both."""
    room.give_bundle({"data/f.csv": "content"})

    done = evaluated(room, f"out = {{'t': [{expression}]}}", "import os, pathlib\nimport pandas as pd\n")

    assert done.report["error"] is None
    assert done.table.to_pydict() == {"t": ["content"]}
    assert done.warnings == ["backslash_path"]
    assert "Script Bundle/data" in done.report["warnings"][0]["message"] or "/data/f.csv" in str(
        done.report["warnings"]
    )


def test_5_2_a_path_that_leads_nowhere_either_way(room: Room) -> None:
    """5.2: a file that is not there is not found, with the hint, and without a frame of ours."""
    done = evaluated(room, r"out = open('.\\Script Bundle\\no.csv')")

    assert done.error["type"] == "FileNotFoundError"
    assert "by '/', not by" in done.error["message"]
    assert "runner" not in done.error["traceback"]


def test_5_2_imports_from_paths_with_backslashes(room: Room) -> None:
    """5.2: a folder that the script adds to sys.path with backslashes is imported from."""
    room.give_bundle({"lib/deep/mine.py": "x = 5"})

    done = room.run(
        "import sys\nsys.path.append('.\\\\Script Bundle\\\\lib\\\\deep')\nimport mine\n"
        "def azureml_main():\n    return {'x': [mine.x]}\n"
    )

    assert done.report["error"] is None
    assert done.table.to_pydict() == {"x": [5]}


def test_5_2_without_such_a_path_nothing_is_changed(room: Room) -> None:
    """Without a backslash in a literal, but for the likes of a line end, open is Python's own."""
    done = evaluated(room, "import builtins\nprint('a\\nb')\nout = {'m': [type(builtins.open).__name__]}")

    assert done.table.to_pydict() == {"m": ["builtin_function_or_method"]}


def test_tables_pass_after_shims(room: Room) -> None:
    """What the shims change does not touch the result: written tables are those of an untouched library."""
    room.give_table(1, pa.table({"a": [1, 2], "b": ["p", None]}))
    room.also("parquet")

    done = room.run("def azureml_main(df):\n    return df.append(df.ix[0:0])\n")

    assert done.table.to_pydict() == {"a": [1, 2, 1], "b": ["p", None, "p"]}
