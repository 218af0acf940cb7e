"""What tenants publish, cancel and delete is on record; what they submit, and what changes nothing, is not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from batch_calls import FAILS_ON_4, cities, done
from endpoint_calls import keep, publish
from hosting import call

if TYPE_CHECKING:
    from tests.running import RunningServer


def test_what_tenants_change_is_on_record(make_tenant: Any, server: RunningServer) -> None:
    """Each change has a row with its key, and a request that was in vain has none."""
    tenant = make_tenant()
    ask = tenant.request
    run = tenant.submit("def azureml_main(): pass")
    cities(tenant)
    batch = done(tenant, FAILS_ON_4, {"dataset": "cities", "rows": 3})
    keep(tenant, "s", sample=None)
    keep(tenant, "s", sample=None)  # the same again is no change
    publish(tenant, "e", "s@1").call([{"n": 1}])
    ask("PUT", "/v1/scripts/s/tags/t", json={"version": 1})
    for method, path in (
        ("POST", "/v1/endpoints/e/rollback"),  # in vain: it never served anything else
        ("POST", "/v1/endpoints/e/keys/primary/regenerate"),
        ("DELETE", "/v1/scripts/s"),  # in vain: it is served
        ("DELETE", "/v1/endpoints/e"),
        ("DELETE", "/v1/endpoints/e"),  # in vain: it is gone
        ("DELETE", "/v1/scripts/s/tags/t"),
        ("DELETE", "/v1/scripts/s"),
        ("POST", f"/v1/runs/{run['id']}/cancel"),  # in vain: it has ended
        ("DELETE", f"/v1/runs/{run['id']}"),
        ("POST", f"/v1/batches/{batch['id']}/retry"),
        ("POST", f"/v1/batches/{batch['id']}/cancel"),
    ):
        ask(method, path)
    ask("GET", f"/v1/batches/{batch['id']}?wait=60")
    ask("DELETE", f"/v1/batches/{batch['id']}")
    ask("DELETE", "/v1/datasets/cities")

    own = call(tenant, "GET", "/v1/keys")["items"][0]
    rows = [row for row in call(server, "GET", "/v1/admin/audit?limit=100")["items"] if row["key_id"] == own["id"]]

    assert [row["action"] for row in reversed(rows)] == [
        "script.put",
        "endpoint.publish",
        "script.tag",
        "endpoint.regenerate",
        "endpoint.delete",
        "script.untag",
        "script.delete",
        "run.delete",
        "batch.retry",
        "batch.cancel",
        "batch.delete",
        "dataset.delete",
    ]
    assert all((row["tenant_id"], row["address"]) == (own["tenant_id"], "127.0.0.1") for row in rows)
    assert all(row["request_id"].startswith("req_") for row in rows)
    assert rows[-1]["details"] == {"name": "s"}
