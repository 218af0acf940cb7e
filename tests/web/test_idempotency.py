"""Idempotency-Key: a request that is sent twice is done once, whatever happened to the first answer."""

from __future__ import annotations

import threading

import pytest
from wire import well_formed

from tests.running import RunningServer

QUICK = "import pandas as pd\ndef azureml_main(dataframe1=None): return pd.DataFrame({'a': [1]})"
TABLE = ("t.csv", b"n\n1\n", "text/csv")


def submit(server: RunningServer, key: str | None, script: str = QUICK, query: str = "", **files):
    headers = {"Idempotency-Key": key} if key is not None else {}
    return server.post(f"/v1/runs{query}", files={"script": ("s.py", script), **files}, headers=headers)


def test_a_request_sent_twice_makes_one_run(make_tenant):
    """The second answer is the first one's run, and says so; waiting is no part of what was asked for."""
    tenant = make_tenant()

    first = submit(tenant, "k-1", dataframe1=TABLE)
    second = submit(tenant, "k-1", query="?wait=60", dataframe1=TABLE)

    assert (first.status_code, second.status_code) == (202, 200)
    assert first.json()["id"] == second.json()["id"]
    assert second.json()["status"] == "succeeded"
    assert "Idempotency-Replayed" not in first.headers
    assert second.headers["Idempotency-Replayed"] == "true"
    assert len(tenant.get("/v1/runs").json()["items"]) == 1


@pytest.mark.parametrize(
    "other",
    [
        {"script": QUICK + "\n"},
        {"dataframe1": ("t.csv", b"n\n2\n", "text/csv")},
        {"dataframe1": ("t.tsv", b"n\n1\n", "text/tab-separated-values")},
        {"options": (None, '{"parameters": {"a": 1}}')},
        {"options": (None, '{"timeout_seconds": 5}')},
    ],
    ids=["script", "table", "format", "parameters", "limit"],
)
def test_a_key_of_another_request_is_refused(make_tenant, other):
    """Anything that differs makes it another request: 409, and nothing is done."""
    tenant = make_tenant()
    request = {"dataframe1": TABLE}
    submit(tenant, "k", **request)

    answer = submit(tenant, "k", **{**request, **other})

    assert (answer.status_code, answer.json()["code"]) == (409, "key_reused")
    well_formed(answer)
    assert len(tenant.get("/v1/runs").json()["items"]) == 1


def test_of_many_at_once_one_makes_the_run(make_tenant):
    """Sixteen requests with one key in one moment; and of two different ones, one is refused."""
    tenant = make_tenant()
    answers = []

    def send(n: int) -> None:
        answers.append(submit(tenant, "k", QUICK if n % 4 else QUICK + "\n"))

    threads = [threading.Thread(target=send, args=(n,)) for n in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    statuses = sorted(answer.status_code for answer in answers)
    made = {answer.json()["id"] for answer in answers if answer.status_code == 202}
    assert len(made) == 1
    assert statuses in ([202] * 12 + [409] * 4, [202] * 4 + [409] * 12)
    assert len(tenant.get("/v1/runs").json()["items"]) == 1


def test_a_key_is_its_tenants_own(make_tenant):
    """Another tenant's key of the same text is another key."""
    first, second = make_tenant(), make_tenant()

    answers = [submit(tenant, "k") for tenant in (first, second)]

    assert [answer.status_code for answer in answers] == [202, 202]
    assert answers[0].json()["id"] != answers[1].json()["id"]


def test_a_deleted_run_takes_its_key_along(make_tenant):
    """Forgotten is forgotten: the key makes a new run."""
    tenant = make_tenant()
    first = submit(tenant, "k", query="?wait=60").json()
    tenant.request("DELETE", f"/v1/runs/{first['id']}")

    again = submit(tenant, "k")

    assert (again.status_code, again.json()["id"] != first["id"]) == (202, True)


def test_a_rerun_with_a_key_is_made_once(make_tenant):
    """And its key is no key for a submission."""
    tenant = make_tenant()
    first = submit(tenant, None, query="?wait=60").json()
    headers = {"Idempotency-Key": "r"}

    reruns = [tenant.post(f"/v1/runs/{first['id']}/rerun", headers=headers) for _ in range(2)]

    assert [answer.status_code for answer in reruns] == [202, 202]
    assert reruns[0].json()["id"] == reruns[1].json()["id"] != first["id"]
    assert submit(tenant, "r").status_code == 409


@pytest.mark.parametrize(
    ("key", "says"),
    [("", "0 characters"), ("k" * 256, "256 characters"), ("k" * 10_240, "10240 characters"), ("k\xe9", "ASCII")],
    ids=["empty", "256", "10 KB", "accent"],
)
def test_a_key_that_is_none_is_refused(make_tenant, key, says):
    """Named with its limit; 255 characters are taken."""
    tenant = make_tenant()

    headers = {"Idempotency-Key": key.encode("latin-1")}
    answer = tenant.post("/v1/runs", files={"script": ("s.py", QUICK)}, headers=headers)
    good = submit(tenant, "k" * 255)

    assert (answer.status_code, good.status_code) == (422, 202)
    assert says in answer.json()["detail"]
    assert answer.json()["errors"][0]["where"] == "Idempotency-Key"
