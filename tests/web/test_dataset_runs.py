"""Runs that use datasets: by a link, never by a copy; and what becomes of them when the dataset is deleted."""

from __future__ import annotations

import json
import signal

import pyarrow as pa
import pytest
from dataset_calls import CSV, IDENTITY, directories, files, occupied, put, ready, run_with
from wire import refused

from tests.running import until

BOTH = "def azureml_main(dataframe1, dataframe2):\n    return dataframe1.merge(dataframe2, on='n')\n"


def reference(name, **more):
    """A part that is no file, but says which dataset."""
    return (None, json.dumps({"dataset": name, **more}), "application/json")


def test_a_run_takes_a_dataset_by_a_link(make_server):
    """The run's input is the dataset's file itself: one inode. It says which version it used."""
    server = make_server()
    ready(server, "d")
    ready(server, "d", CSV + b"4,d\n")

    newest = run_with(server, {"dataset": "d"}).json()
    first = run_with(server, {"dataset": "d", "version": 1}).json()

    assert [(run["status"], run["output"]["rows"]) for run in (newest, first)] == [("succeeded", 4), ("succeeded", 3)]
    assert newest["datasets"] == [{"port": 1, "name": "d", "version": 2}]
    assert first["datasets"] == [{"port": 1, "name": "d", "version": 1}]
    assert newest["inputs"][0]["rows"] == 4
    runs = server.data_dir / "runs"
    inputs = {run["id"]: (runs / run["id"] / "in" / "dataframe1").stat().st_ino for run in (newest, first)}
    tables = {path.stat().st_ino for path in files(server, "result.arrow") if path.parent.name not in inputs}
    assert set(inputs.values()) == tables


def test_datasets_and_files_go_together(make_tenant):
    """In a multipart body, too: a part without a file name, of the type application/json."""
    tenant = make_tenant()
    ready(tenant, "d")
    right = ("right.csv", b"n,t\n1,x\n3,y\n")

    answer = tenant.post(
        "/v1/runs?wait=100",
        files={"script": ("s.py", BOTH), "dataframe1": reference("d", version=1), "dataframe2": right},
    )
    small = run_with(tenant, {"dataset": "d"}, BOTH, dataframe2={"records": [{"n": 2, "t": "z"}]})
    both = run_with(tenant, {"dataset": "d"}, BOTH, dataframe2={"dataset": "d"})

    for one, rows in ((answer, 2), (small, 1), (both, 3)):
        assert (one.status_code, one.json()["status"]) == (200, "succeeded"), one.text
        assert one.json()["output"]["rows"] == rows
    assert answer.json()["datasets"] == [{"port": 1, "name": "d", "version": 1}]
    assert [used["port"] for used in both.json()["datasets"]] == [1, 2]


