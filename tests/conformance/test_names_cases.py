"""Index and column names (rules 3.1 to 3.10, cases X and N)."""

from __future__ import annotations

import pyarrow as pa
import pytest
from module_runs import D1, ECHO, Module, gives, run_each, run_module, same, warned

from tests.running import RunningServer


def named(names: str, *, arguments: str = "df=None") -> str:
    """A script that returns one row 0, 1, 2 ... under the names of this list."""
    return (
        "import numpy as np\nimport pandas as pd\n"
        f"def azureml_main({arguments}):\n    names = {names}\n"
        "    frame = pd.DataFrame([range(len(names))])\n"
        "    frame.columns = pd.Index(names, dtype=object)\n    return frame,\n"
    )


def numbered(*names: str) -> pa.Table:
    return pa.table([[position] for position in range(len(names))], names=list(names))


@pytest.fixture(scope="module")
def filtered(server: RunningServer) -> Module:
    """A run that keeps the rows 2 and 3 of four."""
    return run_module(server, "def azureml_main(df):\n    return df[df.a > 2],\n", D1)


def test_x01_inputs_are_numbered_from_zero(server: RunningServer, filtered: Module) -> None:
    """Whatever happened upstream, the index of an input is 0..n-1, of 64-bit integers."""
    script = """
        def azureml_main(df):
            assert str(df.index.dtype) == "int64", df.index
            assert list(df.index) == list(range(len(df))) == [0, 1], df.index
            return df.sort_values("a", ascending=False),
    """

    sorted_run = run_module(server, script, filtered.table())
    again = run_module(server, script, sorted_run.table())

    gives(sorted_run, pa.table({"a": [6, 4], "b": [7, 5]}))
    gives(again, pa.table({"a": [6, 4], "b": [7, 5]}))


def test_x02_a_named_index_is_dropped(server: RunningServer) -> None:
    """`set_index("a")` loses the column a, and that is told."""

    module = run_module(server, "def azureml_main(df):\n    return df.set_index('a')\n", D1)

    gives(module, D1.select(["b"]), index_dropped="'a'")
    assert "reset_index()" in module.warning("index_dropped")
    assert "index_dropped" in module.log()


def test_x03_the_rest_of_a_filter(server: RunningServer, filtered: Module) -> None:
    """The rows that were kept come out, and arrive downstream with the index 0, 1."""
    show = "def azureml_main(df):\n    print(list(df.index))\n    return df,\n"

    downstream = run_module(server, show, filtered.table())

    gives(filtered, pa.table({"a": [4, 6], "b": [5, 7]}))
    gives(downstream, filtered.table())
    assert downstream.log() == "[0, 1]\n"


def test_x04_sorted_rows_stay_in_their_order(server: RunningServer) -> None:
    """The order of the rows counts, not their index."""

    module = run_module(server, "def azureml_main(df):\n    return df.sort_values('a', ascending=False),\n", D1)

    gives(module, pa.table({"a": [6, 4, 2, 0], "b": [7, 5, 3, 1]}))


def test_rule_3_2_every_kind_of_index_is_dropped(server: RunningServer) -> None:
    """A MultiIndex and an index of times are dropped; the notice names every level that has a name."""
    scripts = {
        "levels": "def azureml_main(df):\n    return df.assign(c=1).set_index(['a', 'b'])\n",
        "times": "import pandas as pd\ndef azureml_main(df):\n"
        "    return df.set_index(pd.date_range('2020', periods=4))\n",
    }

    modules = run_each(server, scripts, D1)

    gives(modules["levels"], pa.table({"c": [1, 1, 1, 1]}), index_dropped="'a', 'b'")
    gives(modules["times"], D1)


def test_n01_names_that_are_not_text(server: RunningServer) -> None:
    """Numbers, None and tuples become their text."""

    module = run_module(server, named("[1, 2.0, None, ('p', 'q')]"))

    gives(module, numbered("1", "2.0", "None", "('p', 'q')"))


def test_n02_the_same_name_three_times(server: RunningServer) -> None:
    """The first one keeps its name, the others are numbered from 2."""

    module = run_module(server, named("['a', 'a', 'a']"))

    gives(module, numbered("a", "a (2)", "a (3)"))


def test_n04_text_first_then_numbers(server: RunningServer) -> None:
    """A number and its text are the same name."""

    module = run_module(server, named("[1, '1']"))

    gives(module, numbered("1", "1 (2)"))


def test_n05_two_pairs_of_names(server: RunningServer) -> None:
    """Each name is counted by itself."""

    module = run_module(server, named("['a', 'b', 'a', 'b']"))

    gives(module, numbered("a", "b", "a (2)", "b (2)"))


def test_n07_names_that_are_odd(server: RunningServer) -> None:
    """An empty name is told by its place; blanks, slashes and accents stay, out and back in."""

    module = run_module(server, named("['', 'naïve é', 'a b/c']"))
    again = run_module(server, ECHO, module.table())

    gives(module, numbered("Col1", "naïve é", "a b/c"))
    gives(again, numbered("Col1", "naïve é", "a b/c"))


def test_rule_3_3_more_names_that_are_not_text(server: RunningServer) -> None:
    """NaN, times, bytes and truth values become what str() makes of them."""

    module = run_module(server, named("[float('nan'), pd.Timestamp('2020-01-01'), b'x', True, ('a', 1)]"))

    gives(module, numbered("nan", "2020-01-01 00:00:00", "b'x'", "True", "('a', 1)"))


def test_rule_3_4_designer_names_as_classic_does(server: RunningServer) -> None:
    """Names that are no text are not refused in profile designer, either."""

    module = run_module(server, named("[1, '1']"), profile="designer")

    gives(module, numbered("1", "1 (2)"))


def test_rule_3_7_numbers_that_are_taken(server: RunningServer) -> None:
    """A name that is there already keeps its place; the next free number is taken."""
    scripts = {
        "later": named("['a', 'a', 'a (2)']"),
        "earlier": named("['a (2)', 'a', 'a', 'a']"),
        "empty": named("['', 'Col1']"),
    }

    modules = run_each(server, scripts)

    gives(modules["later"], numbered("a", "a (3)", "a (2)"))
    gives(modules["earlier"], numbered("a (2)", "a", "a (3)", "a (4)"))
    assert sorted(modules["empty"].table().column_names) == ["Col1", "Col1 (2)"]


def test_rule_3_8_names_differ_by_case_and_blanks(server: RunningServer) -> None:
    """Names are compared as they are: nothing is trimmed, folded or normalised."""

    module = run_module(server, named("['a', 'A', ' a', 'a ', '\\u00e9', 'e\\u0301']"))

    gives(module, numbered("a", "A", " a", "a ", "\u00e9", "e\u0301"))


def test_rule_3_10_incoming_names_are_text_and_distinct(server: RunningServer) -> None:
    """Names arrive in their order, as text; what comes twice is numbered on the way in, too."""
    doubled = pa.table([[0], [1], [2], [3]], names=["z", "a", "z", ""])
    script = "def azureml_main(df):\n    assert all(type(n) is str for n in df.columns)\n    print(list(df.columns))\n"

    arrow = run_module(server, script, doubled)
    csv = run_module(server, script, ("t.csv", b"z,a,z\n0,1,2\n"))

    warned(arrow, returned_nothing="nothing")
    assert arrow.log(stream="stdout") == "['z', 'a', 'z (2)', 'Col4']\n"
    assert csv.log(stream="stdout") == "['z', 'a', 'z (2)']\n"
    same(arrow.table(), pa.table({}))
