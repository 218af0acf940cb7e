"""Stored scripts: kept in versions, named by runs and batches, and what is refused."""

from __future__ import annotations

import io
import json
import zipfile
from typing import Any

import pytest
from batch_calls import cities, csv, ended
from wire import refused

from tests.running import RunningServer, until

FIRST = "def azureml_main(dataframe1, dataframe2=None):\n    return dataframe1\n"
SECOND = "def azureml_main(dataframe1, dataframe2=None):\n    return dataframe1 * 2\n"
WITH_BUNDLE = "import mine\ndef azureml_main(dataframe1):\n    return dataframe1.assign(more=mine.MORE)\n"
ASKS = "import pandas as pd\ndef azureml_main(*, params):\n    return pd.DataFrame([params])\n"
TABLE = {"records": [{"n": 1}, {"n": 2}]}
DECLARED = {
    "times": {"type": "integer", "default": 3},
    "rate": {"type": "number", "default": 0.5},
    "name": {"type": "string"},
    "loud": {"type": "boolean", "default": False, "description": "in capitals"},
}


def put(server: RunningServer, name: str, script: str = FIRST, **options: Any) -> Any:
    answer = server.request("PUT", f"/v1/scripts/{name}", json={"script": script, "options": options})
    assert answer.status_code in (200, 201), answer.text
    return answer.json()


def run(server: RunningServer, reference: str, **more: Any) -> Any:
    answer = server.post("/v1/runs?wait=100", json={"script_ref": reference, **more})
    assert answer.status_code == 200, answer.text
    assert answer.json()["status"] == "succeeded", answer.text
    return answer.json()


def rows(server: RunningServer, found: Any) -> Any:
    return server.get(f"/v1/runs/{found['id']}/output", headers={"Accept": "application/json"}).json()


def test_a_version_never_changes_and_a_changed_script_is_the_next(make_tenant):
    """Put, put again, put anew: 201 with a version, 200 with the same one, 201 with the next."""
    tenant = make_tenant()
    put_it = lambda text: tenant.request(  # noqa: E731
        "PUT", "/v1/scripts/s", data=text.encode(), headers={"Content-Type": "text/x-python; charset=utf-8"}
    )

    first, same, second = put_it(FIRST), put_it(FIRST), put_it(SECOND)

    assert [answer.status_code for answer in (first, same, second)] == [201, 200, 201]
    assert [answer.json()["version"] for answer in (first, same, second)] == [1, 1, 2]
    assert first.json()["id"] == same.json()["id"]
    assert second.headers["Location"] == "/v1/scripts/s/versions/2"
    assert second.json()["tags"] == ["latest"]
    assert second.json()["digest"].startswith("sha256:")
    assert tenant.get("/v1/scripts/s/source?which=1").text == FIRST
    assert tenant.get("/v1/scripts/s/source").text == SECOND
    assert tenant.get("/v1/scripts/s/source").headers["Content-Disposition"] == "attachment; filename=s-2.py"
    assert [one["version"] for one in tenant.get("/v1/scripts/s/versions").json()["items"]] == [2, 1]
    assert tenant.get(second.headers["Location"]).json() == second.json()


def test_a_run_takes_the_version_that_it_names(make_tenant):
    """By number, by tag, the newest; the run says which it was, and so does its rerun."""
    tenant = make_tenant()
    put(tenant, "s", FIRST)
    put(tenant, "s", SECOND)
    tenant.request("PUT", "/v1/scripts/s/tags/good", json={"version": 1})

    found = {name: run(tenant, name, dataframe1=TABLE) for name in ("s", "s@latest", "s@1", "s@good", "s@2")}

    used = {name: one["script"]["version"] for name, one in found.items()}
    assert used == {"s": 2, "s@latest": 2, "s@1": 1, "s@good": 1, "s@2": 2}
    assert [rows(tenant, found[name])[1]["n"] for name in ("s", "s@1")] == [4, 2]
    again = tenant.post(f"/v1/runs/{found['s@1']['id']}/rerun?wait=100").json()
    assert (again["script"], again["script_sha256"]) == (found["s@1"]["script"], found["s@1"]["script_sha256"])
    plain = tenant.submit(FIRST.replace("dataframe1,", "dataframe1=None,"))
    assert plain["script"] is None


