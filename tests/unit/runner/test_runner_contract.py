"""Profiles, wheels, errors and images of whole runs, by the real program; the other cases are in test_runner_run."""

import textwrap

import pyarrow as pa
import pytest
from runner_jobs import Room, zip_bytes

D1 = {"a": [0, 2, 4, 6], "b": [1, 3, 5, 7]}


def _second_output(room: Room) -> None:
    room.job["outputs"].append({"port": 2, "file": "result2", "format": "arrow"})


def test_2_4_designer_writes_the_second_table(room: Room) -> None:
    """2.4: in the profile designer, the second returned table is the second output, in the report and in its file."""
    room.job["profile"] = "designer"
    _second_output(room)
    room.give_table(1, D1)

    done = room.run("def azureml_main(df1, df2):\n    assert df2 is None\n    return df1, df1[['a']] * 2\n")

    assert done.table.to_pydict() == D1
    second = pa.ipc.open_file(pa.memory_map(str(done.outputs / "result2"))).read_all()
    assert second.to_pydict() == {"a": [0, 4, 8, 12]}
    assert done.report["output2"] == {"rows": 4, "columns": [{"name": "a", "type": "int64"}]}
    assert set(done.report["files"]) == {"result", "result2"}


def test_2_5_designer_gives_two_empty_tables_for_nothing(room: Room) -> None:
    """2.5: nothing returned is two tables of no rows and no columns."""
    room.job["profile"] = "designer"
    _second_output(room)

    done = room.run("def azureml_main():\n    pass\n")

    assert done.report["output"] == done.report["output2"] == {"rows": 0, "columns": []}
    assert done.warnings == ["returned_nothing"]


def test_1_8_designer_leaves_three_parameters_to_the_call(room: Room) -> None:
    """1.8: a third required parameter is the TypeError of the call, as 0085."""
    room.job["profile"] = "designer"

    done = room.run("def azureml_main(a, b, c):\n    return a\n")

    assert (done.error["code"], done.error["type"]) == ("0085", "TypeError")
    assert "missing 1 required positional argument: 'c'" in done.error["message"]


@pytest.mark.parametrize(
    ("profile", "images"), [("classic", ["figure-1.png"]), ("classic-strict", []), ("designer", ["figure-1.png"])]
)
def test_v04_profiles_and_open_figures(profile: str, images: list[str], room: Room) -> None:
    """V04: open figures are captured and marked, but for the strict profile."""
    room.job["profile"] = profile

    done = room.run(
        "import matplotlib.pyplot as plt\ndef azureml_main():\n    plt.plot([1, 2])\n    return {'n': [1]}\n"
    )

    assert [image["name"] for image in done.report["images"]] == images
    assert ("figure_captured" in done.warnings) == bool(images)


def test_v04_a_captured_figure_does_not_take_a_name(room: Room) -> None:
    """V04: a captured figure gets a name that no saved image has."""
    done = room.run(
        "import matplotlib.pyplot as plt\ndef azureml_main():\n    plt.figure(2)\n    plt.figure(1)\n"
        "    plt.savefig('figure-2.png')\n    return {'n': [1]}\n"
    )

    assert [image["name"] for image in done.report["images"]] == ["figure-2.png", "figure-2 (2).png"]


def test_figures_saved_as_svg_are_images(room: Room) -> None:
    """An SVG that matplotlib wrote is kept, with its type, and is not captured again."""
    done = room.run(
        "import matplotlib.pyplot as plt\ndef azureml_main():\n    plt.plot([1, 2])\n    plt.savefig('plot.svg')\n"
        "    return {'n': [1]}\n"
    )

    assert [(image["name"], image["type"]) for image in done.report["images"]] == [("plot.svg", "image/svg+xml")]
    assert done.image(0).rstrip().endswith(b"</svg>")
    assert "figure_captured" not in done.warnings


# --- bundles

WHEEL = {
    "sweet/__init__.py": "kind = 'wheel'\n",
    "sweet/logo.png": b"x",
    "sweet-1.0.dist-info/METADATA": "Name: sweet\n",
}


def test_5_10_wheels_are_importable(room: Room) -> None:
    """5.10: a module of a wheel in any folder of the bundle is imported by its name; its files are no images."""
    room.give_bundle({"wheels/sweet-1.0-py3-none-any.whl": zip_bytes(WHEEL)})

    done = room.run(
        "import importlib.metadata, sweet\ndef azureml_main():\n"
        "    return {'k': [sweet.kind, importlib.metadata.distribution('sweet').metadata['Name']]}\n"
    )

    assert done.report["error"] is None
    assert done.table.to_pydict() == {"k": ["wheel", "sweet"]}
    assert done.warnings == ["returned_dict"]


