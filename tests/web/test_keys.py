"""/v1/keys: a tenant's own keys: made, rotated, revoked, shown once, and never more than their maker."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hosting import call, holder
from wire import refused

from tests.running import until

if TYPE_CHECKING:
    from tests.running import RunningServer

RUN = {"name": "a", "scopes": ["run"]}


@pytest.fixture
def tenant(make_tenant: Callable[..., RunningServer]) -> RunningServer:
    return make_tenant(("run", "tenant_admin"))


def test_a_key_is_shown_once_and_works(server: RunningServer, tenant: RunningServer) -> None:
    """With its scopes and no others; neither list nor database nor log have its secret."""
    made = call(tenant, "POST", "/v1/keys", RUN, 201)
    mine = holder(tenant, made["key"])

    assert mine.get("/v1/runs").status_code == 200
    refused(mine.get("/v1/keys"), 403, "forbidden", "tenant_admin")
    listed = call(tenant, "GET", "/v1/keys")["items"]
    assert listed[0]["id"] == made["id"]
    shown = call(tenant, "GET", f"/v1/keys/{made['id']}")
    assert {**shown, "last_used_at": None} == {name: value for name, value in made.items() if name != "key"}
    secret = made["key"].split("_")[2].encode()
    everywhere = [*server.data_dir.glob("airlock.db*"), server.log_path]
    assert not [path for path in everywhere if secret in path.read_bytes()]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"name": "a"}, ["scopes"]),
        ({"name": "a", "scopes": []}, ["scopes"]),
        ({"name": "a", "scopes": ["root"]}, ["root"]),
        ({"name": "a\n", "scopes": ["run"]}, ["name"]),
        ({"name": "", "scopes": ["run"]}, ["name"]),
        (RUN | {"expires_at": "2001-01-01T00:00:00Z"}, ["past"]),
        (RUN | {"expires_at": "2101-01-01T00:00:00"}, ["timezone"]),
        (RUN | {"tenant_id": "ten_x"}, ["tenant_id"]),
        ([], ["object"]),
    ],
    ids=str,
)
def test_a_faulty_key_is_refused(tenant: RunningServer, body: Any, words: list[str]) -> None:
    """With the field's name."""
    refused(tenant.post("/v1/keys", json=body), 422, "invalid_request", *words)


def test_a_key_gives_no_scope_that_its_maker_does_not_hold(tenant: RunningServer) -> None:
    """Neither to a new key nor by rotating one that has more."""
    refused(tenant.post("/v1/keys", json={"name": "a", "scopes": ["run", "admin"]}), 403, "scope_not_held", "admin")
    key = call(tenant, "POST", "/v1/keys", {"name": "a", "scopes": ["tenant_admin"]}, 201)
    weaker = holder(tenant, key["key"])

    refused(weaker.post(f"/v1/keys/{tenant.key.split('_')[1]}/rotate"), 403, "scope_not_held", "run")


def test_an_operators_key_is_revoked_by_operators_only(make_tenant: Callable[..., RunningServer]) -> None:
    """Whoever administers no more than the operator's own tenant cannot take the operator's key away."""
    operator = make_tenant(("run", "tenant_admin", "admin"))
    theirs = call(operator, "POST", "/v1/keys", {"name": "a", "scopes": ["tenant_admin"]}, 201)
    spare = call(operator, "POST", "/v1/keys", {"name": "b", "scopes": ["admin"]}, 201)
    weaker = holder(operator, theirs["key"])

    for id in (operator.key.split("_")[1], spare["id"]):
        refused(weaker.request("DELETE", f"/v1/keys/{id}"), 403, "scope_not_held", "admin")
        assert call(operator, "GET", f"/v1/keys/{id}")["live"]

    call(operator, "DELETE", f"/v1/keys/{spare['id']}", status=204)
    call(weaker, "DELETE", f"/v1/keys/{theirs['id']}", status=204)
    refused(weaker.get("/v1/keys"), 401, "unauthorized")


def test_two_keys_live_during_a_rotation(tenant: RunningServer) -> None:
    """The old one to the end of its grace; it is rotated once."""
    old = call(tenant, "POST", "/v1/keys", RUN, 201)

    new = call(tenant, "POST", f"/v1/keys/{old['id']}/rotate", {"grace_seconds": 2}, 201)

    both = [holder(tenant, key["key"]) for key in (old, new)]
    assert [one.get("/v1/runs").status_code for one in both] == [200, 200]
    assert call(tenant, "GET", f"/v1/keys/{old['id']}")["replaced_by"] == new["id"]
    assert (new["name"], new["scopes"], new["expires_at"]) == (old["name"], old["scopes"], None)
    refused(tenant.post(f"/v1/keys/{old['id']}/rotate"), 409, "key_ended")
    assert until(lambda: both[0].get("/v1/runs").status_code == 401, 10)
    assert both[1].get("/v1/runs").status_code == 200


