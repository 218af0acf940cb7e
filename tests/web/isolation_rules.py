"""One rule for each route of the OpenAPI document: who may call it, what its path names, and a body that it takes.

A route without a rule here fails tests/web/test_isolation.py: whoever adds one says who may call it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from wire import SCRIPT

CSV = {"Content-Type": "text/csv"}
_SCRIPT = {"script": SCRIPT.decode()}
_KEY = {"name": "made by a test", "scopes": ["run"]}


class Rule(NamedTuple):
    """`scope`: what a key needs, None where none is needed. `names`: whose thing the path names: a tenant's own, the
    operator's, or nothing. `request`: what else a good request has. `turn`: in which order a tenant's own things are
    called, for some calls end them."""

    scope: str | None
    names: str = ""
    request: dict[str, Any] = {}
    turn: int = 1


def _run(turn: int = 1, **request: Any) -> Rule:
    return Rule("run", "tenant", request, turn)


def _publish(turn: int = 1, **request: Any) -> Rule:
    return Rule("publish", "tenant", request, turn)


def _plain(scope: str, turn: int = 1, **request: Any) -> Rule:
    return Rule(scope, "", request, turn)


def _admin(turn: int = 1, **request: Any) -> Rule:
    return Rule("admin", "operator", request, turn)


TENANT, TENANT_KEY = "/v1/admin/tenants/{tenant_id}", "/v1/admin/tenants/{tenant_id}/keys/{key_id}"
RULES: dict[tuple[str, str], Rule] = {
    ("GET", "/healthz"): Rule(None),
    ("GET", "/readyz"): Rule(None),
    ("GET", "/v1/receipt-key"): Rule(None),
    ("GET", "/v1/environments"): _plain("run"),
    ("GET", "/v1/runs"): _plain("run"),
    ("POST", "/v1/runs"): _plain("run", json=_SCRIPT),
    ("GET", "/v1/runs/{run_id}"): _run(),
    ("GET", "/v1/runs/{run_id}/output"): _run(),
    ("GET", "/v1/runs/{run_id}/output2"): _run(),
    ("GET", "/v1/runs/{run_id}/comparison"): _run(params={"with": "{run_id}"}),
    ("GET", "/v1/runs/{run_id}/device"): _run(),
    ("GET", "/v1/runs/{run_id}/log"): _run(),
    ("GET", "/v1/runs/{run_id}/images"): _run(),
    ("GET", "/v1/runs/{run_id}/images/{name}"): _run(),
    ("GET", "/v1/runs/{run_id}/receipt"): _run(),
    ("POST", "/v1/runs/{run_id}/cancel"): _run(2),
    ("POST", "/v1/runs/{run_id}/rerun"): _run(2),
    ("DELETE", "/v1/runs/{run_id}"): _run(9),
    ("GET", "/v1/datasets"): _plain("run"),
    ("PUT", "/v1/datasets/{name}"): _plain("run", data=b"a\n3\n", headers=CSV),  # a name of the caller's own
    ("GET", "/v1/datasets/{name}"): _run(),
    ("GET", "/v1/datasets/{name}/versions"): _run(),
    ("GET", "/v1/datasets/{name}/data"): _run(),
    ("GET", "/v1/datasets/{name}/preview"): _run(),
    ("GET", "/v1/datasets/{name}/statistics"): _run(),
    ("DELETE", "/v1/datasets/{name}"): _run(9),
    ("GET", "/v1/batches"): _plain("run"),
    ("POST", "/v1/batches"): _plain("run", json=_SCRIPT | {"batch": {"datasets": [{"dataset": "{name}"}]}}),
    ("GET", "/v1/batches/{batch_id}"): _run(),
    ("GET", "/v1/batches/{batch_id}/items"): _run(),
    ("GET", "/v1/batches/{batch_id}/output"): _run(),
    ("POST", "/v1/batches/{batch_id}/cancel"): _run(2),
    ("POST", "/v1/batches/{batch_id}/retry"): _run(3),
    ("DELETE", "/v1/batches/{batch_id}"): _run(9),
    ("GET", "/v1/scripts"): _plain("run"),
    ("PUT", "/v1/scripts/{name}"): _plain("publish", json=_SCRIPT),  # a name of the caller's own
    ("GET", "/v1/scripts/{name}"): _run(),
    ("GET", "/v1/scripts/{name}/bundle"): _run(params={"which": "1"}),
    ("GET", "/v1/scripts/{name}/source"): _run(),
    ("GET", "/v1/scripts/{name}/versions"): _run(),
    ("GET", "/v1/scripts/{name}/versions/{version}"): _run(),
    ("PUT", "/v1/scripts/{name}/tags/{tag}"): _publish(2, json={"version": 1}),
    ("DELETE", "/v1/scripts/{name}/tags/{tag}"): _publish(3),
    ("DELETE", "/v1/scripts/{name}"): _publish(9),
    ("GET", "/v1/endpoints"): _plain("run"),
    ("PUT", "/v1/endpoints/{name}"): _publish(json={"script": "{name}"}),  # of a script of the caller's own
    ("GET", "/v1/endpoints/{name}"): _run(),
    ("GET", "/v1/endpoints/{name}/usage"): _run(),
    ("GET", "/v1/endpoints/{name}/openapi.json"): _run(),
    ("POST", "/v1/endpoints/{name}/call"): _run(json=[{"a": 1}]),
    ("POST", "/v1/endpoints/{name}/rollback"): _publish(),
    ("POST", "/v1/endpoints/{name}/keys/{which}/regenerate"): _publish(2),
    ("DELETE", "/v1/endpoints/{name}"): _publish(8),
    ("GET", "/v1/keys"): _plain("tenant_admin"),
    ("POST", "/v1/keys"): _plain("tenant_admin", json=_KEY),
    ("GET", "/v1/keys/{key_id}"): Rule("tenant_admin", "tenant"),
    ("POST", "/v1/keys/{key_id}/rotate"): Rule("tenant_admin", "tenant", {}, 2),
    ("DELETE", "/v1/keys/{key_id}"): Rule("tenant_admin", "tenant", {}, 9),
    ("GET", "/v1/usage"): _plain("tenant_admin"),
    ("GET", "/v1/admin/tenants"): _plain("admin"),
    ("POST", "/v1/admin/tenants"): _plain("admin", json={"name": "made by the isolation test"}),
    ("GET", TENANT): _admin(),
    ("PATCH", TENANT): _admin(json={}),
    ("POST", f"{TENANT}/suspend"): _admin(10),
    ("POST", f"{TENANT}/resume"): _admin(11),
    ("DELETE", TENANT): _admin(12),
    ("GET", f"{TENANT}/keys"): _admin(),
    ("POST", f"{TENANT}/keys"): _admin(json=_KEY),
    ("GET", TENANT_KEY): _admin(),
    ("POST", f"{TENANT_KEY}/rotate"): _admin(2),
    ("DELETE", TENANT_KEY): _admin(3),
    ("GET", "/v1/admin/runs"): _plain("admin"),
    ("POST", "/v1/admin/runs/{run_id}/kill"): _admin(),
    ("GET", "/v1/admin/engine"): _plain("admin"),
    ("POST", "/v1/admin/engine/drain"): _plain("admin", 5),
    ("POST", "/v1/admin/engine/maintenance"): _plain("admin", 6, json={"message": "a test"}),
    ("POST", "/v1/admin/engine/resume"): _plain("admin", 7),
    ("POST", "/v1/admin/sweep"): _plain("admin"),
    ("GET", "/v1/admin/environments"): _plain("admin"),
    ("GET", "/v1/admin/usage"): _plain("admin"),
    ("GET", "/v1/admin/audit"): _plain("admin"),
    ("GET", "/v1/admin/audit/export"): _plain("admin"),
}

REFERENCES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "a run takes a dataset": ("POST", "/v1/runs", {"json": _SCRIPT | {"dataframe1": {"dataset": "{name}"}}}),
    "a batch takes a dataset": (
        "POST", "/v1/batches", {"json": _SCRIPT | {"batch": {"datasets": [{"dataset": "{name}"}]}}}
    ),
    "a run takes a script": ("POST", "/v1/runs", {"json": {"script_ref": "{name}"}}),
    "a run takes a script's version": ("POST", "/v1/runs", {"json": {"script_ref": "{name}@1"}}),
    "a batch takes a script": (
        "POST", "/v1/batches", {"json": {"script_ref": "{name}", "batch": {"datasets": [{"dataset": "{name}"}]}}}
    ),
    "an endpoint serves a script": ("PUT", "/v1/endpoints/new", {"json": {"script": "{name}"}}),
    "a comparison with a run": ("GET", "/v1/runs/{own_run_id}/comparison", {"params": {"with": "{run_id}"}}),
    "a list of an endpoint's runs": ("GET", "/v1/runs", {"params": {"endpoint": "{endpoint_id}"}}),
    "a list of a batch's runs": ("GET", "/v1/runs", {"params": {"batch": "{batch_id}"}}),
}  # fmt: skip
"""Requests that name another thing elsewhere than in their path."""


def filled(value: Any, names: dict[str, str]) -> Any:
    """The value with each {placeholder} in it replaced, at any depth."""
    if isinstance(value, str):
        for name, text in names.items():
            value = value.replace("{" + name + "}", text)
    elif isinstance(value, dict):
        return {key: filled(child, names) for key, child in value.items()}
    elif isinstance(value, list):
        return [filled(child, names) for child in value]
    return value
