"""Endpoints: published scripts, called by strangers who have their key and nothing else."""

from __future__ import annotations

import io
import threading
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pyarrow.parquet
import pytest
import requests
from endpoint_calls import DOUBLE, Published, keep, publish
from wire import refused, well_formed

from tests.running import until

TRIPLE = DOUBLE.replace("* 2", "* 3")
PLOT = """
import matplotlib.pyplot as plt
def azureml_main(dataframe1):
    dataframe1.plot()
    plt.savefig("plot.png")
    return dataframe1
"""
ROWS = [{"n": 1, "x": 0.5}, {"n": 2, "x": None}]


def test_a_script_is_published_and_called_with_a_key_of_its_own(make_tenant):
    """In every format that a table has; each answer names its run, which is in the list of runs."""
    tenant = make_tenant()
    keep(tenant, "double")

    endpoint = publish(tenant, "double", description="twice as much")

    assert endpoint.document["sample"]["error"] is None
    assert [column["name"] for column in endpoint.document["sample"]["outputs"]["1"]] == ["n", "x"]
    assert (endpoint.document["script"], endpoint.document["version"]) == ("double@latest", 1)
    rows = endpoint.call(ROWS)
    assert rows.json() == [{"n": 2, "x": 1.0}, {"n": 4, "x": None}]
    well_formed(rows)
    run = tenant.get(f"/v1/runs/{rows.headers['Airlock-Run-Id']}").json()
    assert (run["status"], run["priority"]) == ("succeeded", "interactive")
    assert run["script"] == {"name": "double", "version": 1}
    wrapped = endpoint.call({"dataframe1": {"records": ROWS}, "parameters": {"sleep": 0}})
    assert wrapped.json() == rows.json()
    csv = endpoint.call(data="n,x\n3,4\n", headers={"Content-Type": "text/csv", "Accept": "text/csv"})
    assert csv.text == '"n","x"\n6,8\n'
    stream = io.BytesIO()
    table = pa.table({"n": [5]})
    with pa.ipc.new_file(stream, table.schema) as writer:
        writer.write_table(table)
    arrow = "application/vnd.apache.arrow.file"
    back = endpoint.call(data=stream.getvalue(), headers={"Content-Type": arrow, "Accept": arrow})
    assert pa.ipc.open_file(back.content).read_all().to_pydict() == {"n": [10]}
    packed = io.BytesIO()
    pyarrow.parquet.write_table(table, packed)
    parquet = "application/vnd.apache.parquet"
    back = endpoint.call(data=packed.getvalue(), headers={"Content-Type": parquet, "Accept": parquet})
    assert pyarrow.parquet.read_table(io.BytesIO(back.content)).to_pydict() == {"n": [10]}
    parts = endpoint.call(files={"dataframe1": ("t.csv", "n\n1\n"), "parameters": (None, '{"sleep": 0}')})
    assert parts.json() == [{"n": 2}]
    address = endpoint.call(data="n\n1\n", headers={"Content-Type": "text/csv"}, query='?parameters={"fail":true}')
    assert refused(address, 422, "script_error", "as asked")["error"]["code"] == "0085"
    assert address.headers["Airlock-Run-Id"].startswith("run_")


def test_a_call_answers_with_an_image(make_tenant):
    """When it is asked for one; 409 when the script left none."""
    tenant = make_tenant()
    keep(tenant, "plot", PLOT)
    keep(tenant, "double")
    png = {"Accept": "image/png"}

    picture = publish(tenant, "plot").call(ROWS, headers=png)

    assert picture.headers["Content-Type"] == "image/png"
    assert picture.content.startswith(b"\x89PNG")
    refused(publish(tenant, "double").call(ROWS, headers=png), 409, "no_output", "PNG")