def test_a_bundle_goes_with_its_script(make_tenant):
    """Kept with it, taken with it, and given back byte for byte."""
    tenant = make_tenant()
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.writestr("mine.py", "MORE = 7\n")
    files = {"script": ("s.py", WITH_BUNDLE), "bundle": ("b.zip", zipped.getvalue()), "dataframe1": ("t.csv", "n\n1\n")}

    kept = tenant.request("PUT", "/v1/scripts/s", files=files)

    assert kept.status_code == 201, kept.text
    assert kept.json()["samples"] == [{"port": 1, "format": "csv", "compression": None}]
    assert kept.json()["bundle_bytes"] == len(zipped.getvalue())
    assert tenant.get("/v1/scripts/s/bundle").content == zipped.getvalue()
    assert rows(tenant, run(tenant, "s", dataframe1=TABLE)) == [{"n": 1, "more": 7}, {"n": 2, "more": 7}]
    refused(
        tenant.post("/v1/runs", files={"script_ref": (None, "s"), "bundle": ("b.zip", b"PK")}), 422, "invalid_request"
    )
    put(tenant, "bare")
    refused(tenant.get("/v1/scripts/bare/bundle"), 404, "not_found", "version 1 of bare has no bundle.zip")


def test_the_options_of_a_script_are_those_of_its_runs_unless_a_run_says_otherwise(make_tenant):
    """Limits and profile; what the run sets wins, also when it sets the server's default."""
    tenant = make_tenant()
    put(tenant, "s", FIRST, timeout_seconds=7, memory_bytes=256 << 20, profile="designer")
    put(tenant, "d", FIRST, profile="designer")

    own = run(tenant, "s", dataframe1=TABLE)
    other = run(tenant, "s", dataframe1=TABLE, options={"timeout_seconds": 9})
    classic = run(tenant, "s", dataframe1=TABLE, options={"profile": "classic"})

    assert (own["limits"]["timeout_seconds"], own["limits"]["memory_bytes"]) == (7, 256 << 20)
    assert (other["limits"]["timeout_seconds"], other["limits"]["memory_bytes"]) == (9, 256 << 20)
    refused(tenant.get(f"/v1/runs/{classic['id']}/output2"), 409, "no_output", "designer")
    assert "designer" not in tenant.get(f"/v1/runs/{own['id']}/output2").text


def test_declared_parameters_have_types_and_defaults(make_tenant):
    """What is not declared, of another type, or missing without a default is refused, by its name."""
    tenant = make_tenant()
    put(tenant, "s", ASKS, parameters=DECLARED)

    found = run(tenant, "s", options={"parameters": {"name": "x", "rate": 2}})

    assert rows(tenant, found) == [{"times": 3, "rate": 2, "name": "x", "loud": False}]
    for parameters, words in (
        ({}, ["options.parameters.name", "is missing"]),
        ({"name": 1}, ["options.parameters.name", "string", "not 1"]),
        ({"name": "x", "times": 1.5}, ["options.parameters.times", "integer"]),
        ({"name": "x", "times": True}, ["options.parameters.times", "integer"]),
        ({"name": "x", "loud": 1}, ["options.parameters.loud", "boolean"]),
        ({"name": "x", "rate": None}, ["options.parameters.rate", "number", "null"]),
        ({"name": "x", "other": 1}, ["options.parameters.other", "times, rate, name, loud"]),
    ):
        answer = tenant.post("/v1/runs", json={"script_ref": "s", "options": {"parameters": parameters}})
        refused(answer, 422, "invalid_request", *words)
    wrong = {"parameters": {"n": {"type": "integer", "default": "x"}}}
    answer = tenant.request("PUT", "/v1/scripts/t", json={"script": ASKS, "options": wrong})
    refused(answer, 422, "invalid_request", "options.parameters.n.default", "integer")


