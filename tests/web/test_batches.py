"""One script over many tables: what a batch does, from its items to the one table that comes of them."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import subprocess
import zipfile
from pathlib import Path

from batch_calls import DOUBLE, FAILS_ON_4, NAPPER, cities, counts, csv, done, ended, items, parts, submit
from dataset_calls import ready

from tests.running import until

LABELLED = """
def azureml_main(dataframe1, *, params):
    dataframe1["item"] = params["item"]["number"]
    dataframe1["of"] = params["item"]["total"]
    dataframe1["label"] = str(params["item"]["label"])
    return dataframe1
"""
JOINED = """
import mine
def azureml_main(dataframe1, dataframe2):
    return dataframe1.merge(dataframe2, on="city").assign(more=mine.MORE)
"""
BY_CITY = """
def azureml_main(dataframe1):
    if dataframe1["city"][0] == "oslo":
        dataframe1["n"] = dataframe1["n"].astype(str)
    return dataframe1
"""


def test_a_dataset_cut_by_rows(make_tenant):
    """An item for each two rows, which the script finds labelled; one table comes out, in their order, once made."""
    tenant = make_tenant()
    cities(tenant)

    batch = done(tenant, LABELLED, {"dataset": "cities", "rows": 4, "parameter": "item"})

    assert (batch["status"], batch["total"], counts(batch)) == ("finished", 2, {"succeeded": 2})
    assert batch["batch"] == {"dataset": "cities", "rows": 4, "parallel": 4, "parameter": "item"}
    labels = [item["label"] for item in items(tenant, batch)]
    assert labels == [{"first_row": 1, "rows": 4}, {"first_row": 5, "rows": 2}]
    first = csv(tenant, batch)
    lines = first.text.splitlines()
    assert lines[0] == '"city","n","item","of","label"'
    assert [line.split(",")[:4] for line in lines[1:]] == [
        [f'"{city}"', str(n), str(1 if n < 5 else 2), "2"]
        for n, city in enumerate(["paris", "rome", "paris", "oslo", "rome", "paris"], 1)
    ]
    again = csv(tenant, batch)
    assert (again.text, again.headers["ETag"]) == (first.text, first.headers["ETag"])
    same = {"Accept": "text/csv", "If-None-Match": first.headers["ETag"]}
    assert tenant.get(f"/v1/batches/{batch['id']}/output", headers=same).status_code == 304
    part = tenant.get(f"/v1/batches/{batch['id']}/output", headers={"Range": "bytes=0-5"})
    assert (part.status_code, part.content) == (206, b"ARROW1")


def test_a_dataset_cut_by_the_values_of_a_column(make_tenant):
    """A group of rows for each value, in the order in which they begin; its runs say which dataset they used."""
    tenant = make_tenant()
    cities(tenant)

    batch = done(tenant, DOUBLE, {"dataset": "cities", "column": "city"})

    assert (batch["total"], counts(batch)) == (3, {"succeeded": 3})
    found = items(tenant, batch)
    assert [(item["number"], item["label"], item["status"]) for item in found] == [
        (1, "paris", "succeeded"),
        (2, "rome", "succeeded"),
        (3, "oslo", "succeeded"),
    ]
    run = tenant.get(f"/v1/runs/{found[1]['run_id']}").json()
    assert (run["batch_id"], run["item"], run["priority"]) == (batch["id"], 2, "batch")
    assert run["datasets"] == [{"port": 1, "name": "cities", "version": 1}]
    assert run["inputs"][0]["rows"] == 2
    receipts = [tenant.get(f"/v1/runs/{item['run_id']}/receipt").json() for item in found]
    linked = tenant.data_dir / "runs" / found[0]["run_id"] / "in" / "dataframe1"
    assert {one["inputs"][0]["sha256"] for one in receipts} == {hashlib.sha256(linked.read_bytes()).hexdigest()}
    listed = tenant.get(f"/v1/runs?batch={batch['id']}").json()["items"]
    assert {one["id"] for one in listed} == {item["run_id"] for item in found}
    assert csv(tenant, batch).text.splitlines()[1:] == [
        '"paris",1,2', '"paris",3,6', '"paris",6,12', '"rome",2,4', '"rome",5,10', '"oslo",4,8',
    ]  # fmt: skip


def test_a_list_of_datasets_with_a_second_table_and_a_bundle(make_tenant):
    """An item for each, a version among them; nothing of it is copied: the runs' files are the datasets'."""
    tenant = make_tenant()
    cities(tenant)
    ready(tenant, "cities", b"city,n\noslo,9\n")
    ready(tenant, "countries", b"city,country\nparis,F\nrome,I\noslo,N\n")
    bundle = io.BytesIO()
    with zipfile.ZipFile(bundle, "w") as archive:
        archive.writestr("mine.py", "MORE = 7\n")
    body = parts(
        JOINED,
        {"datasets": ["cities", {"dataset": "cities", "version": 1}]},
        dataframe2=(None, json.dumps({"dataset": "countries"}), "application/json"),
        bundle=("b.zip", bundle.getvalue()),
        options=(None, json.dumps({"dataframe1": {"columns": ["city"]}, "memory_bytes": 300 << 20})),
    )

    batch = ended(tenant, tenant.post("/v1/batches", files=body).json())

    assert counts(batch) == {"succeeded": 2}, items(tenant, batch)
    assert batch["limits"]["memory_bytes"] == 300 << 20
    found = items(tenant, batch)
    assert [item["label"]["version"] for item in found] == [2, 1]
    text = csv(tenant, batch).text.splitlines()
    assert text[:2] == ['"city","country","more"', '"oslo","N",7']
    assert len(text) == 8
    files = {
        path.stat().st_ino: path.stat().st_nlink
        for item in found
        for path in (tenant.data_dir / "runs" / item["run_id"] / "in").iterdir()
        if path.name in ("dataframe1", "dataframe2", "bundle.zip", "script.py")
    }
    assert len(files) == 5
    assert min(files.values()) >= 2


def test_failed_items_can_be_tried_again(make_tenant):
    """Only they are; until then the output is refused with the counts, or partial; then it is whole."""
    tenant = make_tenant()
    cities(tenant)
    flaky = FAILS_ON_4.replace('raise ValueError("four")', 'assert params["go"], "four"').replace(
        "(dataframe1)", "(dataframe1, *, params)"
    )
    batch = done(tenant, flaky, {"dataset": "cities", "rows": 2}, options={"parameters": {"go": False}})

    assert (batch["status"], counts(batch)) == ("finished", {"succeeded": 2, "failed": 1})
    first = items(tenant, batch)
    failed = items(tenant, batch, "&status=failed")
    assert [(one["number"], one["reason"], one["error"]["code"]) for one in failed] == [(2, "script_error", "0085")]
    assert "four" in failed[0]["error"]["message"]
    refused = csv(tenant, batch)
    assert (refused.status_code, refused.json()["code"]) == (409, "no_output")
    assert "2 succeeded, 1 failed" in refused.json()["detail"]
    assert csv(tenant, batch, "?partial=1").text.splitlines()[1:] == ['"paris",1', '"rome",2', '"rome",5', '"paris",6']

    again = tenant.post(f"/v1/batches/{batch['id']}/retry")

    assert (again.status_code, again.json()["status"]) == (202, "running")
    batch = ended(tenant, batch)
    assert counts(batch) == {"succeeded": 2, "failed": 1}
    second = items(tenant, batch)
    assert [item["retries"] for item in second] == [0, 1, 0]
    assert [a["run_id"] == b["run_id"] for a, b in zip(first, second, strict=True)] == [True, False, True]
    assert tenant.get(f"/v1/runs/{first[1]['run_id']}").json()["item"] is None
    assert csv(tenant, batch).status_code == 409


def test_results_of_another_schema_are_named_by_their_item(make_tenant):
    """Of all items, and of some: the number is the item's."""
    tenant = make_tenant()
    cities(tenant)
    batch = done(tenant, BY_CITY, {"dataset": "cities", "column": "city"})

    whole = csv(tenant, batch)

    assert (whole.status_code, whole.json()["code"]) == (422, "items_differ")
    assert "item 3: column 'n' is" in whole.json()["detail"]
    assert "in item 1 it is int64" in whole.json()["detail"]
    paris = items(tenant, batch)[0]["run_id"]
    assert tenant.request("DELETE", f"/v1/runs/{paris}").status_code == 204
    assert items(tenant, batch)[0]["status"] == "removed"