def test_no_other_key_opens_an_endpoint(make_tenant):
    """None, one of another endpoint or tenant, a mistyped one: 401. A tenant's own key does, with the scope run."""
    tenant, other = make_tenant(), make_tenant()
    keep(tenant, "double")
    keep(other, "double")
    first, second = publish(tenant, "one", "double"), publish(tenant, "two", "double")
    foreign = publish(other, "one", "double")

    secondary = Published(tenant, first.document, first.document["keys"]["secondary"])
    assert first.call(ROWS).status_code == secondary.call(ROWS).status_code == 200
    for key in (second.key, first.key[:-1] + "x", "ale_" + "a" * 16 + "_" + "b" * 43 + "_00000000"):
        refused(Published(tenant, first.document, key).call(ROWS), 401, "unauthorized")
    refused(requests.post(f"{tenant.url}/v1/endpoints/one/call", json=ROWS, timeout=60), 401, "unauthorized")
    assert tenant.post("/v1/endpoints/one/call", json=ROWS).status_code == 200
    refused(make_tenant(("publish",)).post("/v1/endpoints/one/call", json=ROWS), 403, "forbidden")
    refused(make_tenant().post("/v1/endpoints/one/call", json=ROWS), 404, "not_found")
    assert foreign.call(ROWS).status_code == 200  # its own endpoint of the same name
    for path in ("/v1/endpoints/one", "/v1/runs", "/v1/endpoints"):
        refused(first.request("GET", path), 401, "unauthorized")


def test_a_key_is_replaced_and_the_other_goes_on(make_tenant):
    """Rotation without a moment in which no key works."""
    tenant = make_tenant()
    keep(tenant, "double")
    endpoint = publish(tenant, "double")
    secondary = Published(tenant, endpoint.document, endpoint.document["keys"]["secondary"])

    new = tenant.post("/v1/endpoints/double/keys/primary/regenerate").json()["key"]

    refused(endpoint.call(ROWS), 401, "unauthorized")
    assert secondary.call(ROWS).status_code == 200
    assert Published(tenant, endpoint.document, new).call(ROWS).status_code == 200
    assert "keys" not in tenant.get("/v1/endpoints/double").text.replace('"keys":null', "")
    refused(tenant.post("/v1/endpoints/double/keys/third/regenerate"), 422, "invalid_request")


def test_switching_to_another_version_loses_no_call_and_rolling_back_is_one_command(make_tenant):
    """Calls go on all the while; each is answered by one version or the other."""
    tenant = make_tenant()
    keep(tenant, "double", sample=None)
    endpoint = publish(tenant, "double", "double@1")
    keep(tenant, "double", TRIPLE, sample=None)
    found, stop = [], threading.Event()

    def call_on() -> None:
        while not stop.is_set():
            answer = endpoint.call([{"n": 1}])
            found.append((answer.status_code, answer.json()[0]["n"] if answer.status_code == 200 else answer.text))

    threads = [threading.Thread(target=call_on) for _ in range(3)]
    for thread in threads:
        thread.start()
    for script in ("double@2", "double@1", "double@2") * 3:
        done = tenant.request("PUT", "/v1/endpoints/double", json={"script": script})
        assert done.status_code == 200
    until(lambda: len(found) > 20, 60)
    stop.set()
    for thread in threads:
        thread.join()

    assert {status for status, _ in found} == {200}, found
    assert {value for _, value in found} <= {2, 3}
    back = tenant.post("/v1/endpoints/double/rollback").json()
    assert (back["script"], back["version"], back["previous"]) == ("double@1", 1, "double@2")
    assert endpoint.call([{"n": 1}]).json() == [{"n": 2}]
    assert tenant.post("/v1/endpoints/double/rollback").json()["version"] == 2


