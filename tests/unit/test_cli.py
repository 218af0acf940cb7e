"""The command line: what the user types, sees and gets as an exit code."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pyarrow as pa
import pytest
from click.testing import CliRunner, Result

from controller.cli.arguments import byte_count, positive
from controller.cli.main import DTYPES, PROFILES, cli
from controller.cli.report import UnreadableTable, show_table
from controller.cli.terminal import Screen, safe_text, size
from controller.model import Dtypes, Profile
from tests.unit.plain_api import Exchange, Server, event, serving

ROOT = Path(__file__).parents[2]
DONE: dict[str, Any] = {
    "id": "run_1",
    "status": "succeeded",
    "reason": None,
    "error": None,
    "warnings": [{"code": "extra_frames", "message": "one frame was dropped"}],
    "output": {"rows": 12, "bytes": 900, "columns": [{"name": "a", "type": "int64"}]},
    "images": [{"name": "sub/plot.png", "bytes": 4}, {"name": "plot.png", "bytes": 4}],
    "usage": {"cpu_seconds": 0.25, "peak_memory_bytes": 200 << 20},
    "timings": {"queue_seconds": 0.01, "start_seconds": 0.4, "script_seconds": 1.5, "collect_seconds": None},
    "created_at": "2026-01-01T00:00:00Z",
    "finished_at": "2026-01-01T00:00:02.5Z",
}
FAILED = DONE | {
    "status": "failed",
    "reason": "script_error",
    "error": {
        "code": "0085",
        "type": "ZeroDivisionError",
        "message": "division by zero\nHint: not by zero",
        "traceback": "Traceback (most recent call last):\n  File \"script.py\", line 3\nZeroDivisionError\n",
        "line": 3,
    },
    "warnings": [],
    "output": None,
    "images": [],
}


def arrow_file(table: pa.Table) -> bytes:
    """The table in the Arrow file format."""
    sink = io.BytesIO()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def answer_with(server: Server, run: dict[str, Any], log: list[bytes]) -> None:
    """Make the server take one run and report `log` and `run` for it."""
    accepted = {"id": "run_1", "status": "queued"}
    server.answers["POST", "/v1/runs"] = lambda x: (x.body(), x.say(202, accepted))[1]
    server.answers["GET", "/v1/runs/run_1"] = lambda x: x.say(200, run)
    server.answers["GET", "/v1/runs/run_1/log"] = lambda x: x.stream([*log, event("status", run)])
    for image in run.get("images") or ():
        path = f"/v1/runs/run_1/images/{image['name'].replace('/', '%2F')}"
        server.answers["GET", path] = lambda x, name=image["name"]: x.say(200, b"PNG " + name.encode(), "image/png")
    table = arrow_file(pa.table({"a": range(12), "b": [None, *"bcdefghijkl"]}))

    def output(exchange: Exchange) -> None:
        kind = exchange.headers["Accept"]
        exchange.say(200, table if kind.endswith("arrow.file") else b"a,b\r\n", kind)

    server.answers["GET", "/v1/runs/run_1/output"] = output


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as server:
        yield server


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "script.py"
    path.write_text("def azureml_main(a=None, b=None):\n    return a\n")
    return path


def airlock(*arguments: object, **environment: str) -> Result:
    """Run the command line in this process."""
    variables = {"AIRLOCK_URL": None, "AIRLOCK_KEY": None} | environment
    return CliRunner(env=variables).invoke(cli, [str(argument) for argument in arguments])


def test_a_run_that_succeeds(server: Server, script: Path, tmp_path: Path) -> None:
    """Log, status, first rows, saved table and images; exit code 0."""
    answer_with(server, DONE, [event("stdout", {"text": "working\n"}), event("stderr", {"text": "careful\n"})])
    output, images = tmp_path / "out.csv", tmp_path / "new" / "images"

    result = airlock("run", script, "--url", server.url, "--key", "k", "--output", output, "--images", images)

    assert (result.exit_code, result.stderr) == (0, "careful\nwarning extra_frames: one frame was dropped\n")
    assert result.stdout.startswith("working\nsucceeded after 2.50 s (queued 0.01 s, start 0.40 s, script 1.50 s")
    assert "memory 200 MiB" in result.stdout
    assert "12 rows x 2 columns, 900 B\n" in result.stdout
    assert re.search(r"^ *9 +j$", result.stdout, re.MULTILINE)
    assert "... and 2 more rows" in result.stdout
    assert output.read_bytes() == b"a,b\r\n"
    assert {f.name: f.read_bytes() for f in images.iterdir()} == {
        "plot.png": b"PNG sub/plot.png",
        "plot-2.png": b"PNG plot.png",
    }


def test_options_reach_the_server_under_their_api_names(server: Server, script: Path, tmp_path: Path) -> None:
    """Each option is translated once, units included; a file adds others, and gives way to the command line."""
    answer_with(server, DONE, [])
    more = tmp_path / "more.json"
    more.write_text('{"dataframe1": {"columns": ["a"]}, "cpus": 8}')
    bodies: list[bytes] = []
    accepted = {"id": "run_1", "status": "queued"}
    server.answers["POST", "/v1/runs"] = lambda x: (bodies.append(x.body()), x.say(202, accepted))[1]

    result = airlock(
        "run", script, "--timeout", "2.5", "--memory", "512MiB", "--cpus", "0.5", "--profile", "designer",
        "--parameter", "a=1", "--parameter", "b=x=y", "--output", tmp_path / "t.parquet", "--dtypes", "arrow",
        "--reuse", "--options", more, AIRLOCK_URL=server.url, AIRLOCK_KEY="k",
    )  # fmt: skip

    found = re.search(rb'name="options"\r\n.*?\r\n\r\n(.*?)\r\n--', bodies[0], re.DOTALL)
    assert result.exit_code == 0, result.output
    assert found is not None
    assert json.loads(found[1]) == {
        "timeout_seconds": 2.5,
        "memory_bytes": 512 << 20,
        "cpus": 0.5,
        "profile": "designer",
        "dtypes": "arrow",
        "reuse": True,
        "parameters": {"a": "1", "b": "x=y"},
        "output_format": "parquet",
        "dataframe1": {"columns": ["a"]},
    }


def test_both_tables_of_a_run_are_shown_and_saved(server: Server, script: Path, tmp_path: Path) -> None:
    """The second output port has a table, a file and an address of its own; a reused result is said to be one."""
    both = DONE | {"output2": DONE["output"], "images": [], "reused_from": "run_0"}
    answer_with(server, both, [])
    server.answers["GET", "/v1/runs/run_1/output2"] = server.answers["GET", "/v1/runs/run_1/output"]
    first, second = tmp_path / "1.csv", tmp_path / "2.azureml.json"

    result = airlock("run", script, "--url", server.url, "--output", first, "--output2", second)

    assert result.exit_code == 0, result.output
    assert "the result of run_0" in result.stdout
    assert result.stdout.count("12 rows x 2 columns") == 2
    assert f"\ntable: {first} (5 B)\ntable 2:\n" in result.stdout
    asked = [headers["Accept"] for _, path, headers in server.seen if path == "/v1/runs/run_1/output2"]
    assert asked == ["application/vnd.apache.arrow.file", "application/vnd.azureml.table+json"]
    assert second.read_bytes() == b"a,b\r\n"


def test_json_prints_the_run_and_nothing_else(server: Server, script: Path, tmp_path: Path) -> None:
    """Standard output is one JSON document; what was to be saved is saved all the same."""
    answer_with(server, DONE, [event("stdout", {"text": "working\n"})])

    result = airlock("run", script, "--url", server.url, "--json", "--output", tmp_path / "t.csv")

    assert json.loads(result.stdout) == DONE
    assert result.stderr == ""
    assert (tmp_path / "t.csv").exists()


@pytest.mark.parametrize("in_log", [True, False])
def test_a_failing_script_is_explained_once(server: Server, script: Path, in_log: bool) -> None:
    """Code, message, line, hint and traceback are shown, hint and traceback exactly once; exit code 1."""
    log = [event("stderr", {"text": FAILED["error"]["traceback"] + "Hint: not by zero\n"})] if in_log else []
    answer_with(server, FAILED, log)

    result = airlock("run", script, "--url", server.url)

    assert result.exit_code == 1
    assert "script_error 0085: ZeroDivisionError: division by zero (line 3 of the script)" in result.stderr
    assert result.stderr.count("Traceback (most recent call last)") == 1
    assert result.stderr.count("Hint: not by zero") == 1


@pytest.mark.parametrize(
    ("reason", "code"),
    [("timeout", 1), ("out_of_memory", 1), ("output_limit", 1), ("bad_input", 1), ("engine_error", 3)],
)
def test_the_reason_decides_the_exit_code(server: Server, script: Path, reason: str, code: int) -> None:
    """What the script did is 1; what the engine did is 3."""
    answer_with(server, FAILED | {"reason": reason, "error": None}, [])

    result = airlock("run", script, "--url", server.url)

    assert result.exit_code == code
    assert reason in result.stderr


@pytest.mark.parametrize(
    ("status", "code"),
    [(401, 2), (403, 2), (413, 2), (422, 2), (408, 3), (429, 3), (500, 3), (502, 3), (503, 3), (507, 3)],
)
def test_a_refusal_is_explained_and_told_apart(server: Server, script: Path, status: int, code: int) -> None:
    """Wrong use is 2, a server that fails or is full is 3; the problem's fields are shown."""
    problem = {"code": "odd", "detail": "it is odd", "errors": [{"where": "options.cpus", "message": "too many"}]}
    server.answers["POST", "/v1/runs"] = lambda x: (x.body(), x.say(status, problem))[1]

    result = airlock("run", script, "--url", server.url)

    assert result.exit_code == code
    assert f"airlock: odd ({status}): it is odd\n  options.cpus: too many\n" in result.stderr
    assert result.stdout == ""


