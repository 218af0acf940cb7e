"""`airlock runs`: what was submitted earlier, through the real server."""

from __future__ import annotations

import json

from test_command_line import airlock, write

from tests.running import RunningServer

STEADY = "import pandas as pd\ndef azureml_main():\n    print('hello')\n    return pd.DataFrame({'a': [1, 2]})\n"
CHANCE = "import pandas as pd, uuid\ndef azureml_main(): return pd.DataFrame({'a': [uuid.uuid4().hex]})\n"


def submitted(server: RunningServer, folder, script: str) -> str:
    done = airlock(server, "run", write(folder, script), "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["id"]


def test_a_run_is_listed_shown_logged_and_deleted(server: RunningServer, tmp_path) -> None:
    """Each as a user would ask for it; afterwards it is gone."""
    run_id = submitted(server, tmp_path, STEADY)

    listed = airlock(server, "runs", "list", "--status", "succeeded", "--limit", "5")
    shown = airlock(server, "runs", "show", run_id)
    log = airlock(server, "runs", "log", run_id)
    followed = airlock(server, "runs", "log", run_id, "--follow")
    deleted = airlock(server, "runs", "delete", run_id)
    gone = airlock(server, "runs", "show", run_id)

    assert f"{run_id}  " in listed.stdout
    assert json.loads(shown.stdout)["status"] == "succeeded"
    assert log.stdout == followed.stdout == "hello\n"
    assert (followed.returncode, deleted.returncode, gone.returncode) == (0, 0, 2)
    assert "no run with this id" in gone.stderr


def test_a_rerun_says_whether_it_gave_the_same(server: RunningServer, tmp_path) -> None:
    """Exit code 0 for a steady script, 1 with the first difference for one that is not."""
    steady, chance = (submitted(server, tmp_path, script) for script in (STEADY, CHANCE))

    same = airlock(server, "runs", "rerun", steady, "--compare")
    other = airlock(server, "runs", "rerun", chance, "--compare")

    assert (same.returncode, other.returncode) == (0, 1), (same, other)
    assert "table 1: bytes equal" in same.stdout
    assert "table 1: different: " in other.stdout


def test_a_queued_or_running_run_is_cancelled(server: RunningServer, tmp_path) -> None:
    """And says so; a second time it is refused by name."""
    script = "import time\ndef azureml_main(): time.sleep(60)\n"
    run = server.submit(script, wait=0)

    first = airlock(server, "runs", "cancel", run["id"])
    followed = airlock(server, "runs", "log", run["id"], "--follow")
    second = airlock(server, "runs", "cancel", run["id"])

    assert (first.returncode, followed.returncode, second.returncode) == (0, 1, 2)
    assert "has ended already" in second.stderr
