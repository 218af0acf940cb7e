"""The audit log over HTTP: every change and every refused attempt, with who, what and from where; never a secret."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import requests
from endpoint_calls import keep
from hosting import call, holder, new_tenant
from wire import refused

from controller.services.audit import REFUSALS_PER_SECOND
from controller.services.key_text import mint
from controller.store.audit_store import Head, row_of, verify
from tests.running import until

if TYPE_CHECKING:
    from tests.running import RunningServer


def newest(server: RunningServer, limit: int = 50, **wanted: str) -> list[Any]:
    query = "&".join(f"{name}={value}" for name, value in wanted.items())
    return list(call(server, "GET", f"/v1/admin/audit?limit={limit}&{query}")["items"])


def test_a_change_is_on_record(server: RunningServer) -> None:
    """Who, what, to what, from where, and by which request."""
    mine = call(server, "GET", f"/v1/keys/{server.key.split('_')[1]}")
    answer = server.post("/v1/admin/tenants", json={"name": "audited", "quotas": {"cpus": 1}})

    row = newest(server, action="tenant.create")[0]

    assert (row["subject"], row["tenant_id"], row["key_id"]) == (answer.json()["id"], mine["tenant_id"], mine["id"])
    assert (row["address"], row["request_id"]) == ("127.0.0.1", answer.headers["X-Request-Id"])
    assert row["details"] == {"name": "audited", "quotas": {"cpus": 1.0}}


def test_refused_attempts_are_on_record(server: RunningServer) -> None:
    """Of strangers, of wrong and revoked keys, of keys without the scope: the route, and never what proves a key."""
    time.sleep(1.1)  # other tests' refusals of this second would count
    _, mine = new_tenant(server, "audit refused")
    stranger = mint("alk", b"elsewhere").text
    tried = [
        (requests.get(f"{server.url}/v1/runs", timeout=30), {"code": "unauthorized", "route": "/v1/runs"}),
        (holder(server, stranger).get("/v1/runs"), {"presented": stranger.split("_")[1]}),
        (mine.get(f"/v1/admin/tenants/ten_{'0' * 32}"), {"code": "forbidden", "method": "GET"}),
        (mine.post("/v1/keys", json={"name": "a", "scopes": ["admin"]}), {"code": "scope_not_held"}),
    ]

    rows = {row["request_id"]: row for row in newest(server, action="request.refused")}

    for answer, details in tried:
        row = rows[answer.headers["X-Request-Id"]]
        assert details.items() <= row["details"].items()
    assert rows[tried[2][0].headers["X-Request-Id"]]["subject"] == "ten_" + "0" * 32
    assert rows[tried[2][0].headers["X-Request-Id"]]["key_id"] == mine.key.split("_")[1]
    assert rows[tried[0][0].headers["X-Request-Id"]]["key_id"] == ""
    assert stranger.split("_")[2] not in json.dumps(list(rows.values()))


def test_what_changes_nothing_is_not_on_record(
    server: RunningServer, make_tenant: Callable[..., RunningServer]
) -> None:
    """The same tag and the same publication again: the answer is the same, with the same ETag, and there is no row."""
    tenant = make_tenant()
    keep(tenant, "same", sample=None)
    put = lambda path, body: tenant.request("PUT", path, json=body)  # noqa: E731
    tagged = [put("/v1/scripts/same/tags/good", {"version": 1}) for _ in range(3)]
    published = [put("/v1/endpoints/same", {"script": "same@good"}) for _ in range(3)]

    rows = [row for row in newest(server) if row["details"].get("name") == "same"]

    assert {answer.status_code for answer in (*tagged, *published)} <= {200, 201, 204}
    assert len({answer.headers["ETag"] for answer in published}) == 1
    assert sorted(row["action"] for row in rows) == ["endpoint.publish", "script.put", "script.tag"]


def test_submitted_runs_are_not_rows_of_it(server: RunningServer) -> None:
    """They have rows, and receipts, of their own."""
    _, mine = new_tenant(server, "audit runs")
    run = mine.submit("def azureml_main(): pass")

    assert run["id"] not in json.dumps(newest(server))


def test_an_export_is_checked_without_the_server(server: RunningServer) -> None:
    """One object a line, the first first, and the chain is whole."""
    answer = server.get("/v1/admin/audit/export")

    head = verify(row_of(json.loads(line)) for line in answer.text.splitlines())

    assert answer.headers["Content-Type"].startswith("application/x-ndjson")
    assert isinstance(head, Head)
    assert head.number >= 2
    assert json.loads(answer.text.splitlines()[-1])["hash"] == head.hash


def test_a_flood_of_refusals_is_counted_and_not_written(make_server: Callable[..., RunningServer]) -> None:
    """So many rows a second; then one row says how many more there were. Nothing is lost of the number."""
    server = make_server("flood", AIRLOCK_WARM_CONTAINERS="0")
    began = time.monotonic()
    with requests.Session() as session:
        for _ in range(300):
            assert session.get(f"{server.url}/v1/runs", timeout=30).status_code == 401
    seconds = time.monotonic() - began

    def refusals() -> tuple[int, int]:
        rows = newest(server, 1000)
        written = sum(row["action"] == "request.refused" for row in rows)
        return written, sum(row["details"]["count"] for row in rows if row["action"] == "request.refused_more")

    assert until(lambda: sum(refusals()) == 300, 10), refusals()
    assert refusals()[0] <= REFUSALS_PER_SECOND * (seconds + 1)


def test_a_log_that_cannot_be_written_stops_the_change(make_server: Callable[..., RunningServer]) -> None:
    """And lets nobody in: refused attempts stay refused, reading works."""
    import sqlite3

    server = make_server("stopped", AIRLOCK_WARM_CONTAINERS="0")
    with sqlite3.connect(server.data_dir / "airlock.db", timeout=30) as db:
        db.execute("CREATE TRIGGER full BEFORE INSERT ON audit_log BEGIN SELECT RAISE(ABORT, 'no room'); END")
    db.close()

    refused(server.post("/v1/admin/tenants", json={"name": "a"}), 503, "store_error")
    refused(server.post("/v1/admin/engine/drain"), 503, "store_error")
    refused(server.post("/v1/admin/sweep"), 503, "store_error")
    refused(requests.get(f"{server.url}/v1/runs", timeout=30), 401, "unauthorized")

    assert len(call(server, "GET", "/v1/admin/tenants")["items"]) == 1
    assert call(server, "GET", "/v1/admin/engine")["mode"]["mode"] == "open"
