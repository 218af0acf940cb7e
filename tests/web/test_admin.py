"""/v1/admin: tenants made, changed, suspended and deleted with all their data; everybody's runs; the server's state."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest
from endpoint_calls import keep, publish
from hosting import call, holder, new_tenant, sleeping
from wire import SCRIPT, refused

from tests.running import free_port, until

if TYPE_CHECKING:
    from tests.running import RunningServer

TENANTS = "/v1/admin/tenants"
OK = "def azureml_main(a=None, b=None):\n    return a\n"


@pytest.fixture
def named(request: pytest.FixtureRequest) -> str:
    """A name for a tenant that no other test gives."""
    return f"admin {request.node.name}".replace("[", "-").replace("]", "")[:90]


def test_a_tenant_is_made_shown_and_changed(server: RunningServer, named: str) -> None:
    """Quotas that are set, and no others; null is no bound; `{}` gives them back."""
    tenant, _ = new_tenant(server, named, {"cpus": 0.5, "stored_bytes": None})
    path = f"{TENANTS}/{tenant['id']}"

    assert tenant["quotas"] == {"cpus": 0.5, "stored_bytes": None}
    assert call(server, "GET", path) == tenant
    changed = call(server, "PATCH", path, {"name": named + "2", "quotas": {"queued_runs": 5}})
    assert (changed["name"], changed["quotas"]) == (named + "2", {"queued_runs": 5})
    assert call(server, "PATCH", path, {"quotas": {}})["quotas"] == {}
    assert call(server, "PATCH", path, {})["name"] == named + "2"
    ids = {one["id"] for one in call(server, "GET", f"{TENANTS}?limit=100")["items"]}
    assert tenant["id"] in ids


def test_faulty_tenants_are_refused(server: RunningServer, named: str) -> None:
    """A name twice, none, or one that is no line; a quota that is none."""
    new_tenant(server, named)

    refused(server.post(TENANTS, json={"name": named}), 409, "name_taken", named)
    for body, word in (
        ({}, "name"),
        ({"name": "a\x00"}, "name"),
        ({"name": "x", "quotas": {"cpus": 0}}, "quotas.cpus"),
        ({"name": "x", "quotas": {"cpu": 1}}, "quotas.cpu"),
        ({"name": "x", "quotas": {"memory_bytes": 1000}}, "quotas.memory_bytes"),
    ):
        refused(server.post(TENANTS, json=body), 422, "invalid_request", word)
    answer = server.post(TENANTS, data=b"name=x", headers={"Content-Type": "text/plain"})
    refused(answer, 415, "unsupported_format")
    answer = server.post(TENANTS, data=b"{" + b" " * 300_000, headers={"Content-Type": "application/json"})
    refused(answer, 413, "too_large")


def test_a_suspended_tenant_is_let_in_again(server: RunningServer, named: str) -> None:
    """403 at once, whatever it asks; nothing of it begins; and it goes on where it was."""
    tenant, mine = new_tenant(server, named, {"concurrent_runs": 1})
    keep(mine, "served", sample=None)
    service = publish(mine, "served")
    assert service.call([{"n": 1, "x": 1}]).status_code == 200
    running = sleeping(mine)
    waiting = mine.submit(OK, wait=0)
    path = f"{TENANTS}/{tenant['id']}"

    suspended = call(server, "POST", f"{path}/suspend")

    assert (suspended["status"], suspended["suspended_at"] is not None) == ("suspended", True)
    refused(mine.get("/v1/runs"), 403, "tenant_suspended", "operator")
    refused(mine.get("/v1/keys"), 403, "tenant_suspended")
    refused(service.call([{"n": 1, "x": 1}]), 403, "tenant_suspended")
    assert service.execute({}).status_code == 403
    call(server, "POST", f"/v1/admin/runs/{running['id']}/kill", status=202)
    listed = call(server, "GET", f"/v1/admin/runs?tenant={tenant['id']}&status=queued")["items"]
    assert [run["id"] for run in listed] == [waiting["id"]]
    assert call(server, "POST", f"{path}/resume")["status"] == "active"
    assert mine.get(f"/v1/runs/{waiting['id']}?wait=60").json()["status"] == "succeeded"
    assert mine.get(f"/v1/runs/{running['id']}").json()["status"] == "cancelled"


def test_a_deleted_tenant_leaves_nothing(server: RunningServer, named: str) -> None:
    """Runs, one of them at work, a dataset, a batch: rows and files are gone, and its keys with them; a neighbour's
    run is where it was."""
    tenant, mine = new_tenant(server, named)
    _, neighbour = new_tenant(server, named + " b")
    kept = neighbour.submit(OK)
    mine.submit(OK)
    put = mine.request("PUT", "/v1/datasets/d?wait=60", data=b"a\n1\n2\n", headers={"Content-Type": "text/csv"})
    assert put.json()["status"] == "ready", put.text
    batch = {"script": SCRIPT.decode(), "batch": {"datasets": [{"dataset": "d"}]}}
    batch_id = call(mine, "POST", "/v1/batches?wait=60", batch)["id"]
    keep(mine, "kept", sample=None)
    service = publish(mine, "kept")
    sleeping(mine)
    path = f"{TENANTS}/{tenant['id']}"
    folders = [server.data_dir / name for name in ("runs", "batches", "scripts")]
    scripts = {one.name for one in folders[2].iterdir() if b"params.get" in (one / "in" / "script.py").read_bytes()}
    runs = call(server, "GET", f"/v1/admin/runs?tenant={tenant['id']}")["items"]
    ids = {run["id"] for run in runs} | {batch_id}
    assert len(ids & {one.name for folder in folders for one in folder.iterdir()}) == len(ids) == 5

    first = call(server, "DELETE", path, status=202)

    assert first["status"] == "deleting"
    refused(mine.get("/v1/runs"), 401, "unauthorized", "unknown")
    assert server.request("DELETE", path).status_code in (202, 404)  # sent again
    assert until(lambda: server.get(path).status_code == 404, 30)
    refused(server.request("DELETE", path), 404, "not_found", "no tenant")
    assert not ids & {one.name for folder in folders for one in folder.iterdir()}
    refused(service.call([{"n": 1}]), 401, "unauthorized")
    left = {one.name for one in folders[2].iterdir()}
    assert len(scripts - left) == 1
    assert call(server, "GET", f"/v1/admin/runs?tenant={tenant['id']}")["items"] == []
    assert neighbour.get(f"/v1/runs/{kept['id']}/output").status_code == 200
    actions = call(server, "GET", "/v1/admin/audit?limit=1000")["items"]
    assert [row["action"] for row in actions if row["subject"] == tenant["id"]] == [
        "tenant.deleted", "tenant.delete", "tenant.create"
    ]  # fmt: skip


def test_a_deletion_goes_on_after_a_kill(make_server: Callable[..., RunningServer]) -> None:
    """A server that is killed while it deletes takes it up again, and nothing is left in the end."""
    settings = {"AIRLOCK_WARM_CONTAINERS": "0", "AIRLOCK_WORKERS": "2"}
    server = make_server("killed", **settings)
    tenant, mine = new_tenant(server, "to be deleted")
    mine.submit(OK)
    sleeping(mine)
    for _ in range(20):
        mine.submit(OK, wait=0)
    assert call(server, "DELETE", f"{TENANTS}/{tenant['id']}", status=202)["status"] == "deleting"
    server.stop(signal.SIGKILL)

    again = make_server("killed", key=server.key, **settings)

    assert until(lambda: again.get(f"{TENANTS}/{tenant['id']}").status_code == 404, 60)
    assert call(again, "GET", "/v1/admin/runs")["items"] == []
    assert until(lambda: not any((again.data_dir / "runs").iterdir()))
    assert again.gone()
    assert again.submit(OK)["status"] == "succeeded"


def test_an_operator_does_not_lock_itself_out(server: RunningServer) -> None:
    """Neither suspends nor deletes the tenant of the key in use."""
    mine = call(server, "GET", "/v1/keys")["items"][0]["tenant_id"]

    refused(server.post(f"{TENANTS}/{mine}/suspend"), 409, "own_tenant")
    refused(server.request("DELETE", f"{TENANTS}/{mine}"), 409, "own_tenant")


def test_the_keys_of_a_tenant_are_the_operators_too(server: RunningServer, named: str) -> None:
    """Made with any scope, rotated, revoked; a key is found by its own tenant only."""
    tenant, _ = new_tenant(server, named)
    path = f"{TENANTS}/{tenant['id']}/keys"
    key = call(server, "POST", path, {"name": "ops", "scopes": ["admin"]}, 201)
    other = call(server, "GET", "/v1/keys")["items"][0]["id"]

    new = call(server, "POST", f"{path}/{key['id']}/rotate", {"grace_seconds": 0}, 201)

    refused(holder(server, key["key"]).get(TENANTS), 401, "unauthorized")
    assert holder(server, new["key"]).get(TENANTS).status_code == 200
    assert call(server, "GET", f"{path}/{key['id']}")["replaced_by"] == new["id"]
    refused(server.get(f"{path}/{other}"), 404, "not_found")
    call(server, "DELETE", f"{path}/{new['id']}", status=204)
    refused(holder(server, new["key"]).get(TENANTS), 401, "unauthorized")
    assert len(call(server, "GET", path)["items"]) == 3
    refused(server.get(f"{TENANTS}/ten_{'0' * 32}/keys"), 404, "not_found")


def test_everybodys_runs_show_figures_and_nothing_that_a_tenant_wrote(server: RunningServer, named: str) -> None:
    """Listed with filters, page after page; killed by id."""
    tenant, mine = new_tenant(server, named)
    run = mine.submit("def azureml_main(a=None, b=None):\n    raise ValueError('our secret')\n")

    answer = server.get(f"/v1/admin/runs?tenant={tenant['id']}&limit=1")

    shown = answer.json()["items"][0]
    assert (shown["id"], shown["tenant_id"], shown["status"]) == (run["id"], tenant["id"], "failed")
    assert (shown["task"], shown["reason"]) == ("run", "script_error")
    assert "our secret" not in answer.text
    assert call(server, "GET", f"/v1/admin/runs?tenant={tenant['id']}&status=queued")["items"] == []
    first = call(server, "GET", "/v1/admin/runs?limit=1")
    second = call(server, "GET", f"/v1/admin/runs?limit=1&cursor={first['next_cursor']}")
    assert first["items"][0]["id"] != second["items"][0]["id"]
    refused(server.post(f"/v1/admin/runs/{run['id']}/kill"), 409, "conflict", "ended")
    refused(server.post(f"/v1/admin/runs/run_{'0' * 32}/kill"), 404, "not_found")


def test_the_engine_the_images_and_the_leftovers(server: RunningServer) -> None:
    """Versions and the walls in force; which image an environment is; a sweep."""
    engine = call(server, "GET", "/v1/admin/engine")
    environment = call(server, "GET", "/v1/admin/environments")["items"][0]

    assert (engine["mode"]["mode"], engine["engine_error"]) == ("open", None)
    assert engine["engine"]["image_digest"] == environment["digest"]
    assert all(isinstance(on, bool) for on in engine["engine"]["controls"].values())
    assert (environment["name"], environment["default"]) == ("default", True)
    assert environment["packages"] > 20
    assert call(server, "POST", "/v1/admin/sweep")["removed"] == 0


def test_use_is_known_by_tenant_and_day(server: RunningServer, named: str) -> None:
    """To the operator of all, to a tenant its own."""
    tenant, mine = new_tenant(server, named, {"stored_bytes": 10**9})
    run = mine.submit(OK)

    usage = call(mine, "GET", "/v1/usage")
    days = call(server, "GET", f"/v1/admin/usage?tenant={tenant['id']}")["items"]

    assert (usage["runs"], usage["queued_runs"], usage["running_runs"]) == (1, 0, 0)
    assert usage["run_seconds"] == pytest.approx(run["usage"]["wall_seconds"])
    assert usage["stored_bytes"] > 0
    assert usage["quotas"]["stored_bytes"] == 10**9
    assert [(day["tenant_id"], day["day"], day["runs"]) for day in days] == [(tenant["id"], usage["day"], 1)]
    assert call(server, "GET", f"/v1/admin/usage?tenant={tenant['id']}&since=2999-01-01")["items"] == []
    first = call(server, "GET", "/v1/admin/usage?limit=1")
    if first["next_cursor"]:
        second = call(server, "GET", f"/v1/admin/usage?limit=1&cursor={first['next_cursor']}")
        assert second["items"] != first["items"]


@pytest.fixture(scope="module")
def apart(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], RunningServer]]:
    """A server whose admin routes have an address of their own; called again, it is started again."""
    from tests.running import start_server

    folder, running, port = tmp_path_factory.mktemp("apart"), [], free_port()
    settings = {
        "AIRLOCK_ADMIN_HOST": "127.0.0.1",
        "AIRLOCK_ADMIN_PORT": str(port),
        "AIRLOCK_WARM_CONTAINERS": "0",
        "AIRLOCK_WORKERS": "1",
    }

    def start() -> RunningServer:
        for one in running:
            one.stop()
        running.append(start_server(folder / "data", settings))
        running[-1].operator_url = f"http://127.0.0.1:{port}"
        return running[-1]

    yield start
    running[-1].stop()


def operated(server: RunningServer, method: str, path: str, body: Any = None) -> Any:
    answer = server.session.request(method, server.operator_url + path, json=body, timeout=60)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_draining_and_maintenance_survive_a_restart(apart: Callable[[], RunningServer]) -> None:
    """Draining: nothing is accepted and nothing begins. Maintenance: the operator's words, and what was accepted goes
    on. Reading works in both, and the public address does not know the operator's routes."""
    server = apart()
    refused(server.get("/v1/admin/engine"), 404, "not_found", "nothing at this path")
    refused(server.get("/v1/admin/nothing"), 404, "not_found")
    running, waiting = sleeping(server), server.submit(OK, wait=0)

    assert operated(server, "POST", "/v1/admin/engine/drain")["mode"] == "draining"
    refused(server.post("/v1/runs", json={"script": OK}), 503, "draining")
    server.post(f"/v1/runs/{running['id']}/cancel")
    assert until(lambda: operated(server, "GET", "/v1/admin/engine")["running_runs"] == 0)
    server = apart()

    engine = operated(server, "GET", "/v1/admin/engine")
    assert (engine["mode"]["mode"], engine["queued_runs"]) == ("draining", 1)
    assert server.get(f"/v1/runs/{waiting['id']}?wait=2").json()["status"] == "queued"
    body = {"message": "new disks until noon", "retry_seconds": 1200}
    assert operated(server, "POST", "/v1/admin/engine/maintenance", body)["mode"] == "maintenance"
    assert server.get(f"/v1/runs/{waiting['id']}?wait=60").json()["status"] == "succeeded"
    server = apart()
    for path, sent in (("/v1/runs", {"script": OK}), (f"/v1/runs/{waiting['id']}/rerun", None)):
        answer = server.post(path, json=sent)
        refused(answer, 503, "maintenance", "new disks until noon")
        assert answer.headers["Retry-After"] == "1200"
    put = server.request("PUT", "/v1/datasets/d", data=b"a\n1\n", headers={"Content-Type": "text/csv"})
    refused(put, 503, "maintenance")
    assert server.get(f"/v1/runs/{waiting['id']}/output").status_code == 200
    assert operated(server, "POST", "/v1/admin/engine/resume")["message"] is None
    assert server.submit(OK)["status"] == "succeeded"


@pytest.mark.parametrize(
    "half",
    [
        {"AIRLOCK_ADMIN_HOST": "127.0.0.1"},
        {"AIRLOCK_ADMIN_PORT": "8751"},
        {"AIRLOCK_ADMIN_HOST": "127.0.0.1", "AIRLOCK_ADMIN_PORT": "8750", "AIRLOCK_PORT": "8750"},
    ],
    ids=str,
)
def test_half_an_address_is_refused(half: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The operator would believe that the routes are somewhere else. And the same port is no other address."""
    from controller.config import Settings

    for name, value in half.items():
        monkeypatch.setenv(name, value)

    with pytest.raises(ValueError, match="admin_"):
        Settings()