def test_an_unreachable_server_is_code_3(script: Path) -> None:
    """Nobody listens at that port: the address and a hint are shown."""
    result = airlock("run", script, "--url", "http://127.0.0.1:9")

    assert result.exit_code == 3
    assert "http://127.0.0.1:9 cannot be reached" in result.stderr
    assert "airlock serve" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Missing argument 'SCRIPT'"),
        (["none.py"], "does not exist"),
        (["SCRIPT", "--memory", "lots"], "is no size"),
        (["SCRIPT", "--timeout", "nan"], "is no number above zero"),
        (["SCRIPT", "--timeout", "0"], "is no number above zero"),
        (["SCRIPT", "--output", "table.xlsx"], "the suffix must be one of"),
        (["SCRIPT", "--output", "no/such/folder/t.csv"], "a folder that exists"),
        (["SCRIPT", "--parameter", "novalue"], "NAME=VALUE"),
        (["SCRIPT", "--parameter", "a=1", "--parameter", "a=2"], "given twice"),
        (["SCRIPT", "--profile", "other"], "is not one of"),
        (["SCRIPT", "--dataframe1", "SCRIPT"], "told by its suffix"),
        (["SCRIPT", "--url", "localhost"], "must look like"),
        (["SCRIPT", "--key", "two words"], "no key has"),
        (["SCRIPT", "--nowhere"], "No such option"),
        (["SCRIPT", "--output", "table.csv.gz"], "the suffix must be one of"),
        (["SCRIPT", "--dtypes", "other"], "is not one of"),
        (["SCRIPT", "--options", "SCRIPT"], "Expecting value"),
        (["SCRIPT", "--python", "python3"], "needs --local"),
    ],
)
def test_wrong_use_is_code_2_and_says_what(script: Path, arguments: list[str], message: str) -> None:
    """Nothing is sent anywhere; the fault is named."""
    result = airlock("run", *(script if argument == "SCRIPT" else argument for argument in arguments))

    assert result.exit_code == 2, result.output
    assert message in result.stderr


