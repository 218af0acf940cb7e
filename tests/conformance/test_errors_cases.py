"""How a run fails, and what it says (rules 7.1 to 7.6, 7.13, cases E)."""

from __future__ import annotations

import pyarrow as pa
import pytest
from module_runs import D1, D2, ECHO, Module, arrow_file, fails, gives, run_each, run_module, warned

from tests.running import RunningServer

DIVIDE = """
def helper(x):
    return x / 0

def azureml_main(df):
    print("so far")
    return helper(1)
"""
MARK = "----------"


@pytest.fixture(scope="module")
def divided(server: RunningServer) -> Module:
    """A run that divides by zero in a function of its own."""
    return run_module(server, DIVIDE, D1)


def test_e01_a_division_by_zero(divided: Module) -> None:
    """0085 with the exception's class, the line, and the traceback, in the error and in the log."""

    log = divided.log()

    fails(divided, "0085", "ZeroDivisionError", "division by zero", line=2)
    assert divided.error["traceback"].startswith("Traceback (most recent call last):\n")
    assert divided.error["traceback"].endswith("ZeroDivisionError: division by zero\n")
    for line in ('File "script.py", line 6, in azureml_main', 'File "script.py", line 2, in helper', "return x / 0"):
        assert line in divided.error["traceback"]
        assert line in log
    assert "so far" in log.splitlines()
    assert "runner" not in divided.error["traceback"]


def test_rule_7_1_the_traceback_stands_between_two_marks(divided: Module) -> None:
    """A line that begins the interpreter's message and one that ends it, of ten dashes, name Python."""

    lines = divided.log().splitlines()

    begin, end = [number for number, line in enumerate(lines) if line.startswith(MARK) and "Python" in line]
    for line in (lines[begin], lines[end]):
        assert line.startswith(MARK + " ")
        assert line.endswith(" " + MARK)
    inside = "\n".join(lines[begin + 1 : end])
    assert "Traceback (most recent call last):" in inside
    assert "ZeroDivisionError: division by zero" in inside


def test_rule_7_2_the_log_has_the_whole_traceback(divided: Module) -> None:
    """The traceback of the error stands in the log as it is."""

    assert len(divided.error["traceback"]) > 100
    assert divided.error["traceback"].strip() in divided.log()


def test_rule_7_3_designer_names_line_and_function(server: RunningServer) -> None:
    """What that version added to the message is there in every form: class, line, and the line in azureml_main."""

    module = run_module(server, DIVIDE, D1, profile="designer")

    fails(module, "0085", "ZeroDivisionError", "division by zero", line=2)
    assert "line 6, in azureml_main" in module.error["traceback"]


INDENTED = "def azureml_main(df):\n    x = 1\n      y = 2\n    return df,\n"
NO_COLON = "import os\n\ndef azureml_main(df)\n    return df,\n"


def test_e02_mistakes_of_syntax(server: RunningServer) -> None:
    """Bad indentation and a missing colon: 0085 before anything runs, with the line."""

    modules = run_each(server, {"indented": INDENTED, "no colon": NO_COLON}, D1)

    fails(modules["indented"], "0085", "IndentationError", "unexpected indent", line=3)
    fails(modules["no colon"], "0085", "SyntaxError", "expected ':'", line=3)


def test_e03_a_missing_package(server: RunningServer) -> None:
    """The module is named, and where packages come from."""

    module = run_module(server, "import missing_mod\ndef azureml_main(df):\n    return df,\n", D1)

    fails(module, "0085", "ModuleNotFoundError", "missing_mod", "Hint", "script bundle", line=1)


def test_e04_leaving_the_interpreter(server: RunningServer) -> None:
    """sys.exit(0) is a failure: the result is not there."""

    module = run_module(server, "import sys\ndef azureml_main(df):\n    sys.exit(0)\n", D1)

    fails(module, "0085", "SystemExit", "SystemExit: 0", line=3)


def test_rule_7_4_other_ways_to_leave(server: RunningServer) -> None:
    """At load as in the call, by any code, and by an interrupt: 0085."""
    scripts = {
        "top level": "import sys\nsys.exit(3)\n",
        "interrupt": "def azureml_main():\n    raise KeyboardInterrupt\n",
        "import": "from os import no_such_name\n",
        "own base": "class Mine(BaseException): pass\ndef azureml_main():\n    raise Mine('odd')\n",
    }

    modules = run_each(server, scripts)

    fails(modules["top level"], "0085", "SystemExit", "SystemExit: 3", line=2)
    fails(modules["interrupt"], "0085", "KeyboardInterrupt", "KeyboardInterrupt", line=2)
    fails(modules["import"], "0085", "ImportError", "no_such_name", line=1)
    fails(modules["own base"], "0085", "Mine", "odd", line=3)


def test_rule_7_5_an_empty_file_is_0003(server: RunningServer) -> None:
    """A table that is there and holds nothing is a missing input."""

    module = run_module(server, ECHO, ("t.csv", b""))

    assert (module.run["status"], module.run["reason"]) == ("failed", "bad_input"), module.run
    assert module.error["code"] == "0003", module.error
    assert "port 1" in module.error["message"]


def test_rule_7_5_a_column_that_is_not_there_is_0001(server: RunningServer) -> None:
    """A selected column has to exist; the message names it, its port, and what there is."""

    module = run_module(server, ECHO, D1, dataframe1={"columns": ["a", "missing"]})

    assert (module.run["status"], module.run["reason"]) == ("failed", "bad_input"), module.run
    assert module.error["code"] == "0001", module.error
    assert "'missing'" in module.error["message"]
    assert "port 1" in module.error["message"]


