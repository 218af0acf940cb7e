"""Whole runs by the real program: the conformance cases of the module contract, by their ids."""

import re
import textwrap

import pyarrow as pa
import pytest
from runner_jobs import Room, records

D1 = {"a": [0, 2, 4, 6], "b": [1, 3, 5, 7]}


def script(text: str) -> str:
    """A script without the indentation of its test."""
    return textwrap.dedent(text).lstrip("\n")


DEFAULT = script(
    """
    import pandas as pd
    def azureml_main(dataframe1 = None, dataframe2 = None):
        print('Input pandas.DataFrame #1:\\r\\n\\r\\n{0}'.format(dataframe1))
        return dataframe1,
    """
)


def test_p01_the_default_script(room: Room) -> None:
    """P01: the first table goes through; the console holds the heading and the frame, and nothing of ours."""
    room.give_table(1, D1)

    done = room.run(DEFAULT)

    assert done.code == 0
    assert done.table.to_pydict() == D1
    assert done.log.startswith("Input pandas.DataFrame #1:\r\n\r\n   a  b\n0  0  1")
    assert done.log.endswith("3  6  7\n")
    assert done.report["output"] == {
        "rows": 4,
        "columns": [{"name": "a", "type": "int64"}, {"name": "b", "type": "int64"}],
    }
    assert done.report["files"] == {"result": (done.outputs / "result").stat().st_size}
    assert (done.report["outcome"], done.report["reason"], done.report["error"]) == ("succeeded", None, None)
    assert set(done.report["timings"]) == {"import_seconds", "read_seconds", "script_seconds", "write_seconds"}


def test_p05_two_inputs(room: Room) -> None:
    """P05: both tables arrive, in the order of their ports."""
    room.give_table(2, {"c": ["x"]})
    room.give_table(1, D1)

    done = room.run("def azureml_main(df1, df2):\n    assert list(df1) == ['a', 'b']\n    return (df2,)\n")

    assert done.table.to_pydict() == {"c": ["x"]}


def test_p06_no_inputs(room: Room) -> None:
    """P06: a script may make its own data."""
    done = room.run("import pandas as pd\ndef azureml_main():\n    return pd.DataFrame({'A': [0]})\n")

    assert done.table.to_pydict() == {"A": [0]}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("def other_main(df):\n    return df\n", "has no attribute 'azureml_main'", id="P09"),
        pytest.param("azureml_main = 3\n", "not callable, it is of type int", id="P10"),
        pytest.param("def azureml_main():\n    return 'text'\n", "returned a str", id="R11"),
        pytest.param("def azureml_main(a, b, c):\n    return a\n", "'c'", id="1.10"),
    ],
)
def test_scripts_without_a_usable_entry_point(text: str, words: str, room: Room) -> None:
    """P09, P10, R11: 0085 that says what is missing, also in the log."""
    done = room.run(text)

    assert (done.report["reason"], done.error["code"]) == ("script_error", "0085")
    assert words in done.error["message"]
    assert words in done.log
    assert done.report["output"] is None
    assert (done.outputs / "result").read_bytes() == b""


def test_p11_an_error_at_the_top_level(room: Room) -> None:
    """P11: an error outside of any function has its line."""
    done = room.run("import pandas\n\nraise ValueError('top')\n")

    assert (done.error["type"], done.error["message"], done.error["line"]) == ("ValueError", "top", 3)


def test_p12_the_script_is_not_main(room: Room) -> None:
    """P12: __name__ is not __main__, and the top level runs once."""
    done = room.run(
        "if __name__ == '__main__': print('main')\nprint('top')\ndef azureml_main():\n    return {'n': [__name__]}\n"
    )

    assert done.log.count("top") == 1
    assert "main\n" not in done.log.replace("azureml_main", "")
    assert done.table.to_pydict() == {"n": ["user_script"]}