def test_of_the_options_for_reading_only_columns_go_with_a_dataset(make_tenant):
    """It was read when it was put."""
    tenant = make_tenant()
    ready(tenant, "d")

    some = run_with(tenant, {"dataset": "d"}, options={"dataframe1": {"columns": ["s"]}})
    unknown = run_with(tenant, {"dataset": "d"}, options={"dataframe1": {"columns": ["x"]}})
    other = run_with(tenant, {"dataset": "d"}, options={"dataframe1": {"columns": ["s"], "delimiter": ";"}})
    part = {
        "script": (None, IDENTITY),
        "dataframe1": reference("d"),
        "options": (None, '{"dataframe1": {"missing": ["-"]}}'),
    }
    in_parts = tenant.post("/v1/runs", files=part)

    assert [column["name"] for column in some.json()["output"]["columns"]] == ["s"]
    assert (unknown.json()["reason"], unknown.json()["error"]["code"]) == ("bad_input", "0001")
    refused(other, 422, "invalid_request", "options.dataframe1.delimiter", "columns")
    refused(in_parts, 422, "invalid_request", "options.dataframe1.missing", "columns")


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"dataset": "d", "version": 0}, ["dataframe1.version"]),
        ({"dataset": "d", "version": "one"}, ["dataframe1.version"]),
        ({"dataset": "d", "version": 2**31}, ["dataframe1.version"]),
        ({"dataset": ".d"}, ["dataframe1.dataset", "pattern"]),
        ({"dataset": 1}, ["dataframe1.dataset"]),
        ({"dataset": "d", "name": "d"}, ["dataframe1.name"]),
    ],
)
def test_a_reference_that_makes_no_sense_is_refused(make_tenant, table, words):
    """In both forms, with the place."""
    tenant = make_tenant()
    part = (None, json.dumps(table), "application/json")

    for answer in (
        run_with(tenant, table),
        tenant.post("/v1/runs", files={"script": (None, IDENTITY), "dataframe1": part}),
    ):
        refused(answer, 422, "invalid_request", *words)


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"dataset": "d", "records": []}, ["dataframe1", "either"]),
        ({"version": 1}, ["dataframe1", "either"]),
        ({"records": [], "version": 1}, ["dataframe1", "goes with a `dataset`"]),
        ({}, ["dataframe1", "either"]),
    ],
)
def test_a_table_is_records_or_a_dataset(server, table, words):
    """One of the two."""
    refused(run_with(server, table), 422, "invalid_request", *words)


@pytest.mark.parametrize(
    ("part", "status", "code", "words"),
    [
        ((None, '{"dataset": "d"}'), 422, "invalid_request", ["file name", "application/json"]),
        ((None, '{"dataset": "d"', "application/json"), 422, "invalid_request", ["dataframe1", "JSON"]),
        ((None, "", "application/json"), 422, "invalid_request", ["dataframe1", "JSON"]),
        ((None, "[]", "application/json"), 422, "invalid_request", ["dataframe1"]),
        ((None, " " * 5000, "application/json"), 413, "too_large", ["dataframe1", "4096"]),
        ((None, '{"records": []}', "application/json"), 422, "invalid_request", ["dataframe1.dataset", "records"]),
    ],
    ids=["no type", "half", "nothing", "a list", "too long", "records"],
)
def test_a_part_that_names_no_dataset_is_refused(server, part, status, code, words):
    """A table's part is a file, or a small JSON object."""
    answer = server.post("/v1/runs", files={"script": (None, IDENTITY), "dataframe1": part})

    refused(answer, status, code, *words)


def test_a_run_that_waits_keeps_what_is_deleted(make_server):
    """It took its link when it was accepted; so does one that is repeated; the bytes go with the last of them."""
    server = make_server(AIRLOCK_WORKERS="1")
    ready(server, "d")
    (inode,) = {path.stat().st_ino for path in files(server, "result.arrow")}
    occupied(server)
    waiting = server.post("/v1/runs", json={"script": IDENTITY, "dataframe1": {"dataset": "d"}}).json()

    assert server.request("DELETE", "/v1/datasets/d").status_code == 204
    refused(run_with(server, {"dataset": "d"}), 404, "not_found")
    free_but(server, waiting["id"])
    run = server.get(f"/v1/runs/{waiting['id']}?wait=100").json()
    again = server.post(f"/v1/runs/{run['id']}/rerun?wait=100").json()

    assert (run["status"], again["status"]) == ("succeeded", "succeeded")
    assert again["datasets"] == run["datasets"] == [{"port": 1, "name": "d", "version": 1}]
    assert [path.stat().st_ino for path in files(server, "dataframe1")] == [inode, inode]
    for run_id in (run["id"], again["id"]):
        server.request("DELETE", f"/v1/runs/{run_id}")
    assert files(server, "dataframe1") == files(server, "result.arrow") == []


def free_but(server, run_id):
    for run in server.get("/v1/runs").json()["items"]:
        if run["id"] != run_id and run["status"] in ("queued", "running"):
            server.post(f"/v1/runs/{run['id']}/cancel")


