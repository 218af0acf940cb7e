"""What is old, or too much, is removed, part by part; and whoever asks for it learns that it was."""

from __future__ import annotations

import os
from contextlib import suppress

import pytest

from tests.running import until

QUICK = "def azureml_main(dataframe1):\n    print('hello')\n    return dataframe1"
SLEEPER = "import time\ntime.sleep(60)\ndef azureml_main(): pass"


def submit(server, data=b"n\n1\n"):
    files = {"script": ("s.py", QUICK), "dataframe1": ("t.csv", data, "text/csv")}
    run = server.post("/v1/runs?wait=60", files=files).json()
    assert run["status"] == "succeeded", run
    return run


def removed(server, run):
    return server.get(f"/v1/runs/{run['id']}").json()["removed"]


@pytest.mark.parametrize(
    ("part", "setting", "path", "kept"),
    [
        ("inputs", "AIRLOCK_KEEP_INPUTS_SECONDS", "/rerun", "/log"),
        ("outputs", "AIRLOCK_KEEP_OUTPUTS_SECONDS", "/output", "/log"),
        ("log", "AIRLOCK_KEEP_LOG_SECONDS", "/log", "/output"),
    ],
)
def test_a_part_is_removed_when_its_time_is_over(make_server, part, setting, path, kept):
    """The run says so, asking for it is a named refusal, its bytes are gone, and the other parts are there."""
    server = make_server(**{setting: "0.2", "AIRLOCK_SWEEP_SECONDS": "0.3"})
    run = submit(server)

    assert until(lambda: removed(server, run) == [part], 20)

    method = "POST" if path == "/rerun" else "GET"
    answer = server.request(method, f"/v1/runs/{run['id']}{path}")
    assert answer.status_code in (409, 410)
    assert answer.json()["code"] in ("removed", "inputs_removed")
    assert server.get(f"/v1/runs/{run['id']}{kept}").status_code == 200
    left = {path.name for path in (server.data_dir / "runs" / run["id"]).rglob("*")}
    gone = {"inputs": {"script.py", "dataframe1"}, "outputs": {"result.arrow"}, "log": {"log"}}[part]
    assert until(lambda: not left & gone or not any((server.data_dir / "runs" / run["id"] / n).exists() for n in gone))


def test_a_run_is_forgotten_when_its_time_is_over(make_server):
    """Row and files; an unfinished one stays."""
    server = make_server(AIRLOCK_KEEP_RUNS_SECONDS="0.2", AIRLOCK_SWEEP_SECONDS="0.3", AIRLOCK_WORKERS="2")
    sleeper = server.post("/v1/runs", files={"script": ("s.py", SLEEPER)})
    run = submit(server)

    assert until(lambda: server.get(f"/v1/runs/{run['id']}").status_code == 404, 20)
    assert until(lambda: not (server.data_dir / "runs" / run["id"]).exists())
    assert server.get(f"/v1/runs/{sleeper.json()['id']}").json()["status"] == "running"


def stored(server):
    """Bytes in the files of all runs."""
    found = 0
    for path in (server.data_dir / "runs").rglob("*"):
        with suppress(FileNotFoundError):
            found += path.stat().st_size if path.is_file() else 0
    return found


def test_too_many_bytes_cost_the_oldest_runs_their_files(make_server):
    """The newest keep theirs; rows stay."""
    server = make_server(AIRLOCK_KEEP_BYTES="300000", AIRLOCK_SWEEP_SECONDS="0.3")
    runs = [submit(server, b"n\n" + os.urandom(50_000).hex().encode() + b"\n") for _ in range(4)]

    assert until(lambda: removed(server, runs[0]) == ["inputs", "outputs", "log"], 20)

    assert removed(server, runs[3]) == []
    assert until(lambda: stored(server) <= 300_000, 20)
    assert server.get(f"/v1/runs/{runs[0]['id']}/output").status_code == 410