def test_e01_division_by_zero(room: Room) -> None:
    """E01: type, message and line in the report; the traceback with the user's lines in the report and the log."""
    done = room.run("def azureml_main():\n    print('before')\n    1/0\n")

    assert (done.error["type"], done.error["message"], done.error["line"]) == (
        "ZeroDivisionError",
        "division by zero",
        3,
    )
    assert 'File "script.py", line 3, in azureml_main\n    1/0' in done.error["traceback"]
    assert done.error["traceback"] in done.log
    assert done.log.startswith("before\n[airlock] error 0085: ")
    assert re.search(r"\n-{10} .*Python.* -{10}\nCaught exception while executing function: Traceback", done.log)
    assert re.search(r"\n-{10} end .*Python.* -{10}\n$", done.log)
    assert "runner" not in done.log


@pytest.mark.parametrize(
    ("text", "kind", "line"),
    [
        pytest.param("def azureml_main():\nreturn 1\n", "IndentationError", 2, id="E02-indentation"),
        pytest.param("def azureml_main()\n    return 1\n", "SyntaxError", 1, id="E02-colon"),
        pytest.param("import missing_mod\n", "ModuleNotFoundError", 1, id="E03"),
        pytest.param("import sys\nsys.exit(0)\n", "SystemExit", 2, id="E04"),
        pytest.param("raise KeyboardInterrupt\n", "KeyboardInterrupt", 1, id="7.4"),
        pytest.param(b"x = '\xff'\n", "SyntaxError", None, id="not-utf-8"),
        pytest.param("x = 1\0\n", "SyntaxError", None, id="nul"),
    ],
)
def test_scripts_that_fail_while_loading(text: str, kind: str, line: int | None, room: Room) -> None:
    """E02-E04: 0085 at load, with the line."""
    done = room.run(text)

    assert (done.error["code"], done.error["type"]) == ("0085", kind)
    if line:
        assert done.error["line"] == line


def test_e07_memory(room: Room) -> None:
    """E07: a MemoryError has the code 0138; who decides about the status is the controller."""
    done = room.run("def azureml_main():\n    return bytearray(2**62)\n")

    assert (done.report["reason"], done.error["code"]) == ("script_error", "0138")


def test_c01_all_output_is_in_the_log(room: Room) -> None:
    """C01: prints, standard error, child processes and C libraries end up in the log, whole."""
    done = room.run(
        script(
            """
            import ctypes, os, subprocess, sys
            def azureml_main():
                print('printed é\\ud800')
                sys.stderr.write('written')
                subprocess.run(['/bin/echo', 'echoed'])
                ctypes.CDLL(None).puts(b'put by C')
                sys.stdout.write('no newline')
                return None
            """
        )
    )

    for words in ("printed é\\ud800\n", "written", "echoed\n", "put by C\n", "no newline"):
        assert words in done.log


def test_x01_x03_the_index(room: Room) -> None:
    """X01-X03: 0..n-1 on the way in; whatever there is, dropped on the way out."""
    room.give_table(1, D1)

    done = room.run(
        "def azureml_main(df):\n    assert str(df.index.dtype) == 'int64'\n"
        "    assert list(df.index) == [0, 1, 2, 3]\n    return df[df.a > 2].set_index('a')\n"
    )

    assert done.table.to_pydict() == {"b": [5, 7]}
    assert done.warnings == ["index_dropped"]
    assert done.log == (
        "[airlock] warning index_dropped: the index 'a' of the returned frame is not part of the result;"
        " use reset_index() to make it a column\n"
    )


def test_n01_names_in_the_result(room: Room) -> None:
    """N01, N02: names become text and distinct, in the result and in the report."""
    done = room.run(
        "import pandas as pd\ndef azureml_main():\n    return pd.DataFrame([[1, 2, 3]], columns=[1, '1', 1])\n"
    )

    assert [column["name"] for column in done.report["output"]["columns"]] == ["1", "1 (2)", "1 (3)"]