def test_a_repeated_request_takes_what_the_first_took(make_tenant):
    """The key stands for what was asked, "the newest", also when there is a newer one, and when there is none left."""
    tenant = make_tenant()
    ready(tenant, "d")
    request = {"script": IDENTITY, "dataframe1": {"dataset": "d"}}
    headers = {"Idempotency-Key": "k"}
    first = tenant.post("/v1/runs?wait=100", json=request, headers=headers).json()
    ready(tenant, "d", CSV + b"4,d\n")

    again = tenant.post("/v1/runs?wait=100", json=request, headers=headers)
    tenant.request("DELETE", "/v1/datasets/d")
    later = tenant.post("/v1/runs?wait=100", json=request, headers=headers)
    other = tenant.post("/v1/runs", json=request | {"dataframe1": {"dataset": "d", "version": 1}}, headers=headers)

    assert again.json()["id"] == later.json()["id"] == first["id"]
    refused(other, 409, "key_reused")


def test_a_result_is_reused_for_the_same_version(make_tenant):
    """`reuse` goes by the version, without reading the table again."""
    tenant = make_tenant()
    ready(tenant, "d")
    options = {"reuse": True}

    first = run_with(tenant, {"dataset": "d"}, options=options).json()
    second = run_with(tenant, {"dataset": "d", "version": 1}, options=options).json()
    ready(tenant, "d", CSV + b"4,d\n")
    third = run_with(tenant, {"dataset": "d"}, options=options).json()

    assert (first["reused_from"], second["reused_from"], third["reused_from"]) == (None, first["id"], None)
    assert second["datasets"] == first["datasets"]


def test_retention_counts_and_removes_no_dataset(make_server):
    """A run's inputs and results go by age; the dataset that it used stays, and its bytes are not the run's."""
    ages = {f"AIRLOCK_KEEP_{part}_SECONDS": "0.2" for part in ("INPUTS", "OUTPUTS", "LOG")}
    server = make_server(**ages, AIRLOCK_KEEP_BYTES="1", AIRLOCK_SWEEP_SECONDS="0.3")
    ready(server, "d")
    run = run_with(server, {"dataset": "d"}).json()

    assert until(lambda: "inputs" in server.get(f"/v1/runs/{run['id']}").json()["removed"], 20)
    table = server.get("/v1/datasets/d/data")
    assert pa.ipc.open_file(table.content).read_all().num_rows == 3
    assert server.get("/v1/datasets/d/preview").status_code == 200


def killed_at(make_server, place, query):
    """A server that is killed at this place of a PUT, for good, and started again."""
    server = make_server(AIRLOCK_FAILPOINT=place, AIRLOCK_MAX_ATTEMPTS="100")
    with pytest.raises(OSError):
        put(server, "d", query=query)
    server.stop(signal.SIGKILL)
    return make_server(key=server.key, AIRLOCK_MAX_ATTEMPTS="100")


@pytest.mark.parametrize("place", ["inputs_received", "inputs_sealed"])
def test_a_put_that_is_killed_before_it_is_accepted_leaves_nothing(make_server, place):
    """Neither a row nor a file, at the next start."""
    again = killed_at(make_server, place, "")

    assert again.get("/v1/datasets").json()["items"] == []
    assert directories(again) == list((again.data_dir / "uploads").iterdir()) == []
    assert ready(again, "d")["version"] == 1


@pytest.mark.parametrize("place", ["run_added", "run_dispatched", "run_claimed", "outputs_kept", "run_finished"])
def test_a_put_that_is_killed_after_it_is_accepted_is_ingested(make_server, place):
    """Both rows are there, and the table in the end; the source goes then, and not before."""
    again = killed_at(make_server, place, "wait=200")

    found = again.get("/v1/datasets/d?wait=100").json()
    assert (found["status"], found["version"], found["rows"]) == ("ready", 1, 3)
    assert until(lambda: files(again, "dataframe1") == [], 30)
    assert len(directories(again)) == 1
    assert until(lambda: again.containers() == [], 30)
