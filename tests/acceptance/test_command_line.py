"""The command line against the real server and real containers, as a user meets it."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from controller.client.tables import KINDS
from tests.running import RunningServer, until

ROOT = Path(__file__).parents[2]
SLOW = """
import sys, time

def azureml_main(frame=None):
    print("first", flush=True)
    time.sleep(2)
    print("second", flush=True)
    print("aside", file=sys.stderr)
    return frame
"""


def environment(server: RunningServer, **more: str) -> dict[str, str]:
    """What a user of this server has exported."""
    return {**os.environ, "AIRLOCK_URL": server.url, "AIRLOCK_KEY": server.key, **more}


def airlock(server: RunningServer, *arguments: object, **more: str) -> subprocess.CompletedProcess[str]:
    """Run the command line to its end."""
    command = [sys.executable, "-m", "controller.cli", *map(str, arguments)]
    return subprocess.run(
        command, cwd=ROOT, env=environment(server, **more), capture_output=True, text=True, timeout=120
    )


def write(folder: Path, text: str) -> Path:
    """A script file."""
    file = folder / "script.py"
    file.write_text(text)
    return file


def test_the_log_is_shown_while_the_script_runs(server: RunningServer, tmp_path: Path) -> None:
    """The first line is there seconds before the run has ended; the table and its status follow."""
    table = tmp_path / "t.csv"
    table.write_text("a,b\n1,x\n2,y\n")
    command = [sys.executable, "-m", "controller.cli", "run", write(tmp_path, SLOW), "--dataframe1", table]

    with subprocess.Popen(
        command, cwd=ROOT, env=environment(server), text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        seen = time.monotonic()
        rest, errors = process.communicate(timeout=60)

    assert first == "first\n"
    assert time.monotonic() - seen > 1.5
    assert rest.startswith("second\nsucceeded after ")
    assert "2 rows x 2 columns" in rest
    assert errors == "aside\n"
    assert process.returncode == 0


@pytest.mark.parametrize("suffix", KINDS)
def test_a_table_makes_the_round_trip_in_every_format(
    server: RunningServer, tmp_path: Path, suffix: str
) -> None:
    """What is saved in a format goes in again as it is, and comes out the same."""
    script = write(tmp_path, "def azureml_main(frame):\n    return frame\n")
    start, saved, again = tmp_path / "t.csv", tmp_path / f"saved{suffix}", tmp_path / "again.csv"
    start.write_text('"a","b"\n1,"x"\n2,"é"\n')

    one = airlock(server, "run", script, "--dataframe1", start, "--output", saved)
    two = airlock(server, "run", script, "--dataframe1", saved, "--output", again)

    assert (one.returncode, two.returncode) == (0, 0), one.stderr + two.stderr
    assert again.read_bytes() == start.read_bytes()


def test_options_of_the_api_reach_the_script(server: RunningServer, tmp_path: Path) -> None:
    """A packed table, how it is read, dtypes, and the second table of the profile `designer`."""
    text = "def azureml_main(one, two):\n    print(two, one.dtypes.tolist())\n    return one, one[['a']]\n"
    script = write(tmp_path, text)
    table, options, second = tmp_path / "t.csv.gz", tmp_path / "options.json", tmp_path / "2.tsv"
    table.write_bytes(gzip.compress(b"a;b\n1;x\n;-\n"))
    options.write_text('{"dataframe1": {"delimiter": ";", "missing": ["-"], "columns": ["b", "a"]}}')

    result = airlock(
        server, "run", script, "--dataframe1", table, "--options", options, "--profile", "designer",
        "--dtypes", "nullable", "--output2", second,
    )  # fmt: skip

    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("None [<StringDtype(na_value=nan)>, Int64Dtype()]\nsucceeded after ")
    assert "table 2:\n2 rows x 1 column" in result.stdout
    assert second.read_text() == '"a"\n1\n\n'


def test_an_identical_run_is_reused_when_asked_for(server: RunningServer, tmp_path: Path) -> None:
    """The second time the script is not run: its log and its table are the first one's, and that is said."""
    script = write(tmp_path, "import random\ndef azureml_main():\n    print(random.random())\n")

    first = airlock(server, "run", script, "--reuse")
    second = airlock(server, "run", script, "--reuse")
    third = airlock(server, "run", script)

    said = [result.stdout.splitlines()[0] for result in (first, second, third)]
    assert said[0] == said[1] != said[2]
    assert f"the result of {first.stdout.splitlines()[1].split()[-1]}" in second.stdout
    assert "the result of" not in first.stdout + third.stdout