def test_a_log_that_breaks_off_does_not_end_the_run(server: Server, script: Path) -> None:
    """The user is told, and the run's real end is waited for."""
    answer_with(server, DONE, [])
    server.answers["GET", "/v1/runs/run_1/log"] = lambda x: x.stream([event("stdout", {"text": "half a li"})])

    result = airlock("run", script, "--url", server.url)

    assert result.exit_code == 0
    assert result.stdout.startswith("half a li")
    assert "the log broke off" in result.stderr


def test_a_result_that_is_no_table_is_told(server: Server, script: Path) -> None:
    """A result that cannot be previewed costs a line, not the run."""
    answer_with(server, DONE, [])
    server.answers["GET", "/v1/runs/run_1/output"] = lambda x: x.say(200, b"ARROW1\0\0rubbish that is no message")

    result = airlock("run", script, "--url", server.url)

    assert result.exit_code == 0
    assert "first rows cannot be shown" in result.stderr


def test_ctrl_c_cancels_the_run_on_the_server(server: Server, script: Path) -> None:
    """The program ends with the shell's code for an interrupt, and the server has been told."""
    cancelled, following = threading.Event(), threading.Event()
    answer_with(server, DONE, [])

    def follow(exchange: Exchange) -> None:
        following.set()
        exchange.stream(event("stdout", {"text": "."}) for _ in range(200) if not cancelled.wait(0.05))

    server.answers["GET", "/v1/runs/run_1/log"] = follow
    server.answers["POST", "/v1/runs/run_1/cancel"] = lambda x: (cancelled.set(), x.say(202, {"id": "run_1"}))[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "controller.cli", "run", script, "--url", server.url],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert following.wait(20)
    time.sleep(0.2)

    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=20)

    assert process.returncode == 130
    assert cancelled.is_set()
    assert "cancelling run_1" in stderr