def test_what_took_a_script_keeps_it(make_tenant):
    """A deleted version is gone for new runs at once; a run that has it waits, runs and is repeated all the same."""
    tenant = make_tenant()
    put(tenant, "s")
    found = run(tenant, "s", dataframe1=TABLE)

    assert tenant.request("DELETE", "/v1/scripts/s").status_code == 204

    refused(tenant.post("/v1/runs", json={"script_ref": "s"}), 404, "not_found", "stored script")
    refused(tenant.get("/v1/scripts/s"), 404, "not_found")
    refused(tenant.request("DELETE", "/v1/scripts/s"), 404, "not_found")
    again = tenant.post(f"/v1/runs/{found['id']}/rerun?wait=100").json()
    assert again["status"] == "succeeded"
    assert put(tenant, "s")["version"] == 2
    assert until(lambda: len(list((tenant.data_dir / "scripts").glob("removed-*"))) == 0)


def test_an_idempotency_key_is_for_the_request_and_not_for_what_latest_is(make_tenant):
    """The same request twice is one run, though the script has changed or gone meanwhile."""
    tenant = make_tenant()
    put(tenant, "s", FIRST)
    ask = lambda name: tenant.post(  # noqa: E731
        "/v1/runs?wait=100", json={"script_ref": name, "dataframe1": TABLE}, headers={"Idempotency-Key": "k"}
    )

    first = ask("s")
    put(tenant, "s", SECOND)
    second = ask("s")
    tenant.request("DELETE", "/v1/scripts/s")
    third = ask("s")

    assert first.status_code == second.status_code == third.status_code == 200
    assert first.json()["id"] == second.json()["id"] == third.json()["id"]
    refused(ask("s@1"), 409, "key_reused")


def test_a_batch_of_a_stored_script(make_tenant):
    """Its items have the version that was the newest when it was submitted, with its options."""
    tenant = make_tenant()
    cities(tenant)
    put(tenant, "s", "def azureml_main(dataframe1):\n    return dataframe1[['n']] * 2\n", timeout_seconds=8)

    batch = tenant.post("/v1/batches", json={"script_ref": "s", "batch": {"dataset": "cities", "rows": 2}})
    assert batch.status_code == 202, batch.text
    put(tenant, "s", "def azureml_main(dataframe1):\n    raise ValueError\n")
    tenant.request("DELETE", "/v1/scripts/s")
    found = ended(tenant, batch.json())

    assert found["script"] == {"name": "s", "version": 1}
    assert (found["counts"]["succeeded"], found["limits"]["timeout_seconds"]) == (3, 8)
    assert csv(tenant, found).text.split() == ['"n"', "2", "4", "6", "8", "10", "12"]
    item = tenant.get(f"/v1/runs?batch={found['id']}").json()["items"][0]
    assert item["script"] == {"name": "s", "version": 1}
    parts = {"script_ref": (None, "s@1"), "batch": (None, json.dumps({"dataset": "cities", "rows": 2}))}
    refused(tenant.post("/v1/batches", files=parts), 404, "not_found", "stored script")


def test_looking_needs_the_scope_run_and_changing_the_scope_publish(make_tenant):
    """Each route, with a key that has only the other."""
    reader = make_tenant(scopes=("run",))

    for method, path in (
        ("PUT", "/v1/scripts/s"),
        ("DELETE", "/v1/scripts/s"),
        ("PUT", "/v1/scripts/s/tags/t"),
        ("DELETE", "/v1/scripts/s/tags/t"),
    ):
        refused(reader.request(method, path), 403, "forbidden", "publish")
    assert reader.get("/v1/scripts").json() == {"items": [], "next_cursor": None}