def test_a_failing_script_is_code_1_with_one_traceback(server: RunningServer, tmp_path: Path) -> None:
    """Error code, type and line of the user's own script."""
    script = write(tmp_path, "def azureml_main():\n    print('before')\n    return 1 / 0\n")

    result = airlock(server, "run", script)

    assert result.returncode == 1
    assert result.stdout.startswith("before\nfailed after ")
    assert "script_error 0085: ZeroDivisionError: division by zero (line 3 of the script)" in result.stderr
    assert result.stderr.count("Traceback (most recent call last)") == 1


def test_limits_reach_the_sandbox(server: RunningServer, tmp_path: Path) -> None:
    """A run gets what was asked for, and is ended by it."""
    script = write(tmp_path, "import time\ndef azureml_main():\n    time.sleep(60)\n")

    result = airlock(server, "run", script, "--timeout", "2", "--memory", "256MiB", "--cpus", "0.5", "--json")

    run = json.loads(result.stdout)
    assert result.returncode == 1
    assert run["reason"] == "timeout"
    assert run["limits"]["timeout_seconds"] == 2
    assert run["limits"]["memory_bytes"] == 256 << 20
    assert run["limits"]["cpus"] == 0.5


def test_a_wrong_key_is_code_2(server: RunningServer, tmp_path: Path) -> None:
    """The server's refusal and what to do about it."""
    script = write(tmp_path, SLOW)

    result = airlock(server, "run", script, AIRLOCK_KEY="alk_none")

    assert result.returncode == 2
    assert "(401)" in result.stderr
    assert "AIRLOCK_KEY" in result.stderr


def test_a_script_that_is_too_large_is_code_2(server: RunningServer, tmp_path: Path) -> None:
    """The server refuses it by size, and the client shows its answer although the upload was cut."""
    script = write(tmp_path, "#" * (200 << 20))

    result = airlock(server, "run", script)

    assert result.returncode == 2, result.stderr
    assert "(413)" in result.stderr


def heed_ctrl_c() -> None:
    """A shell has what it begins in the background ignore Ctrl-C, and that would be handed down to our program."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_ctrl_c_cancels_the_run(server: RunningServer, tmp_path: Path) -> None:
    """The run ends as cancelled, and its container goes."""
    script = write(tmp_path, "import time\nprint('up', flush=True)\ndef azureml_main():\n    time.sleep(50)\n")
    command = [sys.executable, "-m", "controller.cli", "run", script]
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment(server),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=heed_ctrl_c,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"

        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)

    run_id = errors.split()[-1]
    assert process.returncode == 130
    assert until(lambda: server.get(f"/v1/runs/{run_id}").json()["status"] == "cancelled")
    assert until(lambda: server.containers() == [])


def test_the_doctor_finds_this_host_fit(server: RunningServer, tmp_path: Path) -> None:
    """A host on which runs work has no errors, and its trial container has really been started."""
    result = airlock(server, "doctor", "--json", "--data-dir", tmp_path / "new")

    findings = {finding["name"]: finding for finding in json.loads(result.stdout)["findings"]}
    assert [name for name, finding in findings.items() if finding["level"] == "error"] == []
    assert result.returncode == 0
    assert "came and went" in findings["sandbox"]["found"]
    assert findings["image"]["found"].startswith(os.environ.get("AIRLOCK_IMAGE", "airlock-sandbox:latest"))