def test_a_terminal_is_shown_no_control_characters(server: Server, script: Path) -> None:
    """On a real pseudo-terminal a script's escapes arrive as text, and a progress line shows and goes."""
    answer_with(server, DONE | {"images": [], "output": None, "warnings": []}, [])
    pieces = (event("stdout", {"text": text}) for text in ("a\x1b]0;owned\x07\r", "\nb\u202e\n"))

    def follow(exchange: Exchange) -> None:
        def slowly() -> Iterator[bytes]:
            yield from pieces
            time.sleep(1.2)
            yield event("status", DONE | {"images": [], "output": None, "warnings": []})

        exchange.stream(slowly())

    server.answers["GET", "/v1/runs/run_1/log"] = follow
    controller, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "controller.cli", "run", script, "--url", server.url],
        cwd=ROOT, stdin=terminal, stdout=terminal, stderr=terminal,
    )  # fmt: skip
    os.close(terminal)

    shown = read_all(controller)
    process.wait(20)

    assert process.returncode == 0
    assert "a\\x1b]0;owned\\x07\r\nb\\u202e\r\n" in shown
    assert re.search(r"\r\x1b\[Krunning \d+ s\r\x1b\[K", shown)
    assert "\x07" not in shown


def read_all(descriptor: int) -> str:
    """Everything that is written to a pseudo-terminal until its other end is closed."""
    data = b""
    while True:
        try:
            piece = os.read(descriptor, 65536)
        except OSError:  # how Linux says that the other end is closed
            piece = b""
        if not piece:
            os.close(descriptor)
            return data.decode()
        data += piece


def test_control_characters_become_escapes() -> None:
    """C0, DEL, C1, direction overrides and surrogates are spelt out; text, tabs and newlines stay."""
    text = "a\tb\n\x00\x1b[31m\x7f\x9b\u202e\u2066\ud800é漢\r\nc\rd"

    safe = safe_text(text)

    assert safe == "a\tb\n\\x00\\x1b[31m\\x7f\\x9b\\u202e\\u2066\\ud800é漢\nc\\x0dd"


def test_values_of_every_type_can_be_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """Times that Python cannot hold, bytes, nested values, hostile names: a table is shown all the same."""
    table = pa.table(
        {
            "n\x1b": pa.array([2**62, None], pa.timestamp("ns", "UTC")),
            "span": pa.array([1, None], pa.duration("ns")),
            "raw": [b"abc", None],
            "list": [[1], []],
            "long": ["x" * 100, "a\nb"],
            "number": [1 / 3, float("nan")],
        }
    )

    show_table(Screen(), {"rows": 2, "bytes": 10}, io.BytesIO(arrow_file(table)))

    shown = capsys.readouterr().out
    assert "n\\x1b" in shown
    assert "2116-02-20" in shown
    assert "<3 bytes>" in shown
    assert "a\\nb" in shown
    assert "0.333333" in shown
    assert "x" * 41 not in shown


@pytest.mark.parametrize("columns", [0, 1, 30])
def test_tables_of_any_width_can_be_shown(capsys: pytest.CaptureFixture[str], columns: int) -> None:
    """No columns, one, or more than fit: what is left out is counted."""
    table = pa.table({f"c{i}": pa.array([], pa.int64()) for i in range(columns)})

    show_table(Screen(), {"rows": 0, "bytes": 0}, io.BytesIO(arrow_file(table)))

    shown = capsys.readouterr().out
    assert f"0 rows x {columns} column" in shown
    assert ("22 more columns" in shown) == (columns == 30)


