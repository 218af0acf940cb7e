"""Who may ask what: API keys, tenants that cannot see each other, methods, paths, and what every answer carries."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
import requests
from wire import MULTIPART, SCRIPT_PART, SECURITY_HEADERS, multipart, refused, well_formed

if TYPE_CHECKING:
    from tests.running import RunningServer

MISSING = "run_" + "0123456789abcdef" * 2
OF_ONE_RUN = [
    ("GET", ""),
    ("DELETE", ""),
    ("POST", "/cancel"),
    ("GET", "/log"),
    ("GET", "/log?follow=1"),
    ("GET", "/output"),
    ("GET", "/images"),
    ("GET", "/images/one.png"),
    ("GET", "/receipt"),
]


def mistyped(key: str) -> str:
    """The key with one character of its secret changed, as a typing error would."""
    at = len("alk_") + 20
    return key[:at] + ("a" if key[at] != "a" else "b") + key[at + 1 :]


WRONG_CREDENTIALS = {
    "none": (lambda key: None, "Authorization: Bearer"),
    "empty": (lambda key: "", "Authorization: Bearer"),
    "only a scheme": (lambda key: "Bearer", "Authorization: Bearer"),
    "only the key": (lambda key: key, "Authorization: Bearer"),
    "Basic": (lambda key: "Basic YTpi", "Authorization: Bearer"),
    "another scheme": (lambda key: f"Token {key}", "Authorization: Bearer"),
    "a word": (lambda key: "Bearer secret", "copied whole"),
    "mistyped": (lambda key: f"Bearer {mistyped(key)}", "copied whole"),
    "cut": (lambda key: f"Bearer {key[:-1]}", "copied whole"),
    "with something behind it": (lambda key: f"Bearer {key} x", "copied whole"),
    "upper case": (lambda key: f"Bearer {key.upper()}", "copied whole"),
    "not ASCII": (lambda key: f"Bearer {key}\u00e4".encode("latin-1"), "copied whole"),
    "very long": (lambda key: f"Bearer {'a' * 7000}", "copied whole"),
}


@pytest.mark.parametrize("case", WRONG_CREDENTIALS)
def test_without_a_whole_key_nothing_is_answered(server: RunningServer, case: str) -> None:
    """401, with the challenge that tells a client what is wanted."""
    header, words = WRONG_CREDENTIALS[case]

    answer = server.get("/v1/runs", headers={"Authorization": header(server.key)})

    refused(answer, 401, "unauthorized", words)
    assert answer.headers["WWW-Authenticate"] == 'Bearer realm="airlock"'


@pytest.mark.parametrize(
    ("method", "path"), [("GET", ""), ("POST", ""), *[(m, f"/{MISSING}{p}") for m, p in OF_ONE_RUN]]
)
def test_every_route_of_runs_needs_a_key(server: RunningServer, method: str, path: str) -> None:
    """No route was forgotten."""
    answer = server.request(method, f"/v1/runs{path}", headers={"Authorization": None})

    refused(answer, 401, "unauthorized", "API key")


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_the_scheme_is_read_in_any_case(server: RunningServer, scheme: str) -> None:
    """As RFC 9110 has it."""
    answer = server.get("/v1/runs", headers={"Authorization": f"{scheme} {server.key}"})

    assert answer.status_code == 200


@pytest.mark.parametrize("column", ["unknown", "revoked_at", "expires_at"])
def test_a_key_that_is_not_live_is_refused_in_the_same_words(
    server: RunningServer, make_tenant: Callable[..., RunningServer], column: str
) -> None:
    """Unknown, revoked and expired look the same from outside."""
    other = make_tenant()
    key_id = other.key.split("_")[1]
    past = (datetime.now(UTC) - timedelta(seconds=1)).replace(tzinfo=None).isoformat(" ")
    assert other.get("/v1/runs").status_code == 200
    with sqlite3.connect(server.data_dir / "airlock.db", timeout=30) as db:
        if column == "unknown":
            db.execute("DELETE FROM api_keys WHERE id = ?", (key_id,))
        else:
            db.execute(f"UPDATE api_keys SET {column} = ? WHERE id = ?", (past, key_id))
    db.close()

    answer = other.get("/v1/runs")

    refused(answer, 401, "unauthorized", "the API key is unknown, expired or revoked")


def test_a_key_without_the_scope_run_is_forbidden(make_tenant: Callable[..., RunningServer]) -> None:
    """403, and which scope it is that is lacking."""
    publisher = make_tenant(scopes=("publish",))

    answer = publisher.get("/v1/runs")

    refused(answer, 403, "forbidden", "scope 'run'")


def told(answer: requests.Response) -> tuple[int, dict[str, Any]]:
    """All of an answer but the request's own id."""
    problem = answer.json()
    del problem["instance"]
    return answer.status_code, problem


