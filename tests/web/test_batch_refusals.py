"""Batches that cannot be: each is refused with a clear answer, and nothing of it is left."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from batch_calls import CITIES, DOUBLE, NAPPER, cities, done, ended, items, parts, submit
from callers import add_tenant
from dataset_calls import put, ready

from tests.running import RunningServer


@pytest.fixture(scope="module")
def tenant(server: RunningServer) -> Iterator[RunningServer]:
    """With a dataset of six rows, one without any, one of 10,001 rows, and one that could not be ingested."""
    made = add_tenant(server, "batch refusals")
    cities(made)
    ready(made, "empty", b"n\n")
    ready(made, "long", b"n\n" + b"".join(b"%d\n" % n for n in range(10_001)))
    assert put(made, "broken", b"", kind="application/vnd.apache.parquet").status_code == 422
    assert put(made, "broken", b"PAR1 is not all", kind="application/vnd.apache.parquet").status_code == 201
    yield made
    assert made.get("/v1/runs").json()["items"] == []
    made.session.close()


CASES = [
    ({"datasets": []}, 422, "invalid_request", "batch.datasets: is empty"),
    ({"dataset": "empty", "rows": 10}, 422, "invalid_request", "has no rows"),
    ({"dataset": "empty", "column": "n"}, 422, "invalid_request", "has no rows"),
    ({"dataset": "long", "rows": 1}, 422, "invalid_request", "this would make 10001 items; the limit is 10000"),
    ({"datasets": ["cities"] * 10_001}, 422, "invalid_request", "this would make 10001 items; the limit is 10000"),
    ({"dataset": "nowhere", "rows": 1}, 404, "not_found", "there is no dataset"),
    ({"dataset": "cities", "version": 9, "rows": 1}, 404, "not_found", "there is no dataset"),
    ({"datasets": ["cities", "nowhere"]}, 404, "not_found", "there is no dataset"),
    ({"dataset": "broken", "rows": 1}, 409, "dataset_failed", "could not be ingested"),
    ({"dataset": "cities", "column": "country"}, 422, "invalid_request", "no column 'country'; there are 'city', 'n'"),
    ({"dataset": "cities", "rows": 1, "parallel": 0}, 422, "invalid_request", "must be 1 to 64"),
    ({"dataset": "cities", "rows": 1, "parallel": 1000}, 422, "invalid_request", "must be 1 to 64"),
    ({"dataset": "cities", "rows": 1, "column": "city"}, 422, "invalid_request", "exclude each other"),
    ({"dataset": "cities"}, 422, "invalid_request", "needs `rows` or `column`"),
    ({"rows": 1}, 422, "invalid_request", "needs `datasets`, or a `dataset`"),
    ({}, 422, "invalid_request", "needs `datasets`, or a `dataset`"),
    ({"datasets": ["cities"], "rows": 1}, 422, "invalid_request", "batch.rows: does not go with `datasets`"),
    ({"datasets": ["cities"], "dataset": "cities"}, 422, "invalid_request", "does not go with `datasets`"),
    ({"dataset": "cities", "rows": 0}, 422, "invalid_request", "batch.rows"),
    ({"dataset": "cities", "rows": -1}, 422, "invalid_request", "batch.rows"),
    ({"dataset": "cities", "rows": 2**70}, 422, "invalid_request", "batch.rows"),
    ({"dataset": "../cities", "rows": 1}, 422, "invalid_request", "batch.dataset"),
    ({"dataset": "cities", "rows": 1, "colour": 1}, 422, "invalid_request", "batch.colour"),
    ({"dataset": "cities", "rows": 1, "parameter": ""}, 422, "invalid_request", "batch.parameter"),
]


@pytest.mark.parametrize(("batch", "status", "code", "words"), CASES)
def test_a_batch_that_cannot_be(tenant, batch, status, code, words):
    """The answer says what is wrong with which field, and what may be."""
    answer = submit(tenant, DOUBLE, batch)

    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert words in answer.json()["detail"]
    assert tenant.get("/v1/batches").json()["items"] == []


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"options": {"reuse": True}}, "options.reuse"),
        ({"options": {"priority": "interactive"}}, "options.priority"),
        ({"options": {"dataframe1": {"delimiter": ";"}}}, "options.dataframe1.delimiter"),
        ({"options": {"dataframe2": {"columns": ["n"]}}}, "options.dataframe2"),
        ({"options": {"parameters": {"item": 1}}}, "batch.parameter"),
        ({"options": {"environment": "other"}}, "no environment 'other'"),
        ({"dataframe1": {"dataset": "cities"}}, "name them in `batch`"),
        ({"dataframe2": {"records": []}}, "dataframe2"),
        ({"script_ref": "x"}, "script_ref"),
        ({"surplus": 1}, "surplus"),
    ],
)
def test_what_does_not_go_with_a_batch(tenant, more, words):
    """Options and fields of runs that have no meaning here are refused, and not ignored."""
    answer = submit(tenant, DOUBLE, {"dataset": "cities", "rows": 1, "parameter": "item"}, **more)

    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request"), answer.text
    assert words in answer.json()["detail"]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"script": ("s.py", DOUBLE)}, "batch: is missing"),
        ({"batch": (None, json.dumps({"dataset": "cities", "rows": 1}))}, "script: is missing"),
        (parts(" ", {"dataset": "cities", "rows": 1}), "the script is empty"),
        ({"script": ("s.py", DOUBLE), "batch": (None, "{")}, "this is not JSON"),
        ({"script": ("s.py", DOUBLE), "batch": (None, "[]")}, "batch"),
        (parts(DOUBLE, {"dataset": "cities", "rows": 1}, dataframe1=("t.csv", CITIES)), "name them in `batch`"),
        (parts(DOUBLE, {"dataset": "cities", "rows": 1}, dataframe2=("t.csv", CITIES)), "must be a dataset"),
        (parts(DOUBLE, {"dataset": "cities", "rows": 1}, other=("t.csv", CITIES)), "unknown part"),
    ],
)
def test_multipart_bodies_that_are_none_of_a_batch(tenant, body, words):
    """A part that is missing, unknown, or not what it must be."""
    answer = tenant.post("/v1/batches", files=body)

    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request"), answer.text
    assert words in answer.json()["detail"]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("?cursor=abc", 422),
        ("?cursor=////", 422),
        ("?limit=0", 422),
        ("?limit=101", 422),
        ("?status=running", 422),
        ("/bat_0", 404),
        ("/bat_0/items", 404),
        ("/bat_0/output", 404),
        ("/bat_0/items?cursor=x", 422),
        ("/bat_0/items?cursor=-1", 422),
        ("/bat_0/items?status=lost", 422),
        ("/bat_0/output?partial=maybe", 422),
        ("/bat_0?wait=-1", 422),
    ],
)
def test_questions_that_have_no_answer(tenant, path, status):
    """A malformed cursor, a batch that is not there, a filter that is none."""
    assert tenant.get(f"/v1/batches{path}").status_code == status


@pytest.mark.parametrize("method", ["POST cancel", "POST retry", "DELETE "])
def test_a_batch_that_is_not_there_cannot_be_changed(tenant, method):
    """As another tenant's: 404."""
    verb, _, what = method.partition(" ")

    answer = tenant.request(verb, "/v1/batches/bat_0" + (f"/{what}" if what else ""))

    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_another_tenants_dataset_and_batch_are_not_there(tenant, make_tenant):
    """Neither taken as a source, nor shown, nor changed."""
    other = make_tenant()
    cities(other, "theirs")
    batch = done(other, DOUBLE, {"dataset": "theirs", "rows": 6})

    assert submit(tenant, DOUBLE, {"dataset": "theirs", "rows": 1}).status_code == 404
    for path in ("", "/items", "/output"):
        assert tenant.get(f"/v1/batches/{batch['id']}{path}").status_code == 404
    for path in ("/cancel", "/retry"):
        assert tenant.post(f"/v1/batches/{batch['id']}{path}").status_code == 404
    assert tenant.request("DELETE", f"/v1/batches/{batch['id']}").status_code == 404
    assert other.post(f"/v1/batches/{batch['id']}/cancel").json()["code"] == "conflict"
    nothing = other.post(f"/v1/batches/{batch['id']}/retry")
    assert (nothing.status_code, nothing.json()["code"]) == (409, "nothing_to_retry")


