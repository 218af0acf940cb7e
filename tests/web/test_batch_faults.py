"""Batches on a server that is killed, shared with others, or tidied up: every item has one run, and nobody waits."""

from __future__ import annotations

import signal
import sqlite3
import time

from batch_calls import DOUBLE, NAPPER, cities, counts, csv, done, ended, items, submit
from callers import add_tenant
from dataset_calls import ready

from tests.running import RunningServer, until


def succeeded(server: RunningServer, batch: dict) -> int:
    return server.get(f"/v1/batches/{batch['id']}").json()["counts"]["succeeded"]


def test_a_killed_server_goes_on_with_its_batch(make_server):
    """kill -9 twice in the middle of it: every item ends with one run, no run is left over, all results are there."""
    first = make_server(AIRLOCK_WORKERS="3")
    ready(first, "twenty", b"n\n" + b"".join(b"%d\n" % n for n in range(20)))
    batch = submit(first, DOUBLE, {"dataset": "twenty", "rows": 2, "parallel": 3}).json()
    assert until(lambda: succeeded(first, batch) >= 1, 120)
    first.stop(signal.SIGKILL)
    second = make_server(AIRLOCK_WORKERS="3", key=first.key)
    known = succeeded(second, batch)
    assert until(lambda: succeeded(second, batch) > known, 120)
    second.stop(signal.SIGKILL)
    third = make_server(AIRLOCK_WORKERS="3", key=first.key)

    batch = ended(third, batch)

    assert (batch["status"], counts(batch)) == ("finished", {"succeeded": 10})
    found = items(third, batch)
    assert [item["number"] for item in found] == list(range(1, 11))
    database = sqlite3.connect(third.data_dir / "airlock.db")
    rows = database.execute(
        "SELECT item, status, count(*) FROM runs WHERE batch_id = ? GROUP BY item, status ORDER BY item", [batch["id"]]
    ).fetchall()
    database.close()
    assert rows == [(number, "succeeded", 1) for number in range(1, 11)]
    assert csv(third, batch).text.splitlines()[1:] == [f"{n},{2 * n}" for n in range(20)]
    there = {path.name for path in (third.data_dir / "runs").iterdir()}
    assert {item["run_id"] for item in found} <= there
    assert until(lambda: third.containers() == [], 60)


def test_a_killed_server_still_tells_the_items(make_server):
    """Killed while the table is being grouped: the batch is prepared, and executed, by the next one."""
    first = make_server()
    cities(first)
    batch = submit(first, DOUBLE, {"dataset": "cities", "column": "city"}).json()
    assert (batch["status"], batch["total"]) == ("preparing", None)
    first.stop(signal.SIGKILL)

    second = make_server(key=first.key)

    assert counts(ended(second, batch)) == {"succeeded": 3}


def test_a_cancel_outlives_the_server(make_server):
    """What was under way when it was killed does not begin again."""
    first = make_server(AIRLOCK_WORKERS="3")
    cities(first)
    batch = submit(first, NAPPER, {"dataset": "cities", "rows": 1, "parallel": 2}).json()
    assert until(lambda: counts(first.get(f"/v1/batches/{batch['id']}").json()).get("running") == 2, 120)
    database = sqlite3.connect(first.data_dir / "airlock.db")
    with database:  # as if it had been killed right after the mark
        database.execute("UPDATE batches SET cancel_requested = 1")
    database.close()
    first.stop(signal.SIGKILL)

    second = make_server(AIRLOCK_WORKERS="3", key=first.key)

    found = ended(second, batch)
    assert (found["status"], counts(found)) == ("cancelled", {"cancelled": 6})
    assert until(lambda: second.containers() == [], 60)


def test_another_tenant_is_answered_while_a_batch_is_at_work(make_server):
    """A batch of sleepers holds every place that it may; a run of somebody else is executed all the same, and so is
    one of the same tenant."""
    server = make_server(AIRLOCK_WORKERS="3")
    other = add_tenant(server, "another")
    cities(server)
    batch = submit(server, NAPPER, {"dataset": "cities", "rows": 1, "parallel": 6}).json()
    assert until(lambda: counts(server.get(f"/v1/batches/{batch['id']}").json()).get("running") == 2, 120)

    theirs = other.submit("def azureml_main(): print('mine')", wait=200)
    own = server.submit("def azureml_main(): print('mine')", wait=200)

    assert [theirs["status"], own["status"]] == ["succeeded", "succeeded"]
    now = server.get(f"/v1/batches/{batch['id']}").json()
    assert (now["status"], counts(now)) == ("running", {"queued": 4, "running": 2})
    assert now["eta_seconds"] is None
    server.post(f"/v1/batches/{batch['id']}/cancel")
    assert ended(server, batch)["status"] == "cancelled"


def test_an_eta_comes_from_the_rate_so_far(make_server):
    """Null before the first item has ended, then a number, and null again at the end."""
    server = make_server(AIRLOCK_WORKERS="2")
    cities(server)
    batch = submit(server, DOUBLE, {"dataset": "cities", "rows": 1, "parallel": 1}).json()
    seen = [batch["eta_seconds"]]
    began = time.monotonic()
    assert until(lambda: succeeded(server, batch) >= 2, 120)

    now = server.get(f"/v1/batches/{batch['id']}").json()

    seconds = time.monotonic() - began
    assert seen == [None]
    assert 0 < now["eta_seconds"] < 4 * seconds + 10
    assert ended(server, batch)["eta_seconds"] is None


def test_what_retention_removed_is_gone(make_server):
    """Results that went before they were put together: 410. At last the batch goes too, with all its runs."""
    server = make_server(AIRLOCK_KEEP_OUTPUTS_SECONDS="0.2", AIRLOCK_SWEEP_SECONDS="0.3", AIRLOCK_WORKERS="3")
    cities(server)
    batch = done(server, DOUBLE, {"dataset": "cities", "rows": 6})
    run_id = items(server, batch)[0]["run_id"]
    assert until(lambda: server.get(f"/v1/runs/{run_id}").json()["removed"] == ["outputs"], 60)

    gone = csv(server, batch)

    assert (gone.status_code, gone.json()["code"]) == (410, "removed")
    assert server.get(f"/v1/batches/{batch['id']}").json()["counts"]["succeeded"] == 1
    key = server.key
    server.stop()
    server = make_server(AIRLOCK_KEEP_RUNS_SECONDS="0.2", AIRLOCK_SWEEP_SECONDS="0.3", key=key)
    assert until(lambda: server.get("/v1/batches").json()["items"] == [], 60)
    assert until(lambda: list((server.data_dir / "batches").iterdir()) == [], 20)
    assert server.get("/v1/datasets/cities").status_code == 200


def test_files_that_are_lost_end_the_items_by_name(make_server):
    """An operator removed the batch's files: its items fail with a reason, and the batch ends."""
    server = make_server(AIRLOCK_WORKERS="2")
    cities(server)
    batch = submit(server, NAPPER, {"dataset": "cities", "rows": 2, "parallel": 1}).json()
    first = items(server, batch)[0]["run_id"]
    for path in (server.data_dir / "batches" / batch["id"] / "in").iterdir():
        path.unlink()

    server.post(f"/v1/runs/{first}/cancel")

    found = ended(server, batch)
    assert (found["status"], counts(found)) == ("finished", {"cancelled": 1, "failed": 2})
    lost = items(server, batch, "&status=failed")
    assert {(item["reason"], item["error"]["code"]) for item in lost} == {("engine_error", "1000")}
    assert "files of the batch are gone" in lost[0]["error"]["message"]
    assert "batch_files_gone" in server.log_path.read_text()