@pytest.mark.parametrize(("method", "path"), OF_ONE_RUN)
def test_another_tenants_run_answers_as_a_missing_one(
    table_run: Any, make_tenant: Callable[..., RunningServer], method: str, path: str
) -> None:
    """Status, words and all: nobody learns which ids exist."""
    other = make_tenant()

    foreign = other.request(method, f"/v1/runs/{table_run['id']}{path}")
    missing = other.request(method, f"/v1/runs/{MISSING}{path}")

    refused(missing, 404, "not_found", "no run with this id")
    assert told(foreign) == told(missing)
    assert {*foreign.headers} == {*missing.headers}


def test_another_tenants_runs_are_in_no_list(table_run: Any, make_tenant: Callable[..., RunningServer]) -> None:
    """Not even with a cursor or a filter."""
    other = make_tenant()

    found = [other.get(f"/v1/runs{query}").json() for query in ("", "?status=succeeded", "?limit=100")]

    assert found == [{"items": [], "next_cursor": None}] * 3


def test_another_tenant_can_neither_stop_nor_delete(
    server: RunningServer, busy: Any, make_tenant: Callable[..., RunningServer]
) -> None:
    """The run is as it was afterwards."""
    other = make_tenant()

    other.post(f"/v1/runs/{busy['id']}/cancel")
    other.request("DELETE", f"/v1/runs/{busy['id']}")

    assert server.get(f"/v1/runs/{busy['id']}").json()["status"] == "running"


@pytest.mark.parametrize(
    "run_id", ["run_1", "x" * 100, "..", "%2e%2e", "%00", "run_%F0%9F%98%80", "a'%20OR%201=1", "%FF", "*"]
)
def test_an_unknown_run_is_not_found(server: RunningServer, run_id: str) -> None:
    """Whatever stands in its place."""
    answer = server.get(f"/v1/runs/{run_id}")

    refused(answer, 404, "not_found")


def test_an_endless_run_id_is_refused(server: RunningServer) -> None:
    """No id is as long."""
    answer = server.get(f"/v1/runs/{'x' * 101}")

    refused(answer, 422, "invalid_request", "run_id", "100")


@pytest.mark.parametrize(
    "path", ["/v2/runs", "/v1", "/v1/runs/", "/v1/runs/a/b", "/nothing", "/v1//runs", "/docs/../app.py", "/%00"]
)
def test_an_unknown_path_is_not_found(server: RunningServer, path: str) -> None:
    """As problem+json too, and it says where to look."""
    answer = server.get(path)

    refused(answer, 404, "not_found", "/openapi.json")


WRONG_METHODS = [
    ("PUT", "/v1/runs", {"GET", "HEAD", "OPTIONS", "POST"}),
    ("DELETE", "/v1/runs", {"GET", "HEAD", "OPTIONS", "POST"}),
    ("POST", f"/v1/runs/{MISSING}", {"DELETE", "GET", "HEAD", "OPTIONS"}),
    ("GET", f"/v1/runs/{MISSING}/cancel", {"OPTIONS", "POST"}),
    ("PATCH", f"/v1/runs/{MISSING}/output", {"GET", "HEAD", "OPTIONS"}),
    ("POST", "/healthz", {"GET", "HEAD", "OPTIONS"}),
    ("BREW", "/v1/runs", {"GET", "HEAD", "OPTIONS", "POST"}),
]


@pytest.mark.parametrize(("method", "path", "allowed"), WRONG_METHODS)
def test_a_method_that_is_not_allowed(server: RunningServer, method: str, path: str, allowed: set[str]) -> None:
    """405 with the header Allow."""
    answer = server.request(method, path)

    refused(answer, 405, "method_not_allowed", method, *allowed)
    assert set(answer.headers["Allow"].split(", ")) == allowed