def test_t01_every_requested_output(room: Room) -> None:
    """The result is written in each format that was asked for, and each is counted."""
    room.give(1, b"a,b\n1,x\n,\n", "csv")
    for form in ("csv", "json", "parquet"):
        room.also(form)

    done = room.run("def azureml_main(df):\n    return df\n")

    assert done.table.to_pydict() == {"a": [1.0, None], "b": ["x", None]}
    assert (done.outputs / "result.csv").read_text() == '"a","b"\n1.0,"x"\n,\n'
    assert (done.outputs / "result.json").read_text() == '[{"a":1.0,"b":"x"},{"a":null,"b":null}]\n'
    assert (done.outputs / "result.parquet").read_bytes()[:4] == b"PAR1"
    assert done.report["files"] == {
        output["file"]: (done.outputs / output["file"]).stat().st_size for output in room.job["outputs"]
    }


def test_t14_cells_that_a_table_cannot_hold(room: Room) -> None:
    """T14: the error names column, row and type."""
    done = room.run("import pandas as pd\ndef azureml_main():\n    return pd.DataFrame({'x': [None, [1]]})\n")

    assert done.error["code"] == "0017"
    assert "column 'x', row 1" in done.error["message"]
    assert "list" in done.error["message"]


def test_t14_an_object_that_holds_itself(room: Room) -> None:
    """T14: a list that holds itself is an error, in both profiles, and not the end of the process."""
    room.job["profile"] = "designer"

    done = room.run(
        "import pandas as pd\ndef azureml_main():\n    x = []\n    x.append(x)\n"
        "    return pd.DataFrame({'x': pd.Series([x], dtype=object)})\n"
    )

    assert "column 'x', row 0" in done.error["message"]


def test_r18_pickled_objects(room: Room) -> None:
    """R18: bytes in a frame come out as they are."""
    done = room.run(
        "import pandas as pd, pickle\ndef azureml_main():\n    return pd.DataFrame({'m': [pickle.dumps({'k': 1})]})\n"
    )

    assert done.table.schema.types == [pa.binary()]
    assert __import__("pickle").loads(done.table["m"][0].as_py()) == {"k": 1}


def test_7_11_parameters(room: Room) -> None:
    """7.11: a keyword called params gets the run's parameters."""
    room.job["parameters"] = {"rate": 0.5}

    assert room.run("def azureml_main(*, params):\n    return params | {'n': [1]}\n").table.to_pylist() == [
        {"rate": 0.5, "n": 1}
    ]


# --- bundles


def test_b01_hello(room: Room) -> None:
    """B01: a module in the bundle is imported by its name."""
    room.give_bundle({"Hello.py": "def print_hello(name):\n    print('Hello ' + name)\n"})
    room.give_table(1, D1)

    done = room.run("import Hello\ndef azureml_main(df):\n    Hello.print_hello('World')\n    return df,\n")

    assert done.log == "Hello World\n"
    assert done.table.to_pydict() == D1


@pytest.mark.parametrize("path", ["./Script Bundle/data/f.txt", "src/data/f.txt"])
def test_b02_bundle_files(path: str, room: Room) -> None:
    """B02: files of the bundle are read under ./Script Bundle, or ./src."""
    room.give_bundle({"data/f.txt": "content"})

    done = room.run(f"def azureml_main():\n    return {{'t': [open({path!r}).read()]}}\n")

    assert done.table.to_pydict() == {"t": ["content"]}


def test_b03_packages(room: Room) -> None:
    """B03: packages and their modules are imported."""
    room.give_bundle({"pkg/__init__.py": "", "pkg/sub/__init__.py": "", "pkg/sub/m.py": "x = 5"})

    done = room.run("from pkg.sub.m import x\ndef azureml_main():\n    return {'x': [x]}\n")

    assert done.table.to_pydict() == {"x": [5]}


def test_b04_one_top_folder(room: Room) -> None:
    """B04: a zip of a folder fails with a hint that works."""
    room.give_bundle({"Hello/Hello.py": "x = 1"})

    failed = room.run("import Hello\nimport Hello.missing\n")

    assert failed.error["type"] == "ModuleNotFoundError"


