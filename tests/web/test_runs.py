"""Runs as things: waited for, listed page by page, stopped, forgotten; and the document that describes one."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest
from callers import add_tenant
from wire import SCRIPT, SLEEPER, refused

from tests.running import until

if TYPE_CHECKING:
    from tests.running import RunningServer

FIELDS = {
    "id", "status", "reason", "error", "warnings", "inputs", "output", "output2", "images", "log_bytes",
    "log_truncated", "environment", "limits", "usage", "timings", "attempt", "script_sha256", "reused_from",
    "created_at", "started_at", "finished_at", "priority", "at_most_once", "position", "rerun_of", "batch_id", "item",
    "removed", "datasets", "script", "endpoint_id",
}  # fmt: skip


def test_without_wait_the_answer_comes_at_once(server: RunningServer) -> None:
    """202, queued, and where to ask."""
    answer = server.post("/v1/runs", files={"script": SCRIPT})

    run = answer.json()
    assert answer.status_code == 202
    assert answer.headers["Location"] == f"/v1/runs/{run['id']}"
    assert run["status"] in ("queued", "running")
    assert (run["output"], run["finished_at"]) == (None, None)
    assert server.get(answer.headers["Location"]).json()["id"] == run["id"]


def test_with_wait_the_answer_is_the_result(server: RunningServer) -> None:
    """200 as soon as the run has ended, well before the time is over."""
    started = time.monotonic()

    answer = server.post("/v1/runs?wait=100", files={"script": SCRIPT})

    assert answer.status_code == 200
    assert answer.json()["status"] == "succeeded"
    assert answer.headers["Location"] == f"/v1/runs/{answer.json()['id']}"
    assert time.monotonic() - started < 60


def test_a_wait_that_is_too_short_is_no_error(server: RunningServer) -> None:
    """202 after the time asked for; the run goes on, and can be waited for again."""
    started = time.monotonic()

    answer = server.post("/v1/runs?wait=0.3", files={"script": SLEEPER.encode()})
    seconds = time.monotonic() - started
    run_id = answer.json()["id"]
    again = server.get(f"/v1/runs/{run_id}?wait=0.3")
    server.post(f"/v1/runs/{run_id}/cancel")
    ended = server.get(f"/v1/runs/{run_id}?wait=60").json()

    assert answer.status_code == 202
    assert 0.3 <= seconds < 10
    assert again.json()["status"] in ("queued", "running")
    assert ended["status"] == "cancelled"


def test_a_wait_longer_than_the_servers_is_cut(small: RunningServer) -> None:
    """Nobody holds a connection longer than the operator wants (half a second here)."""
    started = time.monotonic()

    answer = small.post("/v1/runs?wait=3600", files={"script": SLEEPER.encode()})

    assert answer.status_code == 202
    assert time.monotonic() - started < 20
    small.post(f"/v1/runs/{answer.json()['id']}/cancel")
    assert until(lambda: small.get(f"/v1/runs/{answer.json()['id']}").json()["status"] == "cancelled", 30)


def test_a_run_that_succeeded_is_described(server: RunningServer, table_run: Any) -> None:
    """Every field of the document, with plausible values."""
    moments = [datetime.fromisoformat(table_run[name]) for name in ("created_at", "started_at", "finished_at")]

    assert set(table_run) == FIELDS
    assert table_run == server.get(f"/v1/runs/{table_run['id']}").json()
    assert (table_run["reason"], table_run["error"], table_run["attempt"]) == (None, None, 1)
    assert table_run["environment"]["name"] == "default"
    assert table_run["environment"]["digest"].startswith("sha256:")
    assert moments == sorted(moments)
    assert moments[0].tzinfo == UTC
    assert 0 < table_run["usage"]["wall_seconds"] < 60
    assert all(seconds is not None and seconds >= 0 for seconds in table_run["timings"].values())
    assert table_run["limits"]["timeout_seconds"] == 60


def test_a_run_that_failed_says_where(server: RunningServer, failed_run: Any) -> None:
    """The code, the exception, and the line of the user's own script."""
    error = failed_run["error"]

    assert (failed_run["status"], failed_run["reason"], failed_run["output"]) == ("failed", "script_error", None)
    assert (error["code"], error["type"], error["line"]) == ("0085", "ZeroDivisionError", 2)
    assert "division by zero" in error["message"]
    assert "return 1 / 0" in error["traceback"]


def test_the_script_is_known_by_its_hash(server: RunningServer) -> None:
    """So that a client can tell whether a run was of this very file."""
    script = SCRIPT + b"\r\n# \xc3\xa4\n"

    run = server.post("/v1/runs", files={"script": ("s.py", script)}).json()

    assert run["script_sha256"] == hashlib.sha256(script).hexdigest()


@pytest.fixture(scope="module")
def five(server: RunningServer) -> Iterator[tuple[RunningServer, list[str]]]:
    """A tenant with five runs, of which the third fails: the ids, newest first."""
    tenant = add_tenant(server, "lister")
    ids = []
    for n in range(5):
        script = "def azureml_main(a, b):\n    raise ValueError\n" if n == 2 else SCRIPT.decode()
        ids.append(tenant.submit(script, wait=0)["id"])
    for run_id in ids:
        assert tenant.get(f"/v1/runs/{run_id}?wait=60").json()["finished_at"]
    yield tenant, ids[::-1]
    tenant.session.close()


