"""Runs on the user's own machine: the real runner in real processes, without a server and without a container."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from controller.cli.main import cli
from controller.web.documents import RunDocument
from tests.running import until
from tests.unit.plain_api import serving

ROOT = Path(__file__).parents[2]
ECHO = "def azureml_main(frame=None):\n    return frame\n"
NOTICE = "NOT ISOLATED: this script runs as you, with your files and your network (--local)\n"
UNKNOWN = "the image's versions are not known here: give --url and --key, or make it with `airlock image build`\n"
STARTS_A_CHILD = """
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
with open(os.environ["PIDS"] + ".part", "w") as file:
    file.write(f"{os.getpid()} {child.pid}")
os.rename(os.environ["PIDS"] + ".part", os.environ["PIDS"])
print("up", flush=True)
"""
FAMILY = STARTS_A_CHILD + "def azureml_main():\n    time.sleep(300)\n"

Write = Callable[[str], Path]


@pytest.fixture
def script(tmp_path: Path) -> Write:
    """Writes a script."""

    def write(text: str) -> Path:
        path = tmp_path / "job.py"
        path.write_text(text)
        return path

    return write


@pytest.fixture
def rooms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where temporary directories are made; nothing is left in it. No Docker and no server can be reached."""
    folder = tmp_path / "rooms"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:9")
    for name in ("AIRLOCK_URL", "AIRLOCK_KEY"):
        monkeypatch.delenv(name, raising=False)
    yield folder
    assert list(folder.iterdir()) == []


def local(*arguments: object, **environment: str) -> Result:
    """`airlock run --local` in this process; the script in one of its own."""
    return CliRunner(env=environment).invoke(cli, ["run", "--local", *map(str, arguments)])


def run_of(result: Result) -> dict[str, Any]:
    """What --json printed."""
    document: dict[str, Any] = json.loads(result.stdout)
    return document


def alive(pid: int) -> bool:
    """Whether a process is there and not merely waiting to be reaped."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def test_a_run_looks_as_on_a_server(rooms: Path, script: Write, tmp_path: Path) -> None:
    """Log on its own streams, warnings, status, rows, saved table and images; and that nothing was isolated."""
    table, output, images = tmp_path / "t.csv", tmp_path / "out.csv", tmp_path / "plots"
    table.write_text("a,b\n1,x\n2,y\n")
    job = script(
        "import sys\nimport matplotlib.pyplot as plt\n\ndef azureml_main(frame, other, params):\n"
        "    print('to stdout', params['who'], other)\n    print('to stderr', file=sys.stderr)\n"
        "    plt.plot(frame['a'])\n    plt.savefig('a plot.png')\n    return frame.set_index('a')\n"
    )

    result = local(
        job, "--dataframe1", table, "--output", output, "--images", images, "--parameter", "who=me"
    )  # fmt: skip

    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("to stdout me None\nsucceeded after ")
    assert "2 rows x 1 column" in result.stdout
    assert f"table: {output} (" in result.stdout
    assert result.stderr.startswith(NOTICE + "to stderr\n[airlock] warning index_dropped: ")
    assert result.stderr.count("index_dropped") == 1
    assert result.stderr.endswith(UNKNOWN)
    assert output.read_text() == '"b"\n"x"\n"y"\n'
    assert [file.name for file in images.iterdir()] == ["a plot.png"]


def test_the_document_is_the_servers(rooms: Path, script: Write, tmp_path: Path) -> None:
    """--json prints every field of a server's run, and those that only a local one has."""
    result = local(script(ECHO), "--json")

    run = run_of(result)
    assert result.exit_code == 0
    assert set(run) == {*RunDocument.model_fields, "isolated", "python", "versions"}
    assert (run["id"], run["status"], run["isolated"]) == ("local", "succeeded", False)
    assert run["python"] == sys.executable
    assert run["versions"] == {"source": None, "differences": None}
    assert run["output"] == {"rows": 0, "columns": [], "bytes": run["output"]["bytes"]}
    assert 0 < run["usage"]["cpu_seconds"] < 60
    assert run["usage"]["peak_memory_bytes"] > 20 << 20
    assert result.stderr == NOTICE


def test_options_of_the_api_hold(rooms: Path, script: Write, tmp_path: Path) -> None:
    """Profile, dtypes, a packed table, how it is to be read, and both tables in formats of their own."""
    table, options = tmp_path / "t.csv.gz", tmp_path / "options.json"
    table.write_bytes(gzip.compress(b"a;b\n1;x\n;-\n"))
    options.write_text('{"dataframe1": {"delimiter": ";", "missing": ["-"], "columns": ["b", "a"]}}')
    job = script("def azureml_main(one, two):\n    print(two, one.dtypes.tolist())\n    return one, one[['a']]\n")
    first, second = tmp_path / "1.azureml.json", tmp_path / "2.parquet"

    result = local(
        job, "--dataframe1", table, "--options", options, "--profile", "designer", "--dtypes", "arrow",
        "--output", first, "--output2", second,
    )  # fmt: skip

    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("None [string[pyarrow], int64[pyarrow]]\n")
    assert "table 2:\n2 rows x 1 column" in result.stdout
    assert json.loads(first.read_text())["ColumnNames"] == ["b", "a"]
    assert pq.read_table(second).to_pydict() == {"a": [1, None]}


