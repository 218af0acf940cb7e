"""What azureml_main is called with (rules 1.1 to 1.12, cases P)."""

from __future__ import annotations

import pyarrow as pa
from module_runs import D1, D2, ECHO, ended, fails, gives, run_each, run_module, same, start

from tests.running import RunningServer


def what(names: str) -> str:
    """A script whose parameters are `names`, and which returns one row for each of them."""
    arguments = ", ".join(name.strip().split("=")[0].split(":")[0] for name in names.split(",") if name.strip())
    return (
        f"import pandas as pd\ndef azureml_main({names}):\n    values = [{arguments}]\n"
        "    told = ['None' if v is None else ' '.join(v) if hasattr(v, 'columns') else repr(v) for v in values]\n"
        f"    return pd.DataFrame({{'got': pd.Series(told, dtype='str')}}),\n"
    )


def got(*values: str) -> pa.Table:
    return pa.table({"got": pa.array(values, pa.string())})


def test_p01_the_default_script(server: RunningServer) -> None:
    """The script that the module's editor starts with: prints its first table under a heading and returns it."""
    script = """
        # The two tables come as DataFrames, or as None.
        import pandas as pd

        def azureml_main(dataframe1 = None, dataframe2 = None):
            print('Input pandas.DataFrame #1:\\r\\n\\r\\n{0}'.format(dataframe1))
            return dataframe1,
    """

    module = run_module(server, script, D1)

    gives(module, D1)
    log = module.log()
    assert log.startswith("Input pandas.DataFrame #1:\r\n\r\n")
    assert log.split("\r\n")[2].split() == ["a", "b", "0", "0", "1", "1", "2", "3", "2", "4", "5", "3", "6", "7"]


def test_p02_one_parameter_of_any_name(server: RunningServer) -> None:
    """One parameter, named as the author likes, gets the only table."""

    module = run_module(server, "def azureml_main(dataframe):\n    return dataframe,\n", D1)

    gives(module, D1)


def test_p03_a_required_parameter_without_a_table_is_none(server: RunningServer) -> None:
    """Two required parameters and one table: the second one is None."""
    script = "def azureml_main(df1, df2):\n    assert df2 is None, df2\n    return df1,\n"

    module = run_module(server, script, D1)

    gives(module, D1)


def test_p05_two_tables_in_the_order_of_their_ports(server: RunningServer) -> None:
    """The second parameter is the second table, whatever its name."""

    module = run_module(server, "def azureml_main(left, right):\n    return (right,)\n", D1, D2)

    gives(module, D2)


def test_p06_no_parameters_and_no_tables(server: RunningServer) -> None:
    """A script may make its data."""
    script = "import pandas as pd\ndef azureml_main():\n    return pd.DataFrame({'A': [0]}),\n"

    module = run_module(server, script)

    gives(module, pa.table({"A": [0]}))


def test_p07_no_parameters_and_two_tables(server: RunningServer) -> None:
    """Tables that the function does not take are dropped, and that is said."""
    script = "import pandas as pd\ndef azureml_main():\n    return pd.DataFrame({'A': [0]}),\n"

    module = run_module(server, script, D1, D2)

    gives(module, pa.table({"A": [0]}), inputs_not_passed="0 of the 2")


def test_p09_another_function(server: RunningServer) -> None:
    """Without azureml_main there is nothing to call."""

    module = run_module(server, "def other_main(dataframe1):\n    return dataframe1,\n", D1)

    fails(module, "0085", "ScriptRefused", "no attribute 'azureml_main'")


def test_p10_an_entry_point_that_is_no_function(server: RunningServer) -> None:
    """What cannot be called is named by its type."""

    module = run_module(server, "azureml_main = 3\n")

    fails(module, "0085", "ScriptRefused", "not callable", "int")


def test_p11_a_top_level_that_raises(server: RunningServer) -> None:
    """An error before the call is the script's, with its line."""
    script = "limit = 3\n\nraise ValueError('too small')\n\ndef azureml_main(a):\n    return a,\n"

    module = run_module(server, script, D1)

    fails(module, "0085", "ValueError", "too small", line=3)


def test_p12_the_script_is_not_main(server: RunningServer) -> None:
    """What a file does when it is run by itself does not happen here."""
    script = "if __name__ == '__main__':\n    print('x')\ndef azureml_main(a):\n    return a,\n"

    module = run_module(server, script, D1)

    gives(module, D1)
    assert module.log() == ""


def test_p14_each_module_has_its_own_copy(server: RunningServer) -> None:
    """A module that changes its table in place changes nothing for the next consumer of the same output."""
    mutate = """
        def azureml_main(mine, other):
            mine.loc[0, "a"] = 99
            mine["new"] = 1
            mine.drop(index=[1, 2], inplace=True)
            return other,
    """
    upstream = run_module(server, ECHO, D1)
    table = upstream.table()

    mutated = run_module(server, mutate, table, table)
    second = run_module(server, ECHO, table)

    gives(mutated, D1)
    gives(second, D1)
    same(upstream.table(), D1)