def test_a_batch_is_cancelled(make_server):
    """What runs is killed, what waits never begins; then it can be taken up again, and be forgotten with its runs."""
    server = make_server(AIRLOCK_WORKERS="3")
    cities(server)
    batch = submit(server, NAPPER, {"dataset": "cities", "rows": 1, "parallel": 2}).json()
    assert until(lambda: counts(server.get(f"/v1/batches/{batch['id']}").json()).get("running") == 2, 120)
    assert server.request("DELETE", f"/v1/batches/{batch['id']}").status_code == 409
    assert server.post(f"/v1/batches/{batch['id']}/retry").status_code == 409
    in_use = server.request("DELETE", "/v1/datasets/cities")
    assert (in_use.status_code, in_use.json()["code"]) == (409, "dataset_in_use")
    assert batch["id"] in in_use.json()["detail"]

    answer = server.post(f"/v1/batches/{batch['id']}/cancel")

    assert answer.status_code == 202
    batch = ended(server, batch)
    assert (batch["status"], counts(batch)) == ("cancelled", {"cancelled": 6})
    assert [item["run_id"] is None for item in items(server, batch)] == [False] * 2 + [True] * 4
    assert until(lambda: server.containers() == [], 60)
    assert server.post(f"/v1/batches/{batch['id']}/cancel").status_code == 409
    assert csv(server, batch, "?partial=1").json()["code"] == "no_output"
    assert server.request("DELETE", "/v1/datasets/cities").status_code == 204
    assert server.post(f"/v1/batches/{batch['id']}/retry").json()["status"] == "running"
    assert until(lambda: counts(server.get(f"/v1/batches/{batch['id']}").json()).get("running") == 2, 120)
    server.post(f"/v1/batches/{batch['id']}/cancel")
    ended(server, batch)
    assert server.request("DELETE", f"/v1/batches/{batch['id']}").status_code == 204
    assert server.get(f"/v1/batches/{batch['id']}").status_code == 404
    assert server.get("/v1/runs").json()["items"] == []
    assert os.listdir(server.data_dir / "runs") == os.listdir(server.data_dir / "batches") == []