def test_a_failing_script_is_code_1_with_one_traceback(rooms: Path, script: Write) -> None:
    """The same words as on a server: code, type, line, one traceback."""
    result = local(script("def azureml_main():\n    print('before')\n    return 1 / 0\n"))

    assert result.exit_code == 1
    assert result.stdout.startswith("before\nfailed after ")
    assert "script_error 0085: ZeroDivisionError: division by zero (line 3 of the script)" in result.stderr
    assert result.stderr.count("Traceback (most recent call last)") == 1


@pytest.mark.parametrize(
    ("body", "words"),
    [("os._exit(7)", "exit code 7"), ("os.kill(os.getpid(), 11)", "exit code 139, as after SIGSEGV")],
)
def test_a_runner_that_dies_is_told(rooms: Path, script: Write, body: str, words: str) -> None:
    """A process that is gone before its report is `crashed`, exit code 1."""
    result = local(script(f"import os\ndef azureml_main():\n    {body}\n"))

    assert result.exit_code == 1
    assert "crashed 0085: Crashed: the interpreter ended before the script's result was written" in result.stderr
    assert words in result.stderr


def test_the_time_limit_kills_the_script_and_its_children(
    rooms: Path, script: Write, tmp_path: Path
) -> None:
    """Reason `timeout`, exit code 1, and no process left."""
    pids = tmp_path / "pids"

    result = local(script(FAMILY), "--timeout", "3", "--json", PIDS=str(pids))

    run = run_of(result)
    assert result.exit_code == 1
    assert run["reason"] == "timeout"
    assert "time limit of 3 seconds" in run["error"]["message"]
    assert until(lambda: not any(alive(int(pid)) for pid in pids.read_text().split()))


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)], ids=str
)
def test_a_stopped_program_takes_the_script_with_it(
    rooms: Path, script: Write, tmp_path: Path, number: int, code: int
) -> None:
    """Ctrl-C, SIGTERM and a closed terminal kill the whole group; the directory goes as well."""
    pids = tmp_path / "pids"
    process = subprocess.Popen(
        [sys.executable, "-m", "controller.cli", "run", "--local", script(FAMILY)],
        cwd=ROOT, env={**os.environ, "PIDS": str(pids)}, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"

    process.send_signal(number)
    _, errors = process.communicate(timeout=30)

    assert process.returncode == code, errors
    assert until(lambda: not any(alive(int(pid)) for pid in pids.read_text().split()))


def test_what_a_script_leaves_running_neither_delays_the_end_nor_stays(
    rooms: Path, script: Write, tmp_path: Path
) -> None:
    """A background process that holds the log open is killed when the script is done, as in a container."""
    pids = tmp_path / "pids"

    result = local(script(STARTS_A_CHILD + ECHO), "--timeout", "60", PIDS=str(pids))

    assert result.exit_code == 0, result.output
    assert until(lambda: not any(alive(int(pid)) for pid in pids.read_text().split()))


def test_a_script_without_output_streams_comes_to_its_end(rooms: Path, script: Write) -> None:
    """Closed standard streams are not the end of the run."""
    job = script("import os, time\ndef azureml_main():\n    os.close(1)\n    os.close(2)\n    time.sleep(0.5)\n")

    result = local(job)

    assert result.exit_code == 0, result.output


def test_the_environment_is_the_users_with_a_containers_settings(
    rooms: Path, script: Write, tmp_path: Path
) -> None:
    """Own variables and PATH stay; what decides on results is set; no key of ours is handed on."""
    job = script(
        "import json, os, tempfile\ndef azureml_main():\n"
        "    print(json.dumps({**os.environ, 'cwd': os.getcwd(), 'temporary': tempfile.gettempdir()}))\n"
    )

    result = local(job, MINE="kept", TZ="Asia/Tokyo", PYTHONPATH="/mine", AIRLOCK_KEY="alk_secret", LC_ALL="C")

    seen = json.loads(result.stdout.splitlines()[0])
    wanted = {"TZ": "UTC", "LC_ALL": "C.UTF-8", "MPLBACKEND": "Agg", "OMP_NUM_THREADS": "1", "MINE": "kept"}
    assert {name: seen[name] for name in wanted} == wanted
    assert seen["PATH"] == os.environ["PATH"]
    assert seen["PYTHONPATH"].endswith(":/mine")
    assert seen["cwd"].startswith(str(rooms))
    assert seen["temporary"] == f"{seen['cwd']}/tmp"
    assert [name for name in seen if name.startswith("AIRLOCK_")] == []


@pytest.mark.parametrize(
    ("arguments", "options", "words"),
    [
        (["--memory", "512MiB"], {}, "--memory is for runs in a server's container"),
        (["--cpus", "2"], {}, "--cpus is for runs in a server's container"),
        (["--reuse"], {}, "--reuse is for runs in a server's container"),
        ([], {"environment": "default"}, "environment is for runs in a server's container"),
        ([], {"dataframe2": {"delimiter": ";"}}, "there is no dataframe2 to be read in this way"),
        ([], {"profiles": "classic"}, "options.profiles: Extra inputs are not permitted"),
        (["--python", "/nowhere/python"], {}, "/nowhere/python: no such program"),
        (["--python", "true"], {}, "is no Python that works"),
        (["--python", "false"], {}, "is no Python of version 3.8 or later that works"),
    ],
)
def test_what_cannot_be_done_here_is_code_2_and_named(
    rooms: Path, script: Write, tmp_path: Path, arguments: list[str], options: dict[str, Any], words: str
) -> None:
    """Nothing is run, and the message says which option is at fault."""
    file = tmp_path / "options.json"
    file.write_text(json.dumps(options))

    result = local(script("print('ran')\n" + ECHO), "--options", file, *arguments)

    assert result.exit_code == 2, result.output
    assert words in result.stderr
    assert "ran" not in result.stdout


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ('["3.10.4", [], {}]', "is Python 3.10.4; a local run needs 3.11 or later"),
        ('["3.12.1", ["pandas", "pyarrow"], {}]', "-m pip install pandas pyarrow`"),
        ('["3.12.1"]', "is no Python that works"),
    ],
)
def test_a_python_that_is_not_fit_is_told_why(
    rooms: Path, script: Write, tmp_path: Path, answer: str, words: str
) -> None:
    """Too old, or without what the runner needs: exit code 2, with the way out."""
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\necho '{answer}'\n")
    python.chmod(0o755)

    result = local(script(ECHO), "--python", python)

    assert result.exit_code == 2
    assert f"{python} " in result.stderr
    assert words in result.stderr