def test_rule_7_5_a_cell_that_does_not_convert_is_0042(server: RunningServer) -> None:
    """A stated type that a cell does not have: column, row, value and type are named."""
    csv = ("t.csv", b"n,s\n1,a\nx7,b\n")

    module = run_module(server, ECHO, csv, dataframe1={"types": {"n": "int64"}})

    assert (module.run["status"], module.run["reason"]) == ("failed", "bad_input"), module.run
    assert module.error["code"] == "0042", module.error
    for word in ("'n'", "1", "x7", "int64"):
        assert word in module.error["message"]


def test_rule_7_5_an_unsupported_cell_is_0017(server: RunningServer) -> None:
    """Column, row, value and type are named."""
    script = """
        import pandas as pd
        class Thing:
            def __repr__(self):
                return "<a thing>"
        def azureml_main():
            return pd.DataFrame({"n": [1, 2, 3], "t": [None, None, Thing()]}),
    """

    module = run_module(server, script)

    fails(module, "0017", "UnsupportedValue", "'t'", "row 2", "<a thing>", "user_script.Thing")


def test_rule_7_5_a_table_that_cannot_be_read_is_0018(server: RunningServer) -> None:
    """A file that is not what it is said to be names port and format."""

    module = run_module(server, ECHO, ("t.arrow", arrow_file(D1)[:-40]))

    assert (module.run["status"], module.run["reason"]) == ("failed", "bad_input"), module.run
    assert module.error["code"] == "0018"
    assert "port 1" in module.error["message"]


def test_e06_an_endless_loop(server: RunningServer) -> None:
    """It is ended at its limit, and the message gives the limit."""

    script = "print('so far', flush=True)\ndef azureml_main():\n    while True: pass\n"

    module = run_module(server, script, timeout_seconds=2)

    assert (module.run["status"], module.run["reason"]) == ("failed", "timeout"), module.run
    assert module.error["code"] == "0085"
    assert "limit of 2 seconds" in module.error["message"]
    assert 2 <= module.run["usage"]["wall_seconds"] < 20
    assert "so far" in module.log().splitlines()


def test_e07_more_memory_than_there_is(server: RunningServer) -> None:
    """0138, whether the kernel or Python notices."""
    script = "def azureml_main():\n    held = []\n    while True:\n        held.append(bytearray(1 << 24))\n"

    module = run_module(server, script, memory_bytes=256 << 20)

    assert module.run["status"] == "failed"
    assert module.run["reason"] in ("out_of_memory", "script_error")
    assert module.error["code"] == "0138", module.error
    assert "memory" in module.error["message"]


def test_rule_7_6_the_interpreter_is_killed(server: RunningServer) -> None:
    """0085 that gives the exit code or the signal."""
    scripts = {
        "exit": "import os\ndef azureml_main():\n    os._exit(7)\n",
        "signal": "import ctypes\ndef azureml_main():\n    ctypes.string_at(0)\n",
    }

    modules = run_each(server, scripts)

    for module in modules.values():
        assert (module.run["status"], module.run["reason"]) == ("failed", "crashed"), module.run
        assert module.error["code"] == "0085"
    assert "7" in modules["exit"].error["message"]
    assert "SIGSEGV" in modules["signal"].error["message"] or "139" in modules["signal"].error["message"]


OLD = """
    import pandas as pd
    def azureml_main(df):
        told = {
            "append": df.append(df.iloc[:1]).b.tolist(),
            "select": df.select(lambda name: name == "b", axis=1).columns.tolist(),
            "np": [int(pd.np.sum(df.a))],
            "sort": df.sort("a", ascending=False).a.tolist(),
            "as_matrix": df.as_matrix().tolist(),
        }
        return pd.DataFrame({"name": list(told), "value": [repr(value) for value in told.values()]}),
"""


def test_rule_7_13_what_pandas_has_removed(server: RunningServer) -> None:
    """Scripts that use what pandas had then still run; each old name has a warning that says what to write now."""

    module = run_module(server, OLD, D1)

    assert module.run["status"] == "succeeded", module.error
    told = dict(zip(*module.table().to_pydict().values(), strict=True))
    assert told == {
        "append": "[1, 3, 5, 7, 1]",
        "select": "['b']",
        "np": "[12]",
        "sort": "[6, 4, 2, 0]",
        "as_matrix": "[[0, 1], [2, 3], [4, 5], [6, 7]]",
    }
    warned(module, removed_api="pandas.concat")
    for name in told:
        assert f".{name} was removed" in module.warning("removed_api")


def test_rule_7_13_nothing_old_no_warning(server: RunningServer) -> None:
    """A script that uses none of it meets today's pandas: no shim, no warning."""
    script = """
        import pandas as pd
        def azureml_main(df, other):
            assert not hasattr(df, "as_matrix")
            return df.merge(other, left_index=True, right_index=True),
    """

    module = run_module(server, script, D1, D2)

    gives(module, pa.table({"a": [0, 2], "b": [1, 3], "c": ["x", "y"]}))


def test_rule_7_13_python_2(server: RunningServer) -> None:
    """A print statement fails with a sentence that says which Python this is."""

    module = run_module(server, "def azureml_main(df):\n    print df\n    return df,\n", D1)

    fails(module, "0085", "SyntaxError", "Python 3", "print(x)", line=2)