def test_latest_follows_the_script_and_rolls_back_to_the_version_before(make_tenant):
    """And a tag is followed where it goes."""
    tenant = make_tenant()
    keep(tenant, "double", sample=None)
    endpoint = publish(tenant, "double")
    tagged = publish(tenant, "tagged", "double")
    refused(tenant.post("/v1/endpoints/double/rollback"), 409, "no_previous")
    keep(tenant, "double", TRIPLE, sample=None)
    tenant.request("PUT", "/v1/scripts/double/tags/good", json={"version": 1})
    tenant.request("PUT", "/v1/endpoints/tagged", json={"script": "double@good"})

    assert (endpoint.call([{"n": 1}]).json(), tagged.call([{"n": 1}]).json()) == ([{"n": 3}], [{"n": 2}])
    assert tenant.post("/v1/endpoints/double/rollback").json()["script"] == "double@1"
    tenant.request("PUT", "/v1/scripts/double/tags/good", json={"version": 2})
    assert (endpoint.call([{"n": 1}]).json(), tagged.call([{"n": 1}]).json()) == ([{"n": 2}], [{"n": 3}])


def test_a_script_that_is_served_cannot_be_deleted(make_tenant):
    """Neither its version, nor the tag; after the endpoint, it can."""
    tenant = make_tenant()
    keep(tenant, "double", sample=None)
    keep(tenant, "double", TRIPLE, sample=None)
    tenant.request("PUT", "/v1/scripts/double/tags/good", json={"version": 1})
    publish(tenant, "pinned", "double@good")

    for path in ("/v1/scripts/double", "/v1/scripts/double?version=1", "/v1/scripts/double/tags/good"):
        refused(tenant.request("DELETE", path), 409, "script_in_use", "pinned")
    assert tenant.request("DELETE", "/v1/scripts/double?version=2").status_code == 204
    assert tenant.request("DELETE", "/v1/endpoints/pinned").status_code == 204
    assert tenant.request("DELETE", "/v1/scripts/double").status_code == 204
    refused(tenant.request("PUT", "/v1/endpoints/p", json={"script": "double"}), 404, "not_found", "stored script")


def test_more_calls_at_once_than_there_are_places_are_refused(make_tenant):
    """503, with the maximum; the places are free again afterwards, also after calls that failed."""
    tenant = make_tenant()
    keep(tenant, "double", sample=None)
    endpoint = publish(tenant, "double", concurrency=2)
    ask = lambda seconds: endpoint.call({"dataframe1": {"records": [{"n": 1}]}, "parameters": {"sleep": seconds}})  # noqa: E731

    with ThreadPoolExecutor(5) as pool:
        answers = list(pool.map(ask, [3] * 5))

    statuses = sorted(answer.status_code for answer in answers)
    assert statuses == [200, 200, 503, 503, 503]
    throttled = next(answer for answer in answers if answer.status_code == 503)
    assert refused(throttled, 503, "request_throttled", "double", "maximum")["limit"] == 2
    assert throttled.headers["Retry-After"]
    for _ in range(3):
        refused(endpoint.call({"parameters": {}}), 422, "script_error")
    assert ask(0).status_code == 200
    usage = tenant.get("/v1/endpoints/double/usage").json()
    assert len(tenant.get(f"/v1/runs?endpoint={endpoint.document['id']}").json()["items"]) == 6
    assert usage["at_work"] == 0
    day = usage["items"][0]
    assert (day["succeeded"], day["failed"], day["throttled"]) == (3, 3, 3)
    assert 3 <= day["p99_seconds"] < 30


def test_an_endpoint_is_switched_off_and_on(make_tenant):
    """Off, it answers 503 before it reads anything."""
    tenant = make_tenant()
    keep(tenant, "double", sample=None)
    endpoint = publish(tenant, "double", enabled=False)

    refused(endpoint.call(ROWS), 503, "endpoint_off", "switched off")
    tenant.request("PUT", "/v1/endpoints/double", json={"script": "double"})
    assert endpoint.call(ROWS).status_code == 200