def test_5_10_the_bundle_goes_before_its_wheels_and_they_before_packages(room: Room) -> None:
    """5.7, 5.10: a module of the bundle hides that of a wheel, and a wheel an installed package, which is said."""
    room.give_bundle(
        {
            "sweet.py": "kind = 'module'",
            "sweet-1.0-py3-none-any.whl": zip_bytes(WHEEL),
            "p-1.0-py3-none-any.whl": zip_bytes({"pytest.py": "kind = 'wheel'"}),
        }
    )

    done = room.run("import sweet, pytest\ndef azureml_main():\n    return {'k': [sweet.kind, pytest.kind]}\n")

    assert done.table.to_pydict() == {"k": ["module", "wheel"]}
    assert done.warnings == ["name_shadowing", "returned_dict"]


def test_5_10_bytecode_of_another_python_is_no_import_error(room: Room) -> None:
    """5.10: a compiled module of another Python beside its source does no harm; alone, it is not there."""
    foreign = b"\x03\xf3\r\n" + bytes(20)
    room.give_bundle({"both.py": "x = 1", "both.pyc": foreign, "alone.pyc": foreign})

    done = room.run("import both\nimport alone\n")

    assert (done.error["type"], done.error["line"]) == ("ModuleNotFoundError", 2)
    assert done.warnings == ["bytecode_ignored"]


# --- errors


def test_b11_a_syntax_error_in_the_bundle(room: Room) -> None:
    """B11: the message names the file by its path in the bundle, and the line; the traceback shows it."""
    room.give_bundle({"pkg/__init__.py": "", "pkg/broken.py": "x = 1\ny = (\n"})

    done = room.run("import pkg.broken\n")

    assert (done.error["code"], done.error["type"]) == ("0085", "SyntaxError")
    assert "(Script Bundle/pkg/broken.py, line 2)" in done.error["message"]
    assert "importlib" not in done.error["traceback"]


def test_7_2_errors_in_bundle_modules_show_the_way(room: Room) -> None:
    """7.2: the traceback leads from the script into the module, without the frames of importing."""
    room.give_bundle({"helper.py": "def work():\n    return 1 / 0\n", "loads.py": "import helper\nhelper.work()\n"})

    done = room.run("import json\nimport loads\n")

    assert done.error["line"] == 2
    lines = [line.strip() for line in done.error["traceback"].splitlines() if line.startswith("  File")]
    assert [line.partition(", in")[0].rpartition("/")[2] for line in lines] == [
        'File "script.py", line 2',
        'loads.py", line 2',
        'helper.py", line 2',
    ]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        pytest.param("f = lambda x: (\n    1 / x\n)\ndef azureml_main():\n    f(0)\n", 2, id="lambda"),
        pytest.param("azureml_main = lambda: 1 / 0\n", 1, id="lambda-as-entry"),
        pytest.param(
            "import pandas as pd\ndef azureml_main():\n    pd.Series([0]).map(lambda x: 1 / x)\n", 3, id="map"
        ),
        pytest.param("class A:\n    def m(self):\n        1 / 0\ndef azureml_main():\n    A().m()\n", 3, id="method"),
    ],
)
def test_7_2_the_line_is_the_scripts(text: str, line: int, room: Room) -> None:
    """7.2: wherever in the script it happened, the line is that of the script's own code."""
    done = room.run(text)

    assert (done.error["type"], done.error["line"]) == ("ZeroDivisionError", line)


def test_errors_in_threads_are_in_the_log(room: Room) -> None:
    """An error in a thread does not fail the run; its traceback, with the script's line, is in the log."""
    done = room.run(
        "import threading\ndef work():\n    raise ValueError('in a thread')\ndef azureml_main():\n"
        "    thread = threading.Thread(target=work)\n    thread.start()\n    thread.join()\n    return {'n': [1]}\n"
    )

    assert done.report["outcome"] == "succeeded"
    assert 'File "script.py", line 3, in work' in done.log
    assert "ValueError: in a thread" in done.log


def test_groups_of_errors_have_no_frames_of_ours(room: Room) -> None:
    """Every member of a group, and every link of a chain, is told without the runner's frames."""
    done = room.run(
        textwrap.dedent(
            """
            import pandas as pd
            def fail(n):
                try:
                    pd.DataFrame({'a': [1]}).ix['none']
                except KeyError as error:
                    raise ValueError(n) from error
            def azureml_main():
                errors = []
                for n in range(2):
                    try:
                        fail(n)
                    except ValueError as error:
                        errors.append(error)
                raise ExceptionGroup('several', errors)
            """
        )
    )

    assert done.error["type"] == "ExceptionGroup"
    assert "ValueError: 1" in done.error["traceback"]
    assert "direct cause" in done.error["traceback"]
    assert "runner" not in done.error["traceback"]
