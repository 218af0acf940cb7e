"""What the README shows is what happens: its commands are taken from its text and run."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL)
MAIN, SERVE, CALL, STORED, BATCH, SERVICE, LOCAL = BLOCKS


def shell(script: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=cwd,
        env={**os.environ, "PATH": path, **env},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def test_the_first_command_runs_the_main_job():
    """`make demo`: three examples, each succeeded, and it says that all is well."""
    demo = MAIN.splitlines()[0]
    assert demo.startswith("make demo")

    done = shell(demo, ROOT)

    assert done.stdout.count("succeeded after") == 4
    assert "worst" in done.stdout
    assert "Hello, World!" in done.stdout
    assert (ROOT / "demo-output/scatter_matrix.png").read_bytes().startswith(b"\x89PNG")


def test_the_second_command_is_what_ci_runs():
    """This very test was started by it in CI."""
    test = MAIN.splitlines()[1].partition("#")[0].strip()

    assert test == "make test"
    assert re.search(rf"^{test}$", (ROOT / ".ci/run").read_text(), re.MULTILINE)


def test_the_command_line_example_saves_its_plots(server, tmp_path):
    """The example's PNG lies where the README says."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")

    shell(SERVE, tmp_path, AIRLOCK_URL=server.url, AIRLOCK_KEY=server.key)

    assert (tmp_path / "plots/scatter_matrix.png").read_bytes().startswith(b"\x89PNG")


def test_the_curl_example_answers_as_shown(server, tmp_path):
    """The answer's fields and the table's columns are the README's."""
    shown = json.loads(re.search(r"```json\n(.*?)```", TEXT, re.DOTALL)[1].replace("…", ""))

    done = shell(CALL, tmp_path, AIRLOCK_URL=server.url, AIRLOCK_KEY=server.key)

    answer = json.loads(done.stdout)
    assert set(shown) <= set(answer)
    for name in ("status", "reason", "error", "images", "log_bytes"):
        assert answer[name] == shown[name]
    assert answer["output"]["columns"] == shown["output"]["columns"]
    assert set(answer["usage"]) == set(shown["usage"])


def test_the_table_that_is_kept_is_used_by_its_name(server, tmp_path):
    """Put, then a run of the script above, and a batch of it; the same table at home gives the same rows."""
    (tmp_path / "double.py").write_text(re.search(r"<<'END'\n(.*?)END\n", CALL, re.DOTALL)[1])
    (tmp_path / "numbers.csv").write_text("n\n1\n2\n")

    done = shell(STORED, tmp_path, AIRLOCK_URL=server.url, AIRLOCK_KEY=server.key)
    shell(BATCH, tmp_path, AIRLOCK_URL=server.url, AIRLOCK_KEY=server.key)
    published = shell(SERVICE, tmp_path, AIRLOCK_URL=server.url, AIRLOCK_KEY=server.key)

    assert "numbers@1  ready  2 rows x 1 columns" in done.stdout
    assert "2 rows x 2 columns" in done.stdout
    assert (tmp_path / "doubled.csv").read_text() == '"n","double"\n1,2\n2,4\n'
    assert "primary key (shown only now): ale_" in published.stdout
    assert (tmp_path / "answer.csv").read_text() == '"n","double"\n1,2\n2,4\n'


def test_the_script_at_home_runs_without_a_server(tmp_path):
    """The starter that the README writes runs on the README's table, and says that nothing isolates it."""
    (tmp_path / "numbers.csv").write_text("n\n1\n2\n")

    done = shell(LOCAL, tmp_path)

    assert "NOT ISOLATED" in done.stderr
    assert "succeeded after" in done.stdout


@pytest.mark.parametrize("command", ["setup", "demo", "serve", "test", "check", "image", "bench", "lock", "clean"])
def test_every_make_target_that_is_spoken_of_exists(command):
    """README, CONTRIBUTING and docs name no target that is not there."""
    done = subprocess.run(["make", "-n", command], cwd=ROOT, capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
