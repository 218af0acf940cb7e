"""A tenant gets its share and no more: each quota refused by name, counted at once and right after a kill, too."""

from __future__ import annotations

import io
import itertools
import json
import secrets
import signal
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from batch_calls import DOUBLE, cities
from batch_calls import ended as ended_batch
from hosting import call, holder, new_tenant, over_quota, sleeping
from wire import SLEEPER

from tests.running import until

if TYPE_CHECKING:
    from tests.running import RunningServer

OK = "def azureml_main(a=None, b=None):\n    return a\n"


def test_largest_limits_are_cut_to_the_tenants(server: RunningServer) -> None:
    """Of a run that asks for more, of one that asks for nothing, and of a rerun after they became smaller."""
    limits = {"memory_bytes": 300 << 20, "cpus": 0.5, "timeout_seconds": 20, "output_bytes": 10 << 20}
    tenant, mine = new_tenant(server, "quota limits", limits)

    plain = mine.submit(OK)
    greedy = mine.submit(OK, memory_bytes=1 << 40, cpus=99, timeout_seconds=9999)
    call(server, "PATCH", f"/v1/admin/tenants/{tenant['id']}", {"quotas": {"timeout_seconds": 10}})
    again = mine.post(f"/v1/runs/{plain['id']}/rerun?wait=60").json()

    for run in (plain, greedy):
        assert {name: run["limits"][name] for name in limits} == limits
        assert run["status"] == "succeeded"
    assert again["limits"]["timeout_seconds"] == 10


def test_a_full_queue_and_places_that_are_taken(server: RunningServer) -> None:
    """One runs, two wait, the fourth is refused, of whichever kind; another tenant's begins at once."""
    _, mine = new_tenant(server, "quota queue", {"concurrent_runs": 1, "queued_runs": 2})
    running = sleeping(mine)
    waiting = [mine.submit(SLEEPER, wait=0) for _ in range(2)]
    other = server.submit(OK, priority="interactive")

    answers = [mine.post("/v1/runs", json={"script": OK}), mine.post(f"/v1/runs/{running['id']}/rerun")]

    assert other["status"] == "succeeded"
    for answer in answers:
        problem = over_quota(answer, "too_many_runs", "queued_runs")
        assert (problem["limit"], problem["value"], problem["used"]) == (2, 1, 2)
    usage = call(mine, "GET", "/v1/usage")
    assert (usage["running_runs"], usage["queued_runs"]) == (1, 2)
    for run in (*waiting, running):
        mine.post(f"/v1/runs/{run['id']}/cancel")


def test_places_become_free_one_after_the_other(server: RunningServer) -> None:
    """Four runs, one place: never two at once, and all come to their end."""
    _, mine = new_tenant(server, "quota places", {"concurrent_runs": 1})
    runs = [mine.submit("import time\ndef azureml_main(): time.sleep(0.3)", wait=0) for _ in range(4)]
    ended = [mine.get(f"/v1/runs/{run['id']}?wait=60").json() for run in runs]

    spans = sorted((run["started_at"], run["finished_at"]) for run in ended)

    assert [run["status"] for run in ended] == ["succeeded"] * 4
    assert all(one[1] <= next[0] for one, next in itertools.pairwise(spans))


def test_the_seconds_of_a_day(server: RunningServer) -> None:
    """When they are spent, nothing more is accepted, nor begun, until tomorrow; or until the operator gives more."""
    tenant, mine = new_tenant(server, "quota seconds", {"run_seconds_per_day": 1.0, "concurrent_runs": 1})
    first = mine.submit("import time\ndef azureml_main(): time.sleep(1.5)", wait=0)
    second = mine.submit(OK, wait=0)
    assert mine.get(f"/v1/runs/{first['id']}?wait=60").json()["status"] == "succeeded"

    answer = mine.post("/v1/runs", json={"script": OK})

    problem = over_quota(answer, "quota_spent", "run_seconds_per_day")
    assert problem["used"] >= problem["limit"] == 1.0
    assert int(answer.headers["Retry-After"]) <= 86_400
    assert mine.get(f"/v1/runs/{second['id']}?wait=2").json()["status"] == "queued"
    call(server, "PATCH", f"/v1/admin/tenants/{tenant['id']}", {"quotas": {}})
    assert mine.get(f"/v1/runs/{second['id']}?wait=60").json()["status"] == "succeeded"


