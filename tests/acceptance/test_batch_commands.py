"""`airlock batch` against a real server: what a user types, and what comes of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from controller.cli.batches import progress
from controller.cli.main import cli
from tests.running import RunningServer, until

SALES = "city,n\nparis,1\nrome,2\nparis,3\n"
SCRIPT = """
def azureml_main(dataframe1, *, params):
    if params.get("fail") == params["item"]["label"]:
        raise ValueError("not " + params["fail"])
    dataframe1["item"] = params["item"]["number"]
    return dataframe1
"""
SLEEPER = "import time\ndef azureml_main(df):\n    time.sleep(600)\n"
CUT = ("--dataset", "sales", "--column", "city", "--item-parameter", "item")


@pytest.fixture
def files(tmp_path: Path, server: RunningServer) -> Path:
    """A folder with a script and a sleeper; the server has the dataset `sales`."""
    (tmp_path / "script.py").write_text(SCRIPT)
    (tmp_path / "sleeper.py").write_text(SLEEPER)
    (tmp_path / "sales.csv").write_text(SALES)
    put = airlock(server, "dataset", "put", "sales", tmp_path / "sales.csv", "--wait")
    assert put.exit_code == 0, put.output
    return tmp_path


def airlock(server: RunningServer, *arguments: object) -> Result:
    """Run the command line in this process."""
    runner = CliRunner(env={"AIRLOCK_URL": server.url, "AIRLOCK_KEY": server.key})
    return runner.invoke(cli, [str(argument) for argument in arguments])


def test_a_batch_from_the_command_line(server: RunningServer, files: Path) -> None:
    """Run, saved, listed, shown with its items, deleted."""
    output = files / "out.csv"

    run = airlock(server, "batch", "run", files / "script.py", *CUT, "--parallel", 2, "--output", output)

    assert run.exit_code == 0, run.output
    batch_id = run.stdout.split()[0]
    assert "finished  2 succeeded" in run.stdout
    assert output.read_text().splitlines() == ['"city","n","item"', '"paris",1,1', '"paris",3,1', '"rome",2,2']
    assert batch_id in airlock(server, "batch", "list").stdout
    shown = json.loads(airlock(server, "batch", "show", batch_id, "--json").stdout)
    assert (shown["parallel"], shown["counts"]["succeeded"]) == (2, 2)
    lines = airlock(server, "batch", "items", batch_id).stdout.splitlines()
    assert [line.split()[:2] + line.split()[3:] for line in lines] == [
        ["1", "succeeded", "paris"],
        ["2", "succeeded", "rome"],
    ]
    assert airlock(server, "batch", "delete", batch_id).exit_code == 0
    assert airlock(server, "batch", "show", batch_id).exit_code == 2


def test_failed_items_are_code_1_and_can_be_tried_again(server: RunningServer, files: Path) -> None:
    """What succeeded is saved with --partial; a retry that fails again says so."""
    failing = (*CUT, "--parameter", "fail=rome", "--wait", "--json")

    run = airlock(server, "batch", "run", files / "script.py", *failing)

    assert run.exit_code == 1
    batch_id = json.loads(run.stdout)["id"]
    failed = airlock(server, "batch", "items", batch_id, "--status", "failed").stdout
    assert failed.startswith("2  failed  run_")
    assert "0085" in failed
    assert "not rome" in failed
    whole = airlock(server, "batch", "show", batch_id, "--output", files / "whole.csv")
    assert whole.exit_code == 2
    assert "1 succeeded, 1 failed" in whole.output
    assert airlock(server, "batch", "show", batch_id, "--output", files / "part.csv", "--partial").exit_code == 0
    assert (files / "part.csv").read_text().splitlines()[1:] == ['"paris",1,1', '"paris",3,1']
    again = airlock(server, "batch", "retry", batch_id, "--wait")
    assert (again.exit_code, "1 succeeded, 1 failed" in again.stdout) == (1, True)


def test_a_batch_of_several_datasets_is_cancelled(server: RunningServer, files: Path) -> None:
    """Accepted without waiting, cancelled, and shown as that."""
    run = airlock(server, "batch", "run", files / "sleeper.py", "--datasets", "sales,sales@1", "--json")
    assert run.exit_code == 0, run.output
    found = json.loads(run.stdout)
    assert found["batch"]["datasets"] == [{"dataset": "sales"}, {"dataset": "sales", "version": 1}]

    cancelled = airlock(server, "batch", "cancel", found["id"])

    assert cancelled.exit_code == 0
    assert airlock(server, "batch", "show", found["id"], "--wait").exit_code == 1
    assert until(lambda: "cancelled  2 cancelled" in airlock(server, "batch", "show", found["id"]).stdout, 60)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "give either --dataset"),
        (("--dataset", "a", "--datasets", "b", "--rows", "1"), "give either --dataset"),
        (("--dataset", "a"), "needs either --rows or --column"),
        (("--dataset", "a", "--rows", "1", "--column", "c"), "needs either --rows or --column"),
        (("--datasets", "a,b", "--rows", "1"), "do not go with --datasets"),
        (("--dataset", "nowhere", "--rows", "1"), "there is no dataset"),
        (("--dataset", "sales", "--rows", "1", "--parallel", "0"), "must be 1 to 64"),
        (("--dataset", "sales", "--column", "country"), "there is no column 'country'"),
    ],
)
def test_wrong_use_is_code_2_and_says_what(
    server: RunningServer, files: Path, arguments: tuple[str, ...], words: str
) -> None:
    """Here, or by the server's refusal."""
    run = airlock(server, "batch", "run", files / "script.py", *arguments)

    assert run.exit_code == 2
    assert words in run.output


@pytest.mark.parametrize(
    ("total", "counts", "eta", "line"),
    [
        (None, {}, None, "preparing;"),
        (10, {"waiting": 10}, None, "0 of 10 done;"),
        (10, {"succeeded": 2, "failed": 1, "cancelled": 1}, 61.4, "4 of 10 done, 1 failed, about 61 s left;"),
        (10_000, {"succeeded": 1}, 3600, "1 of 10000 done, about 60 min left;"),
        (10_000, {"succeeded": 1}, 86_400, "1 of 10000 done, about 24.0 h left;"),
    ],
)
def test_the_line_of_progress(total: int | None, counts: dict[str, int], eta: float | None, line: str) -> None:
    """Counts, what failed, and how long it will take, in a unit that one can read."""
    none = dict.fromkeys(("waiting", "queued", "running", "succeeded", "failed", "cancelled", "removed"), 0)

    found = {"status": "preparing" if total is None else "running", "total": total, "counts": none | counts}

    assert progress(found | {"eta_seconds": eta}) == line