def test_b04_the_hint(room: Room) -> None:
    """B04: a module inside the only folder is named with the import that finds it."""
    room.give_bundle({"project/helper.py": "x = 1"})

    done = room.run("import helper\n")

    assert "from project import helper" in done.error["message"]
    assert "from project import helper" in done.log


@pytest.mark.parametrize("data", [b"no zip", b""])
def test_b06_no_zip(data: bytes, room: Room) -> None:
    """B06: what is no zip is 0102, and the script does not run."""
    (room.base / "in" / "bundle.zip").write_bytes(data)
    room.job["bundle"] = "bundle.zip"

    done = room.run("print('ran')\n")

    assert (done.report["reason"], done.error["code"]) == ("bad_input", "0102")
    assert "ran\n" not in done.log


def test_b11_an_error_in_the_bundle(room: Room) -> None:
    """B11: a syntax error in a module of the bundle names that file and its line, and the script's line."""
    room.give_bundle({"broken.py": "x = 1\ndef f(:\n"})

    done = room.run("import pandas\nimport broken\n")

    assert (done.error["type"], done.error["line"]) == ("SyntaxError", 2)
    assert "broken.py, line 2" in done.error["message"]
    assert "Script Bundle/broken.py" in done.error["traceback"]


def test_5_7_names_of_the_runner_are_free(room: Room) -> None:
    """5.7: a bundle may hold modules named like the runner's own."""
    room.give_bundle({"runner.py": "who = 'mine'", "job.py": "who = 'mine too'"})

    done = room.run("import runner, job\ndef azureml_main():\n    return {'w': [runner.who, job.who]}\n")

    assert done.table.to_pydict() == {"w": ["mine", "mine too"]}


def test_5_7_the_runner_is_out_of_sight(room: Room) -> None:
    """5.7: without such a bundle there is no module called runner at all."""
    assert room.run("import runner\n").error["type"] == "ModuleNotFoundError"


def test_5_7_shadows_are_noted(room: Room) -> None:
    """5.7: the standard library goes first, the bundle before the packages; both are said."""
    room.give_bundle({"string.py": "", "pytest.py": "who = 'mine'"})

    done = room.run("import string, pytest\ndef azureml_main():\n    return {'w': [pytest.who, string.digits]}\n")

    assert done.table.to_pydict() == {"w": ["mine", "0123456789"]}
    assert done.warnings == ["name_shadowing", "name_shadowed", "returned_dict"]


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_functions_of_the_script_work_in_processes(method: str, room: Room) -> None:
    """A pool of processes finds the script's functions, however its workers are started."""
    done = room.run(
        script(
            f"""
            import multiprocessing
            def double(n):
                return 2 * n
            def azureml_main():
                with multiprocessing.get_context({method!r}).Pool(1) as pool:
                    return {{'n': pool.map(double, [1, 2])}}
            """
        )
    )

    assert done.report["error"] is None
    assert done.table.to_pydict() == {"n": [2, 4]}


# --- images

PLOT = script(
    """
    import matplotlib
    import matplotlib.pyplot as plt
    def draw(name):
        figure = plt.figure(figsize=(1, 1))
        figure.gca().plot([1, 2])
        if name:
            figure.savefig(name)
        return figure
    """
)


def test_v01_saved_figures(room: Room) -> None:
    """V01, V05: every PNG saved is picked up, in order; corrupt ones are reported."""
    done = room.run(
        PLOT
        + script(
            """
            import os
            def azureml_main():
                os.mkdir('sub')
                draw('sub/b.png'); draw('A.PNG')
                open('corrupt.png', 'w').write('no')
                assert matplotlib.get_backend().lower() == 'agg'
                return {'n': [1]}
            """
        )
    )

    assert [image["name"] for image in done.report["images"]] == ["sub/b.png", "A.PNG"]
    assert all(done.image(n).startswith(b"\x89PNG") and done.image(n).endswith(b"IEND\xaeB`\x82") for n in (0, 1))
    assert done.warnings == ["returned_dict", "image_unreadable"]
    assert done.table.to_pydict() == {"n": [1]}