def test_only_those_calls_are_kept_that_are_to_be(make_tenant):
    """`keep`: none, failed, all. What is not kept is gone from the disk as well."""
    tenant = make_tenant()
    keep(tenant, "double", sample=None)
    failing = {"dataframe1": {"records": [{"n": 1}]}, "parameters": {"fail": True}}
    kept = {}
    for which in ("none", "failed", "all"):
        endpoint = publish(tenant, f"e-{which}", "double", keep=which)
        ids = [endpoint.call(body).headers["Airlock-Run-Id"] for body in ([{"n": 1}], failing)]
        kept[which] = [tenant.get(f"/v1/runs/{id}").status_code == 200 for id in ids]
        there = [(tenant.data_dir / "runs" / id).exists() for id in ids]
        assert there == kept[which]

    assert kept == {"none": [False, False], "failed": [False, True], "all": [True, True]}


def test_a_strict_endpoint_holds_to_the_columns_of_its_sample(make_tenant):
    """Of what goes in, and of what comes out."""
    tenant = make_tenant()
    keep(tenant, "double", DOUBLE.replace("return", "if params.get('more'): dataframe1['m'] = 1\n    return"))
    endpoint = publish(tenant, "double", strict=True)
    loose = publish(tenant, "loose", "double")

    assert endpoint.call(ROWS).status_code == 200
    refused(endpoint.call([{"n": 1}]), 422, "schema_mismatch", "dataframe1", "n, x")
    more = {"dataframe1": {"records": ROWS}, "parameters": {"more": 1}}
    refused(endpoint.call(more), 422, "schema_mismatch", "output1", "n, x, m")
    assert loose.call(more).status_code == loose.call([{"n": 1}]).status_code == 200


def test_a_sample_that_fails_is_told_and_the_endpoint_is_published(make_tenant):
    """Its calls may do better."""
    tenant = make_tenant()
    keep(tenant, "s", "def azureml_main(dataframe1):\n    return dataframe1[['y']]\n")

    endpoint = publish(tenant, "s")

    assert "y" in endpoint.document["sample"]["error"]
    assert endpoint.call([{"y": 1}]).json() == [{"y": 1}]


def test_a_table_with_too_many_columns_has_no_signature(make_tenant):
    """Each call would read all their names before it is known whose it is; the endpoint says so, and works."""
    tenant = make_tenant()
    keep(tenant, "wide", "import pandas as pd\ndef azureml_main(a):\n    return pd.DataFrame([range(2001)])\n")

    endpoint = publish(tenant, "wide", strict=True)

    sample = endpoint.document["sample"]
    assert sample["error"] == "a table of it has 2001 columns; up to 2000 are told and compared"
    assert sample["outputs"] == {}
    assert len(endpoint.call(ROWS).json()[0]) == 2001


def test_of_two_that_change_it_at_once_one_is_told(make_tenant):
    """With If-Match, or If-None-Match; without them the last one counts. What is so already is no change."""
    tenant = make_tenant()
    keep(tenant, "double", sample=None)
    publish(tenant, "double")
    tag = tenant.get("/v1/endpoints/double").headers["ETag"]
    put = lambda headers, at_once=4: tenant.request(  # noqa: E731
        "PUT", "/v1/endpoints/double", json={"script": "double", "concurrency": at_once}, headers=headers
    )

    assert put({"If-Match": tag}, 3).status_code == 200
    refused(put({"If-Match": tag}), 412, "precondition_failed")
    refused(put({"If-None-Match": "*"}), 412, "precondition_failed")
    refused(put({"If-Match": "x"}), 422, "invalid_request")
    assert [put({}).json()["revision"] for _ in range(2)] == [3, 3]


