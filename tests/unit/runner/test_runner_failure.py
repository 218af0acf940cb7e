"""Exceptions become errors, whatever they are; the report always fits and is always JSON."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from runner.explain import explain
from runner.failure import VALUE_CHARACTERS, BadInput, clip_line, shown
from runner.hints import Source
from runner.job import Column, Failure, Image, Report, TableShape
from runner.report import REPORT_BYTES, clip, encode

TEXT = "def azureml_main():\n    return work()\ndef work():\n    raise ValueError('no')\n"


def _raised(text: str, name: str = "azureml_main") -> BaseException:
    """What a script of this text raises."""
    names: dict[str, Any] = {"__name__": "user_script"}
    try:
        exec(compile(text, "script.py", "exec"), names)
        names[name]()
    except BaseException as error:
        return error
    raise AssertionError("the script raises nothing")


def _explained(text: str, bundle: Path = Path("/nowhere"), only_folder: Path | None = None) -> Failure:
    return explain(_raised(text), Source(text, bundle, only_folder))


def test_e01_the_deepest_line_of_the_script() -> None:
    """E01: type, message, the deepest line in the script and a traceback with its source lines."""
    failure = _explained(TEXT)

    assert (failure.reason, failure.code, failure.type, failure.message) == ("script_error", "0085", "ValueError", "no")
    assert failure.line == 4
    assert 'File "script.py", line 2, in azureml_main\n    return work()' in failure.traceback
    assert "    raise ValueError('no')" in failure.traceback


def test_own_frames_are_left_out_of_every_link() -> None:
    """No frame of the runner stands in a traceback, nor in those it is chained to."""
    text = (
        "from runner.failure import type_name\n"
        "class Broken:\n    @property\n    def __class__(self): return 1/0\n"
        "from runner.names import column_names\n"
        "class Name:\n    def __str__(self): raise KeyError('k')\n"
        "def azureml_main():\n"
        "    try:\n        column_names([Name()], None)\n"
        "    except Exception as error:\n        raise RuntimeError('again') from error\n"
    )

    failure = _explained(text)

    assert "RuntimeError: again" in failure.traceback
    assert "direct cause" in failure.traceback
    assert "names.py" not in failure.traceback
    assert failure.line == 12


@pytest.mark.parametrize(
    ("body", "kind", "words"),
    [
        pytest.param("import sys; sys.exit(0)", "SystemExit", "SystemExit: 0", id="E04-exit-0"),
        pytest.param("raise SystemExit('bye')", "SystemExit", "SystemExit: bye", id="E04-exit-text"),
        pytest.param("raise KeyboardInterrupt", "KeyboardInterrupt", "KeyboardInterrupt", id="E04-interrupt"),
        pytest.param("import missing_mod", "ModuleNotFoundError", "fixed in the environment", id="E03-missing"),
        pytest.param("import missing.sub", "ModuleNotFoundError", "script bundle", id="E03-missing-package"),
        pytest.param("open('.\\\\Script Bundle\\\\f.pkl')", "FileNotFoundError", "by '/'", id="5.2-backslash"),
        pytest.param("raise ExceptionGroup('g', [ValueError('x')])", "ExceptionGroup", "g", id="group"),
        pytest.param("azureml_main()", "RecursionError", "recursion", id="recursion"),
        pytest.param("raise ValueError('a\\ud800b')", "ValueError", "a?b", id="surrogate"),
        pytest.param("raise ValueError('x' * 100_000_000)", "ValueError", "characters cut", id="huge-message"),
    ],
)
def test_every_exception_is_an_error_of_the_script(body: str, kind: str, words: str) -> None:
    """E03, E04 and worse: 0085 with a type, a message of limited length, and the line."""
    failure = _explained(f"def azureml_main():\n    {body}\n")

    assert (failure.reason, failure.code, failure.type, failure.line) == ("script_error", "0085", kind, 2)
    assert words in failure.message
    assert len(encode(Report(failure=failure))) < REPORT_BYTES


@pytest.mark.parametrize("body", ["raise MemoryError", "bytearray(2**62)"])
def test_memory_has_its_own_code(body: str) -> None:
    """Running out of memory is 0138."""
    assert _explained(f"def azureml_main():\n    {body}\n").code == "0138"


@pytest.mark.parametrize(
    "method",
    [
        "def __str__(self): raise RuntimeError",
        "def __str__(self): return 5",
        "def __str__(self): import sys; sys.exit(0)",
        "def __getattribute__(self, name): raise SystemExit",
        "__cause__ = property(lambda self: 1 / 0)",
        "__notes__ = 5",
    ],
)
def test_hostile_exceptions_are_errors_too(method: str) -> None:
    """An exception that cannot be read is still an error with a type and a sentence."""
    failure = _explained(f"class Evil(Exception):\n    {method}\ndef azureml_main():\n    raise Evil('x')\n")

    assert failure.type == "Evil"
    assert failure.message
    assert "Evil" in failure.traceback + failure.message


def test_a_chain_of_exceptions_is_bounded() -> None:
    """A very long chain keeps its head and its tail."""
    text = (
        "def azureml_main():\n    last = None\n    for n in range(20000):\n"
        "        error = ValueError(f'number {n} ' + 'x' * 1000)\n        error.__cause__ = last\n"
        "        last = error\n    raise last\n"
    )

    traceback = _explained(text).traceback

    assert "number 0 " in traceback
    assert "number 19999 " in traceback
    assert "characters cut" in traceback
    assert len(traceback) < 600_000


@pytest.mark.parametrize(
    ("text", "kind", "line"),
    [
        ("def azureml_main():\nreturn 1\n", "IndentationError", 2),
        ("x = 1\ndef azureml_main()\n    return 1\n", "SyntaxError", 2),
        ("print 'x'\n", "SyntaxError", 1),
    ],
)
def test_e02_syntax_errors_name_the_line(text: str, kind: str, line: int) -> None:
    """E02: a script that cannot be parsed is 0085 with its line."""
    failure = _explained(text)

    assert (failure.code, failure.type, failure.line) == ("0085", kind, line)
    assert text.splitlines()[line - 1] in failure.traceback


def test_7_13_python_2_is_named() -> None:
    """7.13: print without parentheses gets a sentence about Python 3."""
    assert "this is Python 3" in _explained("print 'x'\n").message


def test_b04_the_only_folder_is_named(tmp_path: Path) -> None:
    """B04: the hint says how to import from the folder that the zip holds."""
    folder = tmp_path / "Hello"
    folder.mkdir()
    (folder / "Hello.py").touch()

    failure = _explained("def azureml_main():\n    import Hello2, Hello\n", tmp_path, folder)
    with_folder = _explained(
        "def azureml_main():\n    raise ModuleNotFoundError('x', name='Hello')\n", tmp_path, folder
    )

    assert "from Hello import" not in failure.message
    assert "write 'from Hello import Hello'" in with_folder.message


def test_errors_of_our_own_have_their_code() -> None:
    """A failure that the runner explains needs no traceback."""
    failure = explain(BadInput("port 1 is broken"), Source("", Path("/nowhere")))

    assert (failure.reason, failure.code, failure.message) == ("bad_input", "0018", "port 1 is broken")
    assert (failure.traceback, failure.line) == ("", None)


class _Unshowable:
    def __repr__(self) -> str:
        raise SystemExit


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("short", "'short'"),
        ("a\nb", r"'a\nb'"),
        (1.5, "1.5"),
        ([1] * 1000, "[1, 1, 1, 1, 1, 1, ...]"),
        (_Unshowable(), "<a test_runner_failure._Unshowable whose repr raises SystemExit>"),
    ],
)
def test_values_are_shown_in_messages(value: object, text: str) -> None:
    """A value in a message is its repr, on one line, and short, whatever its repr does."""
    assert shown(value) == text


def test_long_values_are_cut() -> None:
    """A long text keeps its head and its tail, a long line its head."""
    assert len(shown("x" * 10**7)) <= VALUE_CHARACTERS
    assert clip_line("ab\x1bc" * 10, 10) == "ab cab ..."


# --- the report


def test_clip_keeps_head_and_tail() -> None:
    """A text that is cut keeps both ends and says how much is missing."""
    assert clip("a" * 10 + "b" * 10, 6) == "aaa\n... [14 characters cut] ...\nbbb"
    assert clip("short", 6) == "short"


def _many_warnings(report: Report) -> None:
    for number in range(2_000):
        report.warn("code", f"{number} " + "\0" * 5000)


def _many_columns(report: Report) -> None:
    report.outputs[1] = TableShape(1, tuple(Column("\x01" * 1000, "int64") for _ in range(20_000)))


def _many_images(report: Report) -> None:
    report.images = [Image("\x01" * 1000, 0, 1) for _ in range(10_000)]


def _long_error(report: Report) -> None:
    report.failure = Failure("script_error", "0085", "\x01" * 10**6, "\x01" * 10**6, "\ud800\x01" * 10**6, 1)


@pytest.mark.parametrize("fill", [_many_warnings, _many_columns, _many_images, _long_error])
def test_the_report_always_fits(fill: Callable[[Report], None]) -> None:
    """Whatever fills it, the report is at most 1 MiB of valid JSON, and keeps its outcome."""
    report = Report()
    fill(report)

    data = encode(report)

    assert len(data) <= REPORT_BYTES
    assert json.loads(data.decode("utf-8"))["outcome"] == ("failed" if report.failure else "succeeded")


def test_what_is_left_out_of_the_report_is_counted() -> None:
    """Warnings and columns that do not fit are counted."""
    report = Report()
    _many_warnings(report)
    _many_columns(report)

    shape = json.loads(encode(report))

    assert len(shape["warnings"]) <= 100
    assert shape["warnings"][0]["code"] == "report_shortened"
    assert f"{len(shape['output']['columns'])} of 20000 columns" in shape["warnings"][0]["message"]
    assert "more warnings are not listed" in shape["warnings"][-1]["message"]


def test_the_report_has_the_fields_of_the_contract_and_no_others() -> None:
    """The controller refuses a report with a field that it does not know."""
    report = Report(
        failure=Failure("script_error", "0085", "T", "m", "t", 3),
        inputs={2: TableShape(3, ())},
        outputs={1: TableShape(0, (Column("a", "int64"),))},
        images=[Image("a.png", 0, 9)],
        files={"result": 5},
    )
    report.warn("code", "message")

    assert json.loads(encode(report)) == {
        "version": 3,
        "outcome": "failed",
        "reason": "script_error",
        "error": {"code": "0085", "type": "T", "message": "m", "traceback": "t", "line": 3},
        "warnings": [{"code": "code", "message": "message"}],
        "inputs": [{"port": 2, "rows": 3, "columns": []}],
        "output": {"rows": 0, "columns": [{"name": "a", "type": "int64"}]},
        "output2": None,
        "files": {"result": 5},
        "images": [{"name": "a.png", "offset": 0, "bytes": 9, "type": "image/png"}],
        "timings": {"import_seconds": 0.0, "read_seconds": 0.0, "script_seconds": 0.0, "write_seconds": 0.0},
    }
