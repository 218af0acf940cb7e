"""No tenant learns anything of another: every route of the OpenAPI document, called by everybody who may not.

Each route x {own, foreign, missing, no key, a key without the scope, the operator}, by the rules beside this file.
"""

from __future__ import annotations

import io
import json
import re
import statistics
import time
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import requests
from hosting import call, holder, new_tenant
from isolation_rules import CSV, REFERENCES, RULES, Rule, filled
from wire import SCRIPT, refused

if TYPE_CHECKING:
    from tests.running import RunningServer

GOLDEN = json.loads(Path(__file__).with_name("openapi.json").read_text())
ROUTES = [(method.upper(), path) for path, item in GOLDEN["paths"].items() for method in item]
GUARDED = [route for route in ROUTES if route in RULES and RULES[route].scope is not None]
OF_TENANTS = [route for route in GUARDED if RULES[route].names == "tenant"]
OF_OPERATORS = [route for route in GUARDED if RULES[route].names == "operator"]
MISSING = {
    "run_id": "run_" + "0123456789abcdef" * 2,
    "batch_id": "bat_" + "0123456789abcdef" * 2,
    "tenant_id": "ten_" + "0123456789abcdef" * 2,
    "key_id": "0123456789abcdef",
    "name": "never-there",
    "endpoint_id": "ept_" + "0123456789abcdef" * 2,
}
ALWAYS = {"version": "1", "tag": "good", "which": "primary"}
"""What a path names beside its thing, and is there of every one."""
DRAWING = """
import base64
def azureml_main(a=None, b=None):
    open("one.png", "wb").write(base64.b64decode("%s"))
    return a
"""
ONE_PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
CHANGING = {"date", "x-request-id"}
CALLS = 150
APART_MILLISECONDS = 2.0
"""Between two medians. The promise is one millisecond on a quiet machine; tests share theirs."""


class World(NamedTuple):
    """Two tenants, the operator, and the first one's things by the names of path parameters."""

    first: RunningServer
    other: RunningServer
    operator: RunningServer
    things: dict[str, str]


@pytest.fixture(scope="module")
def world(server: RunningServer) -> World:
    (tenant, first), (_, other) = new_tenant(server, "isolated first"), new_tenant(server, "isolated other")
    run = first.submit(DRAWING % ONE_PIXEL, files={"dataframe1": ("a.csv", b"a\n1\n")})
    assert (run["status"], len(run["images"])) == ("succeeded", 1), run
    assert first.request("PUT", "/v1/datasets/mine?wait=60", data=b"a\n1\n2\n", headers=CSV).status_code == 201
    body = {"script": SCRIPT.decode(), "batch": {"datasets": [{"dataset": "mine"}]}}
    batch = call(first, "POST", "/v1/batches?wait=60", body)
    bundle = io.BytesIO()
    with zipfile.ZipFile(bundle, "w") as archive:
        archive.writestr("module.py", "")
    parts = {"script": ("script.py", SCRIPT), "bundle": ("b.zip", bundle.getvalue())}
    assert first.request("PUT", "/v1/scripts/mine", files=parts).status_code == 201
    endpoint = call(first, "PUT", "/v1/endpoints/mine", {"script": "mine"}, 201)
    key = call(first, "POST", "/v1/keys", {"name": "mine", "scopes": ["run"]}, 201)
    things = {
        "run_id": run["id"],
        "batch_id": batch["id"],
        "tenant_id": tenant["id"],
        "key_id": key["id"],
        "name": "mine",
        "endpoint_id": endpoint["id"],
        "own_run_id": other.submit(SCRIPT.decode())["id"],
    }
    operators = call(server, "POST", "/v1/keys", {"name": "isolation", "scopes": ["admin"]}, 201)
    return World(first, other, holder(server, operators["key"]), things)


def send(who: RunningServer, method: str, path: str, names: dict[str, str], **request: Any) -> requests.Response:
    """The request with these names in it. An image's name is not a dataset's."""
    names = names | ALWAYS | ({"name": "one.png"} if "/images/" in path else {})
    return who.request(method, filled(path, names), **filled(request, names))


def told(answer: requests.Response, names: dict[str, str]) -> tuple[int, str, dict[str, str]]:
    """All that an answer tells: status, body and headers, but for the ids that were asked for and the moment."""
    body = re.sub(r"req_[0-9a-f]{32}", "REQUEST", answer.text)
    for name, text in names.items():
        body = re.sub(rf"\b{text}\b", name, body)
    headers = {name.lower(): value for name, value in answer.headers.items() if name.lower() not in CHANGING}
    return answer.status_code, body, headers


def test_every_route_has_its_rule(server: RunningServer) -> None:
    """A route that is added later fails here until somebody has said who may call it."""
    document = requests.get(f"{server.url}/openapi.json", timeout=30).json()

    there = {(method.upper(), path) for path, item in document["paths"].items() for method in item}

    assert there - set(RULES) == set(), "say in tests/web/isolation_rules.py who may call these"
    assert set(RULES) - there == set(), "these are no routes any more"


@pytest.mark.parametrize("rule", sorted({rule.scope for rule in RULES.values() if rule.scope}))
def test_each_scope_guards_something(rule: str) -> None:
    """The table speaks of all of them but those whose routes are to come."""
    assert [route for route in GUARDED if RULES[route].scope == rule]