def test_v04_open_figures(room: Room) -> None:
    """V04: an open figure that was never saved is captured and marked; one that was saved is not."""
    done = room.run(
        PLOT + "import io\ndef azureml_main():\n"
        "    draw('saved.png'); draw(io.BytesIO()); draw(None); plt.close(draw(None))\n"
    )

    assert [image["name"] for image in done.report["images"]] == ["saved.png", "figure-3.png"]
    assert done.image(1).startswith(b"\x89PNG")
    assert done.warnings == ["returned_nothing", "figure_captured"]


def test_v07_images_of_a_failed_run(room: Room) -> None:
    """V07: what was printed and drawn before the failure is still there."""
    done = room.run(PLOT + "def azureml_main():\n    print('seen')\n    draw('a.png')\n    1/0\n")

    assert done.error["type"] == "ZeroDivisionError"
    assert [image["name"] for image in done.report["images"]] == ["a.png"]
    assert done.log.startswith("seen\n")


def test_matplotlib_is_not_imported_for_nothing(room: Room) -> None:
    """A script that draws nothing pays nothing for matplotlib."""
    done = room.run("import sys\ndef azureml_main():\n    return {'m': ['matplotlib' in sys.modules]}\n")

    assert done.table.to_pydict() == {"m": [False]}


# --- inputs, limits, conversion


def test_0018_a_table_that_cannot_be_read(room: Room) -> None:
    """0018: the error names port and format, and the script does not run."""
    room.give_table(1, D1)
    room.give(2, b"PAR1", "parquet")

    done = room.run("print('ran')\n")

    assert (done.report["reason"], done.error["code"]) == ("bad_input", "0018")
    assert "input port 2 (dataframe2) cannot be read as parquet" in done.error["message"]
    assert "ran\n" not in done.log


def test_the_output_limit(room: Room) -> None:
    """A result past the size limit of a file is output_limit, with the limit named."""
    room.job["limits"] = room.job["limits"] | {"output_bytes": 100_000}

    done = room.run(
        "import numpy, resource\ndef azureml_main():\n"
        "    resource.setrlimit(resource.RLIMIT_FSIZE, (100000, 100000))\n"
        "    return {'x': numpy.zeros(100000)}\n"
    )

    assert done.report["reason"] == "output_limit"
    assert "the limit is 100000 bytes" in done.error["message"]
    assert done.report["files"] == {}
    assert (done.outputs / "result").stat().st_size == 0


def test_convert(room: Room) -> None:
    """A conversion reads one table and writes it in every format, without a script and without pandas' types."""
    room.job["task"] = "convert"
    room.give(1, b"a,d\n1,2020-01-02\n,\n", "csv")
    room.also("json")

    done = room.run()

    assert [str(kind) for kind in done.table.schema.types] == ["int64", "date32[day]"]
    assert records(done.table)[1] == {"a": None, "d": None}
    assert (done.outputs / "result.json").read_text() == '[{"a":1,"d":"2020-01-02"},{"a":null,"d":null}]\n'
    assert (done.work / "Script Bundle").exists() is False


def test_t20_a_large_echo(room: Room) -> None:
    """T20: twenty million numbers go through within a few seconds."""
    import numpy as np

    table = pa.table({f"c{n}": np.arange(1_000_000) * (n + 0.5) for n in range(20)})
    room.job["limits"] = room.job["limits"] | {"output_bytes": 10**9}
    room.give_table(1, table)

    done = room.run("def azureml_main(df):\n    return df\n")

    assert done.table.equals(table)
    assert done.report["timings"]["read_seconds"] + done.report["timings"]["write_seconds"] < 10
