"""What tests of tenants, keys and the operator share: JSON calls, and an operator's hands on a server."""

from __future__ import annotations

import dataclasses
from typing import Any

import requests
from wire import SLEEPER, refused

from tests.running import RunningServer, until


def holder(server: RunningServer, key: str) -> RunningServer:
    """The same server in the hands of whoever has this key."""
    other = dataclasses.replace(server, key=key, session=requests.Session())
    other.session.hooks = server.session.hooks
    return other


def call(who: RunningServer, method: str, path: str, body: Any = None, status: int = 200) -> Any:
    """One request with a JSON body, and its JSON answer of this status."""
    answer = who.request(method, path, **({} if body is None else {"json": body}))
    assert answer.status_code == status, answer.text
    return answer.json() if answer.content else None


def new_tenant(operator: RunningServer, name: str, quotas: dict[str, Any] | None = None) -> tuple[Any, RunningServer]:
    """A tenant made as an operator makes it, and its hands: a key with the scopes `run`, `tenant_admin`."""
    body = {"name": name} | ({"quotas": quotas} if quotas else {})
    tenant = call(operator, "POST", "/v1/admin/tenants", body, 201)
    scopes = ["run", "publish", "tenant_admin"]
    key = call(operator, "POST", f"/v1/admin/tenants/{tenant['id']}/keys", {"name": name, "scopes": scopes}, 201)
    return tenant, holder(operator, key["key"])


def sleeping(who: RunningServer) -> Any:
    """A run of a minute, that is being executed."""
    run = who.submit(SLEEPER, wait=0)
    assert until(lambda: who.get(f"/v1/runs/{run['id']}").json()["status"] == "running", 20)
    return run


def over_quota(answer: Any, code: str, quota: str, status: int = 429) -> dict[str, Any]:
    """Assert that this is the refusal of a quota, with its numbers and headers."""
    problem = refused(answer, status, code)
    assert problem["quota"] == quota
    assert {"limit", "value", "used"} <= set(problem)
    if status == 429:
        assert int(answer.headers["Retry-After"]) >= 1
        assert float(answer.headers["RateLimit-Limit"]) == problem["limit"]
        assert answer.headers["RateLimit-Remaining"] == "0"
        assert answer.headers["RateLimit-Reset"] == answer.headers["Retry-After"]
    return problem
