"""`airlock dataset` and `airlock run --dataframe1 dataset:NAME` against the real server and real containers."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from test_command_line import airlock, environment, write

from tests.running import RunningServer

ROOT = Path(__file__).parents[2]
DATASETS = (ROOT / "docs" / "datasets.md").read_text()
IDENTITY = "def azureml_main(dataframe1, dataframe2=None):\n    return dataframe1\n"


@pytest.fixture
def table(tmp_path: Path) -> Path:
    file = tmp_path / "t.csv"
    file.write_text("n;s\n1;a\n2;-\n3;c\n")
    return file


def test_a_dataset_lives_on_the_command_line(server: RunningServer, tmp_path: Path, table: Path) -> None:
    """Put, shown, listed, previewed, used, saved, deleted."""
    reading = tmp_path / "reading.json"
    reading.write_text('{"delimiter": ";", "missing": ["-"]}')
    saved, script = tmp_path / "saved.csv", write(tmp_path, IDENTITY)

    put = airlock(server, "dataset", "put", "cli-life", table, "--options", reading, "--wait")
    again = json.loads(airlock(server, "dataset", "put", "cli-life", table, "--options", reading, "--json").stdout)
    table.write_text("n;s\n4;d\n")
    second = airlock(server, "dataset", "put", "cli-life", table, "--wait")
    shown = airlock(server, "dataset", "show", "cli-life@1")
    versions = airlock(server, "dataset", "show", "cli-life", "--versions", "--json")
    statistics = json.loads(airlock(server, "dataset", "show", "cli-life@1", "--statistics").stdout)
    listed = airlock(server, "dataset", "list", "--prefix", "cli-l")
    preview = airlock(server, "dataset", "preview", "cli-life@1", "--rows", "2")
    got = airlock(server, "dataset", "get", "cli-life@1", "--output", saved)
    run = airlock(server, "run", script, "--dataframe1", "dataset:cli-life@1", "--json")
    deleted = airlock(server, "dataset", "delete", "cli-life@2")
    left = airlock(server, "dataset", "show", "cli-life")

    for done in (put, second, shown, versions, listed, preview, got, run, deleted, left):
        assert done.returncode == 0, done.stderr
    assert re.match(r"cli-life@1  ready  3 rows x 2 columns, .*from 16 B of csv", put.stdout)
    assert (again["version"], again["rows"]) == (1, 3)
    assert shown.stdout.splitlines()[1:] == ["  n: int64", "  s: string"]
    assert [json.loads(line)["version"] for line in versions.stdout.splitlines()] == [2, 1]
    assert statistics["columns"][1]["nulls"] == 1
    assert [line.split()[0] for line in listed.stdout.splitlines()] == ["cli-life@2"]
    assert preview.stdout.splitlines() == ["n  s", "1  a", "2", "... and 1 more rows"]
    assert saved.read_text() == '"n","s"\n1,"a"\n2,\n3,"c"\n'
    assert json.loads(run.stdout)["datasets"] == [{"port": 1, "name": "cli-life", "version": 1}]
    assert left.stdout.startswith("cli-life@1  ready")
    airlock(server, "dataset", "delete", "cli-life")


def test_what_cannot_be_read_is_told(server: RunningServer, tmp_path: Path) -> None:
    """`put --wait` ends with exit code 1 and says why; a run with it ends with 2 and the reason."""
    table = tmp_path / "t.parquet"
    table.write_bytes(b"PAR1 but nothing else")

    put = airlock(server, "dataset", "put", "cli-bad", table, "--wait")
    run = airlock(server, "run", write(tmp_path, IDENTITY), "--dataframe1", "dataset:cli-bad")
    airlock(server, "dataset", "delete", "cli-bad")

    assert (put.returncode, run.returncode) == (1, 2)
    assert put.stdout.startswith("cli-bad@1  failed")
    assert "bad_input 0018" in put.stderr
    assert "dataset_failed" in run.stderr


def test_what_is_not_there_is_told(server: RunningServer, tmp_path: Path, table: Path) -> None:
    """Exit code 2 with the server's words, or with ours before anything is sent."""
    script = write(tmp_path, IDENTITY)
    for arguments, words in (
        (["dataset", "show", "cli-none"], "not_found"),
        (["dataset", "delete", "cli-none@7"], "not_found"),
        (["dataset", "get", "cli-none", "--output", tmp_path / "x.csv"], "not_found"),
        (["dataset", "put", ".odd", table], "invalid_request"),
        (["dataset", "put", "cli-none", script], "told by its suffix"),
        (["dataset", "show", "cli-none@x"], "NAME@3"),
        (["run", script, "--dataframe1", "dataset:cli-none"], "not_found"),
        (["run", script, "--dataframe1", "dataset:"], "is no dataset"),
        (["run", script, "--dataframe1", "dataset:a@"], "is no dataset"),
        (["run", script, "--dataframe1", "dataset:a", "--local"], "airlock dataset get"),
    ):
        done = airlock(server, *arguments)
        assert (done.returncode, words in done.stderr) == (2, True), (arguments, done.stdout, done.stderr)


def test_the_examples_of_the_page_do_what_they_show(
    make_server: Callable[..., RunningServer], tmp_path: Path
) -> None:
    """Every shell block of docs/datasets.md, one after the other; on a server that has no datasets yet."""
    server = make_server()
    script = "\n".join(re.findall(r"```sh\n(.*?)```", DATASETS, re.DOTALL))

    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=tmp_path,
        env=environment(server),
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    found = {name: json.loads((tmp_path / f"{name}.json").read_text()) for name in ("sales", "total", "newest")}
    assert (found["sales"]["status"], found["sales"]["rows"]) == ("ready", 3)
    assert found["total"]["output"]["rows"] == found["newest"]["output"]["rows"] == 2
    assert (tmp_path / "again.csv").read_text() == '"city","amount"\n"Bern",10\n"Basel",20\n"Bern",5\n'
    assert json.loads((tmp_path / "preview.json").read_text())["total_rows"] == 3
    assert json.loads((tmp_path / "statistics.json").read_text())["rows"] == 3
    for name in ("sales", "by-name.csv", "export"):
        server.request("DELETE", f"/v1/datasets/{name}")