@pytest.mark.parametrize(("method", "path"), OF_TENANTS)
def test_foreign_and_missing_answer_alike(world: World, method: str, path: str) -> None:
    """404, word for word and header for header: nobody learns which ids there are."""
    request = RULES[method, path].request

    foreign = send(world.other, method, path, world.things, **request)
    missing = send(world.other, method, path, world.things | MISSING, **request)

    refused(foreign, 404, "not_found")
    assert told(foreign, world.things) == told(missing, MISSING)


@pytest.mark.parametrize("case", REFERENCES)
def test_a_foreign_thing_cannot_be_used_either(world: World, case: str) -> None:
    """Named in a body or a query, it is as missing as in a path."""
    method, path, request = REFERENCES[case]

    foreign = send(world.other, method, path, world.things, **request)
    missing = send(world.other, method, path, world.things | MISSING, **request)

    assert foreign.status_code == 404 or foreign.json() == {"items": [], "next_cursor": None}
    assert told(foreign, world.things) == told(missing, MISSING)


@pytest.mark.parametrize(
    "path", ["/v1/runs/{run_id}", "/v1/datasets/{name}", "/v1/batches/{batch_id}", "/v1/keys/{key_id}"]
)
def test_foreign_and_missing_take_equally_long(world: World, path: str) -> None:
    """By the medians of calls that take turns; measured up to three times, for something else may have been in the way.
    """
    apart = []
    for _ in range(3):
        seconds: dict[str, list[float]] = {"foreign": [], "missing": []}
        for _ in range(CALLS):
            for kind, names in (("foreign", world.things), ("missing", MISSING)):
                began = time.perf_counter()
                assert send(world.other, "GET", path, names).status_code == 404
                seconds[kind].append(time.perf_counter() - began)
        medians = {kind: statistics.median(found) * 1000 for kind, found in seconds.items()}
        apart.append(abs(medians["foreign"] - medians["missing"]))
        if apart[-1] < APART_MILLISECONDS:
            return

    pytest.fail(f"the medians are {apart} ms apart")


@pytest.mark.parametrize(("method", "path"), GUARDED)
def test_no_route_answers_without_a_key(world: World, method: str, path: str) -> None:
    """401, whatever there is: existing things and missing ones alike."""
    stranger = holder(world.operator, "")
    del stranger.session.headers["Authorization"]

    answers = [send(stranger, method, path, names, **RULES[method, path].request) for names in (world.things, MISSING)]

    for answer in answers:
        refused(answer, 401, "unauthorized")
    assert told(answers[0], world.things) == told(answers[1], MISSING)


@pytest.mark.parametrize(("method", "path"), GUARDED)
def test_no_route_answers_without_its_scope(
    world: World, scopes: dict[str, RunningServer], method: str, path: str
) -> None:
    """403 for a key of the tenant itself that has all other scopes, and for the operator's on a tenant's routes."""
    rule = RULES[method, path]
    assert rule.scope is not None

    answer = send(scopes[rule.scope], method, path, world.things, **rule.request)

    refused(answer, 403, "forbidden", rule.scope)
    if rule.scope != "admin":
        refused(send(world.operator, method, path, world.things, **rule.request), 403, "forbidden", rule.scope)


@pytest.fixture(scope="module")
def scopes(world: World) -> dict[str, RunningServer]:
    """For each scope, a key of the first tenant that has all scopes but this one."""
    every = ["run", "publish", "tenant_admin", "admin"]
    path, found = f"/v1/admin/tenants/{world.things['tenant_id']}/keys", {}
    for scope in every:
        body = {"name": f"all but {scope}", "scopes": [other for other in every if other != scope]}
        found[scope] = holder(world.operator, call(world.operator, "POST", path, body, 201)["key"])
    return found


@pytest.mark.parametrize(("method", "path"), OF_OPERATORS)
def test_what_an_operator_misses_is_missing(world: World, method: str, path: str) -> None:
    """404 for ids that there are not; and a key is found below its own tenant only."""
    request = RULES[method, path].request

    refused(send(world.operator, method, path, world.things | MISSING, **request), 404, "not_found")


def test_whoever_may_is_let_in(world: World) -> None:
    """Every route, once: the tenant to its own things, the operator to everything of its. Those that end something come
    last. What does not fit the state of a thing (409) has been found."""
    wrong = {}
    ordered = sorted(((RULES[route].turn, *route) for route in GUARDED), key=lambda one: one[0])
    try:
        for _, method, path in ordered:
            rule: Rule = RULES[method, path]
            who = world.operator if rule.scope == "admin" else world.first
            answer = send(who, method, path, world.things, **rule.request)
            if answer.status_code not in (200, 201, 202, 204, 409):
                wrong[method, path] = (answer.status_code, answer.text[:300])
    finally:
        world.operator.post("/v1/admin/engine/resume")

    assert wrong == {}


@pytest.mark.parametrize(("method", "path"), [route for route in ROUTES if route in RULES and not RULES[route].scope])
def test_what_needs_no_key_takes_any(world: World, method: str, path: str) -> None:
    """It answers strangers; a key, right or wrong, makes no difference."""
    codes = [
        requests.request(method, world.first.url + path, headers=headers, timeout=30).status_code
        for headers in ({}, {"Authorization": "Bearer none"}, {"Authorization": f"Bearer {world.first.key}"})
    ]

    assert codes == [200] * 3
