"""Clients that are slow, silent, many or gone cost the server little, and nobody else anything."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import requests
from callers import add_tenant
from endpoint_calls import keep, publish

from tests.running import RunningServer, until

QUICK = "import pandas as pd\ndef azureml_main(): return pd.DataFrame({'a': [1]})"
SLEEPER = "import time\nprint('asleep', flush=True)\ntime.sleep(60)\ndef azureml_main(): pass"


def asleep(server: RunningServer) -> tuple[Any, str]:
    """A run that sleeps for a minute, and the address of its log."""
    run = server.post("/v1/runs", files={"script": SLEEPER}).json()
    log = f"/v1/runs/{run['id']}/log"
    assert until(lambda: "asleep" in server.get(log).text, 30)
    return run, log


@contextmanager
def connections(server: RunningServer, count: int, first_bytes: bytes = b"") -> Iterator[list[socket.socket]]:
    """So many open connections, each of which has sent this and nothing more."""
    address = ("127.0.0.1", int(server.url.rpartition(":")[2]))
    with ExitStack() as stack:
        opened = [stack.enter_context(socket.create_connection(address, timeout=30)) for _ in range(count)]
        for one in opened:
            one.sendall(first_bytes)
        yield opened


def healthy(server: RunningServer) -> bool:
    try:
        return requests.get(f"{server.url}/healthz", timeout=2).status_code == 200
    except requests.RequestException:
        return False


def test_a_thousand_idle_connections_hurt_no_run(make_server: Callable[..., RunningServer]) -> None:
    """Runs go on, though descriptors pass 1023; and the server answers."""
    server = make_server()
    with connections(server, 1000):
        runs = [server.submit(QUICK) for _ in range(3)]

        assert [run["status"] for run in runs] == ["succeeded"] * 3
        assert healthy(server)


def test_requests_that_never_come_to_their_end_are_hung_up_on(make_server: Callable[..., RunningServer]) -> None:
    """More half requests than there are threads: after a quarter of a minute everybody else is served again."""
    server = make_server(AIRLOCK_THREADS="8")
    with connections(server, 20, b"GET /healthz HTTP/1.1\r\nHo") as opened:
        held = not healthy(server)

        assert until(lambda: healthy(server), 45)
        ended = [one.recv(100) for one in opened[:8]]

    assert held
    assert ended == [b""] * 8


def test_followers_have_a_bound_and_those_that_are_gone_make_room(make_server: Callable[..., RunningServer]) -> None:
    """Half of the threads may wait, for one tenant one less; one more is told so, until another has left."""
    server = make_server(AIRLOCK_THREADS="16", AIRLOCK_WORKERS="1")
    run, log = asleep(server)
    followers = [server.get(f"{log}?follow=1", stream=True) for _ in range(7)]

    refused = server.get(f"{log}?follow=1")
    impatient = server.get(f"/v1/runs/{run['id']}?wait=30")
    for follower in followers:
        follower.close()
    room = until(lambda: server.get(f"{log}?follow=1", stream=True).status_code == 200, 10)

    server.post(f"/v1/runs/{run['id']}/cancel")
    assert [follower.status_code for follower in followers] == [200] * 7
    assert (refused.status_code, refused.json()["code"]) == (503, "busy")
    assert "Retry-After" in refused.headers
    assert impatient.json()["status"] == "running"
    assert impatient.elapsed.total_seconds() < 5
    assert room


def test_one_tenants_followers_take_nothing_from_another(make_server: Callable[..., RunningServer]) -> None:
    """As many as it may have wait for one tenant: the other's calls are answered, and its waits are waits."""
    server = make_server(AIRLOCK_THREADS="8", AIRLOCK_WORKERS="2")
    other = add_tenant(server, "other")
    keep(other, "double")
    endpoint = publish(other, "double")
    run, log = asleep(server)

    followers = [server.get(f"{log}?follow=1", stream=True) for _ in range(4)]
    call = endpoint.call([{"n": 1, "x": 0.5}])
    waited = other.submit(QUICK, wait=30)
    own = [server.get(f"/v1/runs/{run['id']}?wait=30").elapsed.total_seconds() for _ in range(2)]

    server.post(f"/v1/runs/{run['id']}/cancel")
    assert [follower.status_code for follower in followers] == [200, 200, 200, 503]
    assert followers[-1].json()["code"] == "busy"
    assert (call.status_code, call.json()) == (200, [{"n": 2, "x": 1.0}])
    assert waited["status"] == "succeeded"
    assert max(own) < 5
    for one in followers:
        one.close()


def test_calls_of_a_tenant_whose_requests_wait_already_are_told_so(make_server: Callable[..., RunningServer]) -> None:
    """By the name of what is wrong, whether the run has begun or not; and none of them goes on."""
    server = make_server(AIRLOCK_THREADS="8", AIRLOCK_WORKERS="2")
    keep(server, "double")
    endpoint = publish(server, "double")
    run, log = asleep(server)
    followers = [server.get(f"{log}?follow=1", stream=True) for _ in range(3)]

    calls = [endpoint.call({"dataframe1": {"records": [{"n": 1}]}, "parameters": {"sleep": 20}}) for _ in range(5)]

    for one in followers:
        one.close()
    server.post(f"/v1/runs/{run['id']}/cancel")
    assert {(call.status_code, call.json()["code"]) for call in calls} == {(503, "busy")}
    for call in calls:
        run = f"/v1/runs/{call.headers['Airlock-Run-Id']}"  # no wait: the followers' places may not be free yet
        assert until(lambda run=run: server.get(run).json()["status"] == "cancelled", 15)


def test_a_wait_ends_when_its_client_has_gone(make_server: Callable[..., RunningServer]) -> None:
    """It holds its place for a second or two, not for five minutes."""
    server = make_server(AIRLOCK_THREADS="8", AIRLOCK_WORKERS="1")
    run = server.post("/v1/runs", files={"script": SLEEPER}).json()
    head = f"GET /v1/runs/{run['id']}?wait=300 HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {server.key}\r\n\r\n"
    with connections(server, 3, head.encode()):
        time.sleep(1)

    began = time.monotonic()
    answer = server.get(f"/v1/runs/{run['id']}?wait=4")
    waited = until(lambda: server.get(f"/v1/runs/{run['id']}?wait=1").elapsed.total_seconds() > 0.9, 10)

    server.post(f"/v1/runs/{run['id']}/cancel")
    assert answer.status_code == 200
    assert time.monotonic() - began < 20
    assert waited