def test_a_column_of_too_many_values(make_tenant):
    """Only a sandbox can count them: the batch fails, says why, and has no items; a new request is needed."""
    tenant = make_tenant()
    ready(tenant, "long", b"n\n" + b"".join(b"%d\n" % n for n in range(10_001)))

    batch = done(tenant, DOUBLE, {"dataset": "long", "column": "n"})

    assert (batch["status"], batch["total"], batch["error"]["code"]) == ("failed", None, "0018")
    assert "10001 groups" in batch["error"]["message"]
    assert items(tenant, batch) == []
    again = tenant.post(f"/v1/batches/{batch['id']}/retry")
    assert (again.status_code, again.json()["code"]) == (409, "conflict")
    assert "could not be prepared" in again.json()["detail"]
    assert tenant.get(f"/v1/batches/{batch['id']}/output").status_code == 409
    assert tenant.request("DELETE", f"/v1/batches/{batch['id']}").status_code == 204


def test_limits_that_the_operator_set(make_server):
    """Items, items at once, batches at once; a dataset that is still being ingested, and one that is deleted."""
    server = make_server(
        AIRLOCK_MAX_BATCH_ITEMS="3", AIRLOCK_MAX_BATCH_PARALLEL="2", AIRLOCK_MAX_BATCHES="1", AIRLOCK_WORKERS="2"
    )
    cities(server)
    six = submit(server, DOUBLE, {"dataset": "cities", "rows": 1, "parallel": 1})
    assert "this would make 6 items; the limit is 3" in six.json()["detail"]
    assert "must be 1 to 2" in submit(server, DOUBLE, {"dataset": "cities", "rows": 2}).json()["detail"]
    long = submit(server, DOUBLE, {"dataset": "cities", "column": "n", "parallel": 1}).json()
    assert ended(server, long)["error"]["message"] == "the column 'n' makes 6 items; the limit is 3"
    goes_on = submit(server, NAPPER, {"dataset": "cities", "rows": 3, "parallel": 2}).json()

    second = submit(server, DOUBLE, {"dataset": "cities", "rows": 3, "parallel": 2})

    assert (second.status_code, second.json()["code"]) == (429, "too_many_batches")
    assert {path.name for path in (server.data_dir / "batches").iterdir()} == {long["id"], goes_on["id"]}
    server.post(f"/v1/batches/{goes_on['id']}/cancel")
    ended(server, goes_on)
    slow = server.submit("import time\ndef azureml_main(): time.sleep(600)", wait=0, timeout_seconds=600)
    slower = server.submit("import time\ndef azureml_main(): time.sleep(600)", wait=0, timeout_seconds=600)
    put(server, "later", CITIES, query="wait=0")
    waits = submit(server, DOUBLE, {"dataset": "later", "rows": 3, "parallel": 2})
    assert (waits.status_code, waits.json()["code"]) == (409, "dataset_not_ready")
    assert server.request("DELETE", "/v1/datasets/cities").status_code == 204
    assert submit(server, DOUBLE, {"dataset": "cities", "rows": 3, "parallel": 2}).status_code == 404
    for run in (slow, slower):
        server.post(f"/v1/runs/{run['id']}/cancel")