def test_versions_are_compared_with_the_servers_image(rooms: Path, script: Write) -> None:
    """With address and key the server is asked; what differs is listed, what the script lacks apart."""
    packages = [
        {"name": "python", "version": "3.0.0"},
        {"name": "matplotlib-base", "version": "1.0"},
        {"name": "no-such-package", "version": "1.0"},
        {"name": "other-missing", "version": "1.0"},
    ]
    listed = {"items": [{"name": "default", "default": True, "packages": packages}], "next_cursor": None}
    job = script("try:\n    import no_such_package.sub\nexcept ImportError:\n    pass\n" + ECHO)
    with serving() as server:
        server.answers["GET", "/v1/environments"] = lambda x: x.say(200, listed)

        result = local(job, "--url", server.url, "--key", "k")
        document = local(job, "--json", AIRLOCK_URL=server.url, AIRLOCK_KEY="k")

    mine = run_of(document)["versions"]["differences"]
    here = {one["name"]: one["here"] for one in mine}
    assert result.stderr.endswith(
        f"\nother versions here than in the image: python {here['python']} (3.0.0),"
        f" matplotlib {here['matplotlib']} (1.0)\n"
        "imported and not installed here, but in the image: no-such-package (1.0)\n"
    )
    assert [one["name"] for one in mine] == ["python", "no-such-package", "matplotlib"]
    assert run_of(document)["versions"]["source"] == server.url


@pytest.mark.parametrize("status", [200, 401, 404])
def test_a_server_that_does_not_say_costs_a_line(rooms: Path, script: Write, status: int) -> None:
    """Another server, a wrong key, an older Airlock: the run itself is none the worse."""
    with serving() as server:
        server.answers["GET", "/v1/environments"] = lambda x: x.say(status, {"items": []})

        result = local(script(ECHO), "--url", server.url, "--key", "k")

    assert result.exit_code == 0
    assert result.stderr.endswith(UNKNOWN)


def test_a_script_that_takes_its_files_away_is_code_1(rooms: Path, script: Write) -> None:
    """Nothing keeps a script from it here; it is said, and it is no success."""
    job = script(
        "import glob, os\ndef azureml_main():\n"
        "    result, = glob.glob('../*/result')\n    os.remove(result)\n    open(result, 'w').close()\n"
    )

    result = local(job)

    assert result.exit_code == 1
    assert "the output file result was replaced" in result.stderr


def test_a_server_never_sees_a_local_run(rooms: Path, script: Write) -> None:
    """Of a server only its environments are asked, and nothing is sent to it."""
    with serving() as server:
        local(script(ECHO), "--url", server.url, "--key", "k")

        asked = [(method, path) for method, path, _ in server.seen]

    assert asked == [("GET", "/v1/environments")]
