"""Those who follow a log and stand still, come too late, or are there when the server stops, harm nobody."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
import requests
from event_stream import all_events, followed
from wire import Wire, refused

from tests.running import RunningServer, until

MIB = 1 << 20
HEAD = "import os, time\ndef azureml_main(a=None, b=None):\n    print('begun', flush=True)\n"
FLOOD = "    line = b'y' * 1023 + b'\\n'\n    for n in range(20 << 10): os.write(1, line)\n    print('flooded')\n"


def follower(server: RunningServer, run_id: str) -> Wire:
    """A connection on which the log is asked for, and nothing read."""
    wire = Wire(server, timeout=120)
    wire.send_head(server, "GET", f"/v1/runs/{run_id}/log?follow=1", Connection="close")
    return wire


def resident_bytes(server: RunningServer) -> int:
    """What the server's processes hold in memory together."""
    pids = [server.process.pid]
    for pid in pids:
        pids += map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
    lines = [line for pid in pids for line in Path(f"/proc/{pid}/status").read_text().splitlines()]
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS"))


def test_readers_that_stand_still_hold_no_memory_and_are_hung_up_on(make_server: Callable[..., RunningServer]) -> None:
    """Twenty megabytes pass them by: the run and another reader go on; after a minute their places are free."""
    server = make_server(AIRLOCK_THREADS="16", AIRLOCK_LOG_BYTES=str(64 * MIB))
    run = server.submit(HEAD + "    time.sleep(2)\n" + FLOOD + "    time.sleep(150)\n", wait=0, timeout_seconds=170)
    log = f"/v1/runs/{run['id']}/log"
    assert until(lambda: "begun" in server.get(log).text, 30)
    before = resident_bytes(server)
    began = time.monotonic()
    stalled = [follower(server, run["id"]) for _ in range(6)]

    with server.get(f"{log}?follow=1", stream=True) as answer:
        lines = answer.iter_lines(chunk_size=65536)
        flooded = next(number for number, line in enumerate(lines) if line == b"flooded")
        full = server.get(f"{log}?follow=1")
        grown = resident_bytes(server) - before
    room = until(lambda: may_follow(server, run["id"], 7), 100)
    waited = time.monotonic() - began
    server.post(f"/v1/runs/{run['id']}/cancel")

    assert flooded == 1 + (20 << 10)
    refused(full, 503, "busy")
    assert grown < 16 * MIB
    assert room
    assert waited > 50
    for wire in stalled:
        wire.close()


def may_follow(server: RunningServer, run_id: str, count: int) -> bool:
    """Whether so many may follow at once; those that tried are gone afterwards."""
    url, headers = f"{server.url}/v1/runs/{run_id}/log?follow=1", {"Authorization": f"Bearer {server.key}"}
    with ExitStack() as stack:
        answers = [
            stack.enter_context(requests.get(url, headers=headers, stream=True, timeout=30)) for _ in range(count)
        ]
    time.sleep(1.5)  # for the server to see that they have gone
    return [answer.status_code for answer in answers] == [200] * count


def test_a_log_that_is_being_read_survives_its_run(server: RunningServer) -> None:
    """Who has begun to read gets it whole, though the run is deleted meanwhile; who comes then is told 404."""
    run = server.submit(HEAD + "    for n in range(900): print('z' * 1000)\n")
    whole = server.get(f"/v1/runs/{run['id']}/log").text

    with followed(server, run["id"]) as events:
        got = [next(events)]
        deleted = server.request("DELETE", f"/v1/runs/{run['id']}")
        got += events
    late = server.get(f"/v1/runs/{run['id']}/log?follow=1")

    assert deleted.status_code == 204
    assert "".join(event.data["text"] for event in got if event.name in ("stdout", "stderr")) == whole
    assert got[-1].data["status"] == "succeeded"
    refused(late, 404, "not_found")


def test_a_run_that_is_cancelled_and_deleted_under_its_follower_ends_the_stream(server: RunningServer) -> None:
    """At once, with the status or without it."""
    run = server.submit(HEAD + "    time.sleep(60)\n", wait=0)

    with followed(server, run["id"]) as events:
        begun = next(event for event in events if event.name == "stdout")
        server.post(f"/v1/runs/{run['id']}/cancel")
        assert until(lambda: server.request("DELETE", f"/v1/runs/{run['id']}").status_code == 204)
        began = time.monotonic()
        rest = list(events)
        seconds = time.monotonic() - began

    assert begun.data == {"text": "begun\n"}
    assert [event.name for event in rest] in ([], ["status"])
    assert seconds < 10


@pytest.mark.parametrize("wanted", ["plain", "module"])
def test_a_followed_log_comes_to_its_end_in_either_style(server: RunningServer, wanted: str) -> None:
    """What is followed and what is read afterwards are the same, line for line."""
    run = server.submit(HEAD + "    time.sleep(1)\n    print('end')\n", wait=0)

    live = server.get(f"/v1/runs/{run['id']}/log?follow=1&style={wanted}").text
    after = server.get(f"/v1/runs/{run['id']}/log?style={wanted}").text

    assert live == after
    assert live.splitlines()[0] == ("begun" if wanted == "plain" else "[ModuleOutput] begun")


def test_followers_of_every_kind_are_let_go_when_the_server_stops(make_server: Callable[..., RunningServer]) -> None:
    """Readers of text and of events see a clean end; one that stands still does not keep the server from going."""
    server = make_server(AIRLOCK_WORKERS="1", AIRLOCK_LOG_BYTES=str(64 * MIB))
    run = server.submit(HEAD + FLOOD + "    time.sleep(100)\n", wait=0, timeout_seconds=120)
    queued = server.submit(HEAD, wait=0)
    stalled = follower(server, run["id"])
    assert until(lambda: b"flooded" in server.get(f"/v1/runs/{run['id']}/log").content[-100:], 60)
    text = server.get(f"/v1/runs/{run['id']}/log?follow=1", stream=True)
    began = time.monotonic()

    with followed(server, queued["id"]) as events:
        server.process.terminate()
        left = list(events)
        events_gone = time.monotonic() - began
        tail = text.content[-100:]
    server.stop()
    stopped = time.monotonic() - began
    stalled.close()

    assert left == []
    assert b"flooded" in tail
    assert events_gone < 10
    assert stopped < 60
    again = make_server(key=server.key, AIRLOCK_WORKERS="1")
    again.post(f"/v1/runs/{run['id']}/cancel")
    assert all_events(again, queued["id"])[-1].data["status"] == "succeeded"