def test_stored_bytes(server: RunningServer) -> None:
    """Of runs and datasets together; what could never fit is 403; what is deleted makes room."""
    _, mine = new_tenant(server, "quota bytes", {"stored_bytes": 60_000})
    table = {"Content-Type": "text/csv"}

    def put(name: str, size: int) -> object:
        data = b"a\n" + b"123456789\n" * (size // 10)
        return mine.request("PUT", f"/v1/datasets/{name}?wait=60", data=data, headers=table)

    over_quota(put("huge", 70_000), "quota_too_small", "stored_bytes", 403)
    assert put("first", 40_000).status_code == 201
    problem = over_quota(put("second", 50_000), "quota_spent", "stored_bytes")
    run = {"script": (None, OK), "dataframe1": ("a.csv", b"a\n" + b"1\n" * 25_000)}
    over_quota(mine.post("/v1/runs", files=run), "quota_spent", "stored_bytes")
    assert problem["used"] + problem["value"] > problem["limit"]
    assert mine.request("DELETE", "/v1/datasets/first").status_code == 204
    assert put("second", 50_000).status_code == 201


def test_a_batch_keeps_bytes_and_is_asked_for_seconds(server: RunningServer) -> None:
    """Its own script and bundle, until it is deleted; and none is accepted whose items could not begin today."""
    tenant, mine = new_tenant(server, "quota batches", {"stored_bytes": 60_000})
    cities(mine)
    bundle = io.BytesIO()
    with zipfile.ZipFile(bundle, "w") as archive:
        archive.writestr("noise.bin", secrets.token_bytes(40_000))

    def submit() -> Any:
        batch = (None, json.dumps({"datasets": ["cities"]}))
        parts = {"script": (None, DOUBLE), "batch": batch, "bundle": ("b.zip", bundle.getvalue())}
        return mine.post("/v1/batches", files=parts)

    first = submit()
    assert first.status_code == 202, first.text
    problem = over_quota(submit(), "quota_spent", "stored_bytes")
    assert problem["value"] > 40_000 < problem["used"]
    ended_batch(mine, first.json())
    assert mine.request("DELETE", f"/v1/batches/{first.json()['id']}").status_code == 204
    assert call(mine, "GET", "/v1/usage")["stored_bytes"] < 20_000
    assert ended_batch(mine, submit().json())["status"] == "finished"

    call(server, "PATCH", f"/v1/admin/tenants/{tenant['id']}", {"quotas": {"run_seconds_per_day": 0.001}})
    over_quota(submit(), "quota_spent", "run_seconds_per_day")


def test_requests_a_second(server: RunningServer) -> None:
    """A burst of one second's, then one after the other; every answer says what is left."""
    _, mine = new_tenant(server, "quota requests", {"requests_per_second": 5})

    answers = [mine.get("/v1/runs") for _ in range(30)]

    codes = [answer.status_code for answer in answers]
    assert 5 <= codes.count(200) < 30
    refusals = [answer for answer in answers if answer.status_code != 200]
    over_quota(refusals[0], "too_many_requests", "requests_per_second")
    assert answers[0].headers["RateLimit-Limit"] == "5"
    assert int(answers[0].headers["RateLimit-Remaining"]) == 4
    assert until(lambda: mine.get("/v1/runs").status_code == 200, 5)


def test_a_thousandth_of_a_second_makes_no_difference(server: RunningServer) -> None:
    """Sixteen requests at once, a quota of three: three are accepted."""
    _, mine = new_tenant(server, "quota race", {"queued_runs": 3, "concurrent_runs": 1})
    running = sleeping(mine)

    def submit(_: int) -> int:
        return holder(server, mine.key).post("/v1/runs", json={"script": SLEEPER}).status_code

    with ThreadPoolExecutor(16) as pool:
        codes = list(pool.map(submit, range(16)))

    assert sorted(set(codes)) == [202, 429]
    assert codes.count(202) == 3
    for run in mine.get("/v1/runs").json()["items"]:
        mine.post(f"/v1/runs/{run['id']}/cancel")
    assert running


def test_quotas_hold_right_after_a_kill(make_server: Callable[..., RunningServer]) -> None:
    """The rows count: what was queued is queued, what was used is used, and no two run where one may."""
    settings = {
        "AIRLOCK_WARM_CONTAINERS": "0",
        "AIRLOCK_QUOTA_CONCURRENT_RUNS": "1",
        "AIRLOCK_QUOTA_QUEUED_RUNS": "2",
        "AIRLOCK_WORKERS": "2",
    }
    server = make_server("killed", **settings)
    used = server.submit(OK)["usage"]["wall_seconds"]
    sleeping(server)
    server.submit(SLEEPER, wait=0)
    server.stop(signal.SIGKILL)

    server = make_server("killed", **settings)

    assert until(lambda: call(server, "GET", "/v1/usage")["running_runs"] == 1, 20)
    usage = call(server, "GET", "/v1/usage")
    assert (usage["running_runs"], usage["queued_runs"]) == (1, 1)
    assert usage["run_seconds"] >= used > 0
    server.submit(SLEEPER, wait=0)
    over_quota(server.post("/v1/runs", json={"script": OK}), "too_many_runs", "queued_runs")
    assert json.loads(json.dumps(usage))["quotas"]["concurrent_runs"] == 1