QUERIES = {
    "limit 0": ("/v1/runs?limit=0", ["limit", "greater than or equal to 1"]),
    "limit 101": ("/v1/runs?limit=101", ["limit", "less than or equal to 100"]),
    "limit a word": ("/v1/runs?limit=all", ["limit", "valid integer"]),
    "limit twice": ("/v1/runs?limit=1&limit=2", ["limit", "given 2 times"]),
    "unknown status": ("/v1/runs?status=done", ["status", "'succeeded'"]),
    "unknown filter": ("/v1/runs?state=failed", ["state", "not permitted"]),
    "time a word": ("/v1/runs?created_after=yesterday", ["created_after", "datetime"]),
    "time without a zone": ("/v1/runs?created_after=2026-01-01T00:00:00", ["created_after", "timezone"]),
    "time out of the calendar": (
        "/v1/runs?created_after=9999-12-31T23:59:59-23:00",
        ["created_after", "years 1 to 9999"],
    ),
    "cursor a word": ("/v1/runs?cursor=next", ["cursor", "next_cursor"]),
    "cursor of bytes": ("/v1/runs?cursor=_____w==", ["cursor", "next_cursor"]),
    "cursor not ASCII": ("/v1/runs?cursor=%C3%A4", ["cursor", "next_cursor"]),
    "cursor without an id": ("/v1/runs?cursor=MjAyNi0wMS0wMQ==", ["cursor", "next_cursor"]),
    "cursor out of the calendar": (
        "/v1/runs?cursor=OTk5OS0xMi0zMVQyMzo1OTo1OS0yMzowMCB4",
        ["cursor", "next_cursor"],
    ),
    "cursor too long": (f"/v1/runs?cursor={'a' * 201}", ["cursor", "200"]),
    "wait on one": (f"/v1/runs/{MISSING}?wait=-1", ["wait", "greater than or equal to 0"]),
    "follow 2": (f"/v1/runs/{MISSING}/log?follow=2", ["follow", "'0' or '1'"]),
    "output takes none": (f"/v1/runs/{MISSING}/output?format=csv", ["format", "not permitted"]),
    "images takes none": (f"/v1/runs/{MISSING}/images?x=1", ["x", "not permitted"]),
}


@pytest.mark.parametrize("case", QUERIES)
def test_a_faulty_query_is_refused(server: RunningServer, case: str) -> None:
    """In every route, with the parameter's name."""
    path, words = QUERIES[case]

    answer = server.get(path)

    refused(answer, 422, "invalid_request", *words)


def test_states_that_forbid(server: RunningServer, busy: Any, table_run: Any, failed_run: Any) -> None:
    """Stopping what has ended, deleting what runs, the output of what gave none: 409, and nothing changes."""
    cancel = server.post(f"/v1/runs/{table_run['id']}/cancel")
    delete = server.request("DELETE", f"/v1/runs/{busy['id']}")
    none_yet = server.get(f"/v1/runs/{busy['id']}/output")
    never = server.get(f"/v1/runs/{failed_run['id']}/output")

    refused(cancel, 409, "conflict", "ended already", "succeeded")
    refused(delete, 409, "conflict", "cancel it first")
    refused(none_yet, 409, "no_output", "status is running")
    refused(never, 409, "no_output", "status is failed")
    assert server.get(f"/v1/runs/{table_run['id']}").json() == table_run


@pytest.mark.parametrize(
    "accept", ["text/html", "image/png, text/xml;q=0.5", "application/vnd.ms-excel", "text/csv;q=0"]
)
def test_an_output_that_cannot_be_had_so(server: RunningServer, table_run: Any, accept: str) -> None:
    """406, with all the formats that there are."""
    answer = server.get(f"/v1/runs/{table_run['id']}/output", headers={"Accept": accept})

    refused(answer, 406, "not_acceptable", "text/csv", "application/vnd.apache.parquet", "arrow.stream")


def test_an_unknown_image_is_not_found(server: RunningServer, table_run: Any) -> None:
    """Nor can its name lead anywhere else."""
    names = ["none.png", "one.png/", "ONE.PNG", "..%2Flog", "a/..%2F..%2Flog", "x" * 255]

    answers = [server.get(f"/v1/runs/{table_run['id']}/images/{name}") for name in names]

    for answer in answers:
        refused(answer, 404, "not_found")


def test_the_answers_without_a_key_are_well_formed_too(server: RunningServer) -> None:
    """Also those that are no JSON; and each request has an id of its own."""
    paths = ["/healthz", "/readyz", "/openapi.json", "/docs", "/docs/start.js", "/docs/none.js", "/none"]

    answers = [requests.get(server.url + path, timeout=30) for path in paths]

    for answer in answers:
        well_formed(answer)
    assert len({answer.headers["X-Request-Id"] for answer in answers}) == len(paths)


def test_nothing_but_the_pages_may_load_anything(server: RunningServer, table_run: Any) -> None:
    """What a tenant made is never a page: the policy forbids it everything."""
    paths = ["/output", "/log", "/images/one.png", ""]

    answers = [server.get(f"/v1/runs/{table_run['id']}{path}") for path in paths]

    for answer in answers:
        assert answer.headers["Content-Security-Policy"] == "default-src 'none'; frame-ancestors 'none'; sandbox"
        assert [name for name in SECURITY_HEADERS if name not in answer.headers] == []


def test_a_request_id_is_not_taken_from_outside(server: RunningServer) -> None:
    """Otherwise a caller could write into the server's log what it likes."""
    answer = server.post(
        "/v1/runs",
        data=multipart(SCRIPT_PART)[:-9],
        headers={"Content-Type": MULTIPART, "X-Request-Id": "mine"},
    )

    assert refused(answer, 422, "invalid_request")["instance"] != "mine"