def test_rule_1_2_a_run_names_its_environment(server: RunningServer) -> None:
    """Which packages a script met is written down: the environment and the digest of its image."""
    module = run_module(server, "def azureml_main():\n    pass\n")

    unknown = server.post("/v1/runs", json={"script": "x = 1", "options": {"environment": "Anaconda 2.0"}})

    assert module.run["environment"]["name"] == "default"
    assert module.run["environment"]["digest"].startswith("sha256:")
    assert unknown.status_code == 422, unknown.text


def test_rule_1_3_there_is_no_random_seed(server: RunningServer) -> None:
    """Python's module has no such parameter: it is refused rather than ignored."""

    answer = server.post("/v1/runs", json={"script": "x = 1", "options": {"random_seed": 7}})

    assert answer.status_code == 422, answer.text
    assert "random_seed" in answer.text


def test_rule_1_5_the_top_level_runs_once_before_the_call(server: RunningServer) -> None:
    """It is imported as a module of some name, and runs top to bottom before azureml_main is called."""
    script = """
        print("top of", __name__ != "__main__")
        def azureml_main():
            print("called")
        print("end of top")
    """

    module = run_module(server, script)

    assert module.log(stream="stdout").splitlines() == ["top of True", "end of top", "called"]


ARITIES = {
    "none": ("", []),
    "one": ("df1", ["a b"]),
    "two": ("df1, df2", ["a b", "None"]),
    "three, one with a default": ("df1, df2, df3=None", ["a b", "None", "None"]),
}


def test_rule_1_8_designer_passes_both_ports_by_arity(server: RunningServer) -> None:
    """Profile designer: cut to what the function takes, an unconnected port as None, by port and not by order."""
    second_only = start(server, what("df1, df2"), None, D2, profile="designer")
    too_many = start(server, what("df1, df2, df3"), D1, profile="designer")

    modules = run_each(server, {name: what(names) for name, (names, _) in ARITIES.items()}, D1, profile="designer")

    for name, (_, expected) in ARITIES.items():
        gives(modules[name], got(*expected))
    gives(ended(server, second_only), got("None", "c"))
    fails(ended(server, too_many), "0085", "TypeError", "missing 1 required positional argument", "df3")


def test_rule_1_9_only_the_second_port_is_connected(server: RunningServer) -> None:
    """Its table is the first argument, and the log says so."""

    module = run_module(server, what("df1, df2=None"), None, D2)

    gives(module, got("c", "None"), second_port_only="port 2")
    assert "second_port_only" in module.log()


def test_rule_1_9_surplus_tables_are_dropped(server: RunningServer) -> None:
    """Two tables for one parameter: the first one is passed."""

    module = run_module(server, what("df1"), D1, D2)

    gives(module, got("a b"), inputs_not_passed="1 of the 2")


SIGNATURES = {
    "a required keyword": ("def azureml_main(df1, *, mode): pass\n", "'mode'"),
    "three required": ("def azureml_main(df1, df2, df3): pass\n", "'df3'"),
    "async": ("async def azureml_main(df1): pass\n", "async"),
    "generator": ("def azureml_main(df1):\n    yield df1\n", "generator"),
}


def test_rule_1_10_signatures_that_cannot_be_served(server: RunningServer) -> None:
    """They are refused before the call, and the parameter or the kind of function is named."""

    modules = run_each(server, {name: script for name, (script, _) in SIGNATURES.items()}, D1)

    for name, (_, word) in SIGNATURES.items():
        fails(modules[name], "0085", "ScriptRefused", word)


def test_rule_1_10_any_number_of_arguments(server: RunningServer) -> None:
    """*args gets the connected tables."""
    script = "def azureml_main(*args):\n    print(len(args))\n    return args[1],\n"

    module = run_module(server, script, D1, D2)

    gives(module, D2)
    assert module.log() == "2\n"


def test_rule_1_1_a_run_says_what_was_connected(server: RunningServer) -> None:
    """Port, rows and columns of each table that went in."""

    module = run_module(server, "def azureml_main(dataframe1, dataframe2):\n    return dataframe2,\n", D1, D2)

    gives(module, D2)
    inputs = module.run["inputs"]
    assert [(entry["port"], entry["rows"]) for entry in inputs] == [(1, 4), (2, 2)]
    assert inputs[0]["columns"] == [{"name": "a", "type": "int64"}, {"name": "b", "type": "int64"}]
    assert inputs[1]["columns"] == [{"name": "c", "type": "string"}]