def test_a_successor_lives_as_long_as_its_key_was_to_live(tenant: RunningServer) -> None:
    """A key for an hour does not become one for ever by being rotated."""
    end = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    old = call(tenant, "POST", "/v1/keys", RUN | {"expires_at": end}, 201)

    new = call(tenant, "POST", f"/v1/keys/{old['id']}/rotate", None, 201)

    left = datetime.fromisoformat(new["expires_at"]) - datetime.fromisoformat(new["created_at"])
    assert abs(left.total_seconds() - 3600) < 5


def test_a_successor_lives_no_longer_than_the_calendar(tenant: RunningServer) -> None:
    """A key that ends with the year 9999 is rotated to one that does so too."""
    old = call(tenant, "POST", "/v1/keys", RUN | {"expires_at": "9999-12-31T23:59:59.999999Z"}, 201)

    new = call(tenant, "POST", f"/v1/keys/{old['id']}/rotate", None, 201)

    assert new["expires_at"] == old["expires_at"] == "9999-12-31T23:59:59.999999Z"


def test_a_revoked_key_is_refused_from_the_next_request_on(tenant: RunningServer) -> None:
    """A second later at most, everywhere; twice is once."""
    made = call(tenant, "POST", "/v1/keys", RUN, 201)
    mine = holder(tenant, made["key"])
    assert mine.get("/v1/runs").status_code == 200

    for _ in range(2):
        call(tenant, "DELETE", f"/v1/keys/{made['id']}", status=204)

    refused(mine.get("/v1/runs"), 401, "unauthorized", "revoked")
    shown = call(tenant, "GET", f"/v1/keys/{made['id']}")
    assert (shown["live"], shown["revoked_at"] is not None) == (False, True)


def test_the_last_use_of_a_key_is_known(tenant: RunningServer) -> None:
    """Within seconds; a refused request with a wrong secret is no use."""
    made = call(tenant, "POST", "/v1/keys", RUN, 201)

    def last() -> Any:
        return call(tenant, "GET", f"/v1/keys/{made['id']}")["last_used_at"]

    assert last() is None
    holder(tenant, made["key"]).get("/v1/runs")
    assert until(lambda: last() is not None, 10)


def test_the_number_of_live_keys_is_bounded(make_server: Callable[..., RunningServer]) -> None:
    """429 with the limit; a revoked one makes room; rotations pass the limit by one."""
    server = make_server("keys", AIRLOCK_MAX_KEYS="2", AIRLOCK_WARM_CONTAINERS="0")
    second = call(server, "POST", "/v1/keys", RUN, 201)

    problem = refused(server.post("/v1/keys", json=RUN), 429, "too_many_keys")
    call(server, "DELETE", f"/v1/keys/{second['id']}", status=204)

    assert (problem["limit"], problem["quota"]) == (2, "keys")
    third = call(server, "POST", "/v1/keys", RUN, 201)
    fourth = call(server, "POST", f"/v1/keys/{third['id']}/rotate", None, 201)
    problem = refused(server.post(f"/v1/keys/{fourth['id']}/rotate"), 429, "too_many_keys", "rotated")
    assert (problem["limit"], problem["used"]) == (2, 3)
    call(server, "DELETE", f"/v1/keys/{third['id']}", status=204)
    call(server, "POST", f"/v1/keys/{fourth['id']}/rotate", None, 201)
    refused(server.request("DELETE", f"/v1/keys/{server.key.split('_')[1]}"), 409, "last_admin_key")


def test_a_key_in_the_key_file_is_the_first(make_server: Callable[..., RunningServer], tmp_path: Any) -> None:
    """Nobody has to fetch one from a log; and there is no other."""
    from controller.services.key_text import mint

    own = mint("alk", b"elsewhere").text
    (tmp_path / "own.key").write_text(own + "\n")

    server = make_server("own", AIRLOCK_WARM_CONTAINERS="0")

    assert server.key == own
    assert [key["id"] for key in call(server, "GET", "/v1/keys")["items"]] == [own.split("_")[1]]