def test_a_single_item_can_be_cancelled_by_its_run(make_tenant):
    """The batch goes on without it."""
    tenant = make_tenant()
    cities(tenant)
    batch = submit(tenant, NAPPER, {"dataset": "cities", "rows": 3, "parallel": 2}).json()
    for item in items(tenant, batch):
        assert tenant.post(f"/v1/runs/{item['run_id']}/cancel").status_code == 202

    batch = ended(tenant, batch)

    assert (batch["status"], counts(batch)) == ("finished", {"cancelled": 2})


def test_the_example_of_the_page_does_what_it_shows(make_tenant, tmp_path):
    """The shell block of docs/batches.md."""
    tenant = make_tenant()
    page = (Path(__file__).parents[2] / "docs" / "batches.md").read_text()
    script = "\n".join(re.findall(r"```sh\n(.*?)```", page, re.DOTALL)).replace("wait=", "wait=2")
    environment = {**os.environ, "AIRLOCK_URL": tenant.url, "AIRLOCK_KEY": tenant.key}

    shell = ["bash", "-euo", "pipefail", "-c", script]
    run = subprocess.run(shell, cwd=tmp_path, env=environment, capture_output=True, text=True)

    assert run.returncode == 0, run.stdout + run.stderr
    assert (tmp_path / "totals.csv").read_text().splitlines() == [
        '"city","amount","total"', '"paris",1,4', '"paris",3,4', '"rome",2,2',
    ]  # fmt: skip


def test_a_key_makes_one_batch(make_tenant):
    """The second answer is the first one's batch; another request needs another key."""
    tenant = make_tenant()
    cities(tenant)
    key = {"Idempotency-Key": "b-1"}
    wanted = {"dataset": "cities", "rows": 6}

    first = submit(tenant, DOUBLE, wanted, headers=key)
    second = submit(tenant, DOUBLE, wanted, headers=key, wait=250)
    other = submit(tenant, DOUBLE, {**wanted, "rows": 5}, headers=key)

    assert (first.status_code, second.status_code) == (202, 200)
    assert first.json()["id"] == second.json()["id"]
    assert second.headers["Idempotency-Replayed"] == "true"
    assert first.headers["Location"] == f"/v1/batches/{first.json()['id']}"
    assert (other.status_code, other.json()["code"]) == (409, "key_reused")
    listed = tenant.get("/v1/batches").json()["items"]
    assert [one["id"] for one in listed] == [first.json()["id"]]