def test_a_narrow_terminal_gets_fewer_columns_and_whole_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """No value is cut for want of room: columns that do not fit are counted instead."""
    monkeypatch.setenv("COLUMNS", "29")
    table = pa.table({name: [123456, 234567] for name in ("first", "second", "third", "fourth")})
    controller, terminal = pty.openpty()

    with open(terminal, "w") as out:
        show_table(Screen(out), {"rows": 2, "bytes": 10}, io.BytesIO(arrow_file(table)))

    shown = read_all(controller)
    assert "123456  123456  123456\r\n" in shown
    assert "... and 1 more column\r\n" in shown


@pytest.mark.parametrize("data", [b"", b"PAR1", b"ARROW1\0\0", b"ARROW1\0\0\xff\xff\xff\xff\x10\0\0\0"])
def test_what_is_no_arrow_file_is_refused(data: bytes) -> None:
    """Broken bytes raise the one error that the caller expects."""
    with pytest.raises(UnreadableTable):
        show_table(Screen(), {"rows": 0, "bytes": 0}, io.BytesIO(data))


@pytest.mark.parametrize(
    ("text", "count"),
    [("1", 1), ("512MiB", 512 << 20), ("2 GB", 2 * 10**9), ("1.5gib", 3 << 29), ("10kb", 10_000), ("7b", 7)],
)
def test_sizes_are_read(text: str, count: int) -> None:
    """Binary and decimal units, whatever their case."""
    assert byte_count(text) == count


@pytest.mark.parametrize("text", ["", "0", "-1", "1M", "MiB", "1e9", "0.0001kb", "nan"])
def test_what_is_no_size_is_refused(text: str) -> None:
    """Nothing ambiguous is guessed: 1M could mean two things."""
    with pytest.raises(click.BadParameter, match="is no size"):
        byte_count(text)


@pytest.mark.parametrize("text", ["inf", "-1", "0", "x", "nan", ""])
def test_what_is_no_positive_number_is_refused(text: str) -> None:
    """Limits are numbers above zero that JSON can hold."""
    with pytest.raises(click.BadParameter, match="above zero"):
        positive(text)


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (20 << 20, "20 MiB"), (5 << 40, "5120 GiB")]
)
def test_sizes_are_written_for_people(count: int, text: str) -> None:
    """Three digits or so, binary units."""
    assert size(count) == text


def test_help_is_quick() -> None:
    """Libraries are imported by the commands that need them: help needs none of those that take their time."""
    command = [sys.executable, "-X", "importtime", "-m", "controller.cli", "--help"]

    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)

    imported = set(re.findall(r"\| +(\w+)(?:\.[\w.]+)?$", done.stderr, re.MULTILINE))
    assert "click" in imported
    slow = {"requests", "pydantic", "docker", "flask", "sqlalchemy", "pyarrow", "pandas", "rich", "structlog"}
    assert imported & slow == set()


def commands(command: click.Command, path: str) -> Iterator[tuple[str, click.Command]]:
    """Every command below one, with its words."""
    yield path, command
    if isinstance(command, click.Group):
        for name, child in command.commands.items():
            yield from commands(child, f"{path} {name}")


def test_every_command_and_option_is_documented() -> None:
    """docs/cli.md has a section for each command, and in it each of its options."""
    text = (ROOT / "docs" / "cli.md").read_text()
    sections = dict(re.findall(r"^## `(airlock[^`]*)`\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL))

    missing = []
    for path, command in commands(cli, "airlock"):
        if isinstance(command, click.Group):
            continue
        section = sections.get(path, "")
        missing += [path] * (not section)
        for parameter in command.params:
            names = parameter.opts if isinstance(parameter, click.Option) else [str(parameter.name).upper()]
            missing += [f"{path} {name}" for name in names if f"`{name}" not in section]

    assert missing == []


def test_the_documentation_names_no_option_that_is_not_there() -> None:
    """What docs/cli.md promises, the program has."""
    text = (ROOT / "docs" / "cli.md").read_text()
    known = {name for _, command in commands(cli, "airlock") for p in command.params for name in p.opts}

    promised = set(re.findall(r"--[a-z][a-z0-9-]*", text))

    assert promised - known - {"--help", "--version"} == set()


def test_the_choices_are_the_servers() -> None:
    """The command line offers the profiles and dtypes that the API knows, and no others."""
    assert tuple(Profile) == PROFILES
    assert tuple(Dtypes) == DTYPES


def test_an_invalid_setting_is_code_2_and_named() -> None:
    """`serve` and `doctor` say which setting is wrong, before they do anything."""
    result = airlock("doctor", AIRLOCK_WORKERS="none")

    assert result.exit_code == 2
    assert "airlock: setting workers:" in result.stderr