@pytest.mark.parametrize(
    ("more", "status", "code", "words"),
    [
        ({"data": b"[{", "headers": {"Content-Type": "application/json"}}, 422, "bad_input", []),
        ({"data": b'{"rows": []}', "headers": {"Content-Type": "application/json"}}, 422, "invalid_request", ["rows"]),
        ({"data": b"\xff", "headers": {"Content-Type": "application/json"}}, 422, "invalid_request", ["utf-8"]),
        (
            {"data": b"[]", "headers": {"Content-Type": "application/json; charset=latin-1"}},
            415,
            "unsupported_format",
            ["UTF-8"],
        ),
        ({"data": b"x", "headers": {"Content-Type": "text/html"}}, 415, "unsupported_format", ["text/csv"]),
        ({"json": [], "headers": {"Accept": "text/html"}}, 406, "not_acceptable", ["image/png"]),
        ({"json": {"parameters": {}}, "query": "?parameters=[]"}, 422, "invalid_request", ["parameters"]),
        ({"json": {"parameters": {"a": 1}}, "query": '?parameters={"a":1}'}, 422, "invalid_request", ["twice"]),
        ({"files": {"dataframe3": ("t.csv", "n\n")}}, 422, "invalid_request", ["dataframe3"]),
        ({"json": {"dataframe1": {"records": [1]}}}, 422, "invalid_request", ["records"]),
        ({"data": b" " * (2 << 20) + b"[]", "headers": {"Content-Type": "application/json"}}, 413, "too_large", []),
        ({"json": {"parameters": {"x": "y" * 262_144}}}, 413, "too_large", ["parameters", "262144"]),
        ({"json": {"dataframe1": {"records": [1] * 100_000}}}, 422, "invalid_request", ["dataframe1.records.0"]),
    ],
)
def test_a_call_that_is_none(server, more, status, code, words):
    """Is refused, and the place is free again."""
    if server.get("/v1/endpoints/wrong").status_code == 404:
        keep(server, "wrong", sample=None)
    server.request("DELETE", "/v1/endpoints/wrong")
    endpoint = publish(server, "wrong")

    refused(endpoint.call(**more), status, code, *words)

    assert server.get("/v1/endpoints/wrong/usage").json()["at_work"] == 0


def test_a_client_that_goes_away_takes_its_call_with_it(make_tenant):
    """Nobody waits for it any more: it is stopped."""
    tenant = make_tenant()
    keep(tenant, "double", sample=None)
    endpoint = publish(tenant, "double")

    with pytest.raises(requests.Timeout):
        endpoint.call({"dataframe1": {"records": []}, "parameters": {"sleep": 60}}, timeout=2)

    cancelled = lambda: [run["status"] for run in tenant.get("/v1/runs").json()["items"]] == ["cancelled"]  # noqa: E731
    assert until(cancelled, 20)
    assert until(lambda: tenant.get("/v1/endpoints/double/usage").json()["at_work"] == 0)


@pytest.mark.parametrize(
    ("name", "body", "where"),
    [
        ("a b", {"script": "s"}, "name"),
        ("e", {}, "script"),
        ("e", {"script": "s@0"}, "script"),
        ("e", {"script": "s", "concurrency": 201}, "concurrency"),
        ("e", {"script": "s", "concurrency": 0}, "concurrency"),
        ("e", {"script": "s", "inputs": ["a b"]}, "inputs"),
        ("e", {"script": "s", "keep": "some"}, "keep"),
        ("e", {"script": "s", "surplus": 1}, "surplus"),
    ],
)
def test_an_endpoint_that_is_none(server, name, body, where):
    """Is refused by the name of what is wrong."""
    refused(server.request("PUT", f"/v1/endpoints/{name}", json=body), 422, "invalid_request", where)


def test_endpoints_are_listed_by_name(make_tenant):
    """Page by page; another tenant's are not there."""
    tenant = make_tenant()
    keep(tenant, "double", sample=None)
    for name in ("c", "a", "b"):
        publish(tenant, name, "double")

    first = tenant.get("/v1/endpoints?limit=2").json()
    rest = tenant.get(f"/v1/endpoints?limit=2&cursor={first['next_cursor']}").json()

    assert [one["name"] for one in first["items"] + rest["items"]] == ["a", "b", "c"]
    assert rest["next_cursor"] is None
    refused(make_tenant().get("/v1/endpoints/a"), 404, "not_found")