@pytest.mark.parametrize(
    ("name", "more", "status", "code", "words"),
    [
        ("a b", {"json": {"script": FIRST}}, 422, "invalid_request", ["name"]),
        (".hidden", {"json": {"script": FIRST}}, 422, "invalid_request", ["name"]),
        ("s", {"json": {"script": " \n"}}, 422, "invalid_request", ["script is empty"]),
        ("s", {"json": {}}, 422, "invalid_request", ["script"]),
        ("s", {"json": {"script": FIRST, "options": {"reuse": True}}}, 422, "invalid_request", ["options.reuse"]),
        ("s", {"json": {"script": FIRST, "options": {"environment": "x"}}}, 422, "invalid_request", ["'x'"]),
        ("s", {"json": {"script": "#" * (1 << 20) + "\n"}}, 413, "script_too_large", ["1048576"]),
        ("s", {"data": b"#" * (1 << 21), "headers": {"Content-Type": "text/plain"}}, 413, "too_large", ["1048576"]),
        ("s", {"data": b"x", "headers": {"Content-Type": "text/html"}}, 415, "unsupported_format", []),
        ("s", {"files": {"bundle": ("b.zip", b"PK")}}, 422, "invalid_request", ["script: is missing"]),
        (
            "s",
            {"files": {"script": ("s.py", FIRST), "dataframe1": ("t.csv", b"x" * ((1 << 20) + 1))}},
            413,
            "too_large",
            ["dataframe1", "1048576"],
        ),
        (
            "s",
            {"json": {"script": FIRST, "options": {"dataframe2": {"delimiter": ";"}}}},
            422,
            "invalid_request",
            ["there is no dataframe2"],
        ),
    ],
)
def test_what_is_no_script_is_refused(server, name, more, status, code, words):
    """And nothing of it is kept."""
    refused(server.request("PUT", f"/v1/scripts/{name}", **more), status, code, *words)
    assert server.get("/v1/scripts?prefix=s").json()["items"] == []


def test_tags_that_are_none(make_tenant):
    """`latest` moves by itself; a tag is on a version that is there; a number is no tag."""
    tenant = make_tenant()
    put(tenant, "s")
    tag = lambda path, **more: tenant.request("PUT", f"/v1/scripts/{path}", **more)  # noqa: E731

    refused(tag("s/tags/latest", json={"version": 1}), 422, "invalid_request", "always the newest")
    refused(tag("s/tags/1", json={"version": 1}), 422, "invalid_request", "tag")
    refused(tag("s/tags/t", json={"version": 2}), 404, "not_found")
    refused(tag("none/tags/t", json={"version": 1}), 404, "not_found")
    refused(tag("s/tags/t", json={"version": "x"}), 422, "invalid_request", "version")
    refused(tag("s/tags/t", data=b"{}", headers={"Content-Type": "text/plain"}), 415, "unsupported_format")
    refused(tenant.request("DELETE", "/v1/scripts/s/tags/t"), 404, "not_found")
    assert tag("s/tags/t", json={"version": 1}).json()["tags"] == ["latest", "t"]
    assert tenant.request("DELETE", "/v1/scripts/s/tags/t").status_code == 204


def test_a_tenant_keeps_so_many_versions(make_server):
    """The limit is named, and what is deleted makes room."""
    server = make_server(AIRLOCK_MAX_SCRIPT_VERSIONS="2")
    put(server, "a", FIRST)
    put(server, "a", SECOND)

    answer = server.request("PUT", "/v1/scripts/b", json={"script": FIRST})

    assert refused(answer, 429, "too_many_versions", "max_script_versions")["limit"] == 2
    assert len(list((server.data_dir / "scripts").iterdir())) == 2
    server.request("DELETE", "/v1/scripts/a?version=1")
    put(server, "b", FIRST)