def listed(tenant: RunningServer, query: str = "") -> list[str]:
    return [run["id"] for run in tenant.get(f"/v1/runs{query}").json()["items"]]


def test_runs_are_listed_newest_first(five: tuple[RunningServer, list[str]]) -> None:
    """All of the tenant's, each as the document that one has."""
    tenant, ids = five

    page = tenant.get("/v1/runs").json()

    assert [run["id"] for run in page["items"]] == ids
    assert page["next_cursor"] is None
    assert page["items"][0] == tenant.get(f"/v1/runs/{ids[0]}").json()


@pytest.mark.parametrize("limit", [1, 2, 4, 5])
def test_pages_follow_each_other_without_gap_or_doubling(five: tuple[RunningServer, list[str]], limit: int) -> None:
    """A run that is added meanwhile does not move the pages; the last page says that it is the last."""
    tenant, ids = five
    found: list[str] = []
    sizes = []
    cursor: str | None = ""

    while cursor is not None:
        page = tenant.get("/v1/runs", params={"limit": limit, "cursor": cursor} if cursor else {"limit": limit}).json()
        found += [run["id"] for run in page["items"]]
        sizes.append(len(page["items"]))
        cursor = page["next_cursor"]

    assert found == ids
    assert all(size == limit for size in sizes[:-1])
    assert 0 < sizes[-1] <= limit


def test_runs_are_filtered_by_status(five: tuple[RunningServer, list[str]]) -> None:
    """One status at a time; a status that none has gives none."""
    tenant, ids = five

    assert listed(tenant, "?status=failed") == [ids[2]]
    assert listed(tenant, "?status=succeeded") == ids[:2] + ids[3:]
    assert listed(tenant, "?status=cancelled") == []


def test_runs_are_filtered_by_time(five: tuple[RunningServer, list[str]]) -> None:
    """Those made after a moment, whatever zone it is written in."""
    tenant, ids = five
    moment = datetime.fromisoformat(tenant.get(f"/v1/runs/{ids[3]}").json()["created_at"])
    elsewhere = moment.astimezone(timezone(timedelta(hours=5, minutes=30)))

    def after(when: datetime) -> list[str]:
        page = tenant.get("/v1/runs", params={"created_after": when.isoformat()}).json()
        return [run["id"] for run in page["items"]]

    assert after(elsewhere) == ids[:3]
    assert after(moment) == ids[:3]
    assert after(moment - timedelta(microseconds=1)) == ids[:4]
    assert after(datetime.now(UTC)) == []


def test_filters_and_cursors_go_together(five: tuple[RunningServer, list[str]]) -> None:
    """The second page of the succeeded ones has the other two."""
    tenant, ids = five
    first = tenant.get("/v1/runs?status=succeeded&limit=2").json()

    second = tenant.get(f"/v1/runs?status=succeeded&limit=2&cursor={first['next_cursor']}").json()

    assert [run["id"] for run in first["items"] + second["items"]] == ids[:2] + ids[3:]
    assert second["next_cursor"] is None


def test_a_running_run_is_cancelled_within_a_second_or_two(server: RunningServer, busy: Any) -> None:
    """202 with the run; it ends as cancelled, without a result."""
    started = time.monotonic()

    answer = server.post(f"/v1/runs/{busy['id']}/cancel")
    ended = server.get(f"/v1/runs/{busy['id']}?wait=30").json()

    assert answer.status_code == 202
    assert (ended["status"], ended["reason"], ended["output"]) == ("cancelled", None, None)
    assert time.monotonic() - started < 10


def test_a_deleted_run_is_gone(server: RunningServer) -> None:
    """Row, files and all: it answers as one that never was."""
    run = server.submit(SCRIPT.decode())
    path, directory = f"/v1/runs/{run['id']}", server.data_dir / "runs" / run["id"]
    assert directory.is_dir()

    deleted = server.request("DELETE", path)
    answers = [server.get(path), server.get(f"{path}/log"), server.get(f"{path}/output")]
    again = server.request("DELETE", path)

    assert (deleted.status_code, deleted.content) == (204, b"")
    assert not directory.exists()
    for answer in [*answers, again]:
        refused(answer, 404, "not_found", "no run with this id")
    assert run["id"] not in listed(server)


def test_the_server_is_alive_and_ready(server: RunningServer, make_tenant: Callable[..., RunningServer]) -> None:
    """Without a key, for the machines that look after it."""
    anonymous = make_tenant(scopes=())
    anonymous.session.headers.pop("Authorization")

    alive, ready = anonymous.get("/healthz"), anonymous.get("/readyz")

    assert (alive.status_code, alive.json()) == (200, {"status": "ok"})
    assert ready.status_code == 200
    assert ready.json() == {"ready": True, "checks": {"store": "ok", "engine": "ok", "image": "ok"}}
