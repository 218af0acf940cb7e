"""A log is followed while it grows: at once, from any place, by many, and through restarts of its run."""

from __future__ import annotations

import signal
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests
from event_stream import all_events, followed, words
from wire import SLEEPER, refused

from controller.runlog import STDOUT, RunLog
from tests.running import RunningServer, until

HEAD = "import os, sys, time\ndef azureml_main(a=None, b=None):\n"
CLOCK = HEAD + "    for n in range(15):\n        print(n, time.time())\n        time.sleep(0.2)\n"
BLINKER = HEAD + "    print('begun')\n    for n in range(600):\n        time.sleep(0.1)\n"
HALVES = HEAD + "".join(
    f"    os.write({stream}, {data!r})\n    time.sleep(0.1)\n"
    for stream, data in (
        (1, b"one \xc3"),
        (2, b"other \xe2\x82"),
        (1, b"\xa4\n"),
        (1, b"\xf0"),
        (2, b"\xac\n"),
        (1, b"\x9f\x98"),
        (1, b"\x80 bad: \xff\n"),
        (2, b"ends \xc3"),
        (1, b"ends too \xc3"),
    )
)
"""Characters of several bytes that are cut in two, on two streams, also by the end."""


def begun(server: RunningServer, run_id: str, word: str = "begun") -> bool:
    """Whether the script has written this."""
    return until(lambda: word in server.get(f"/v1/runs/{run_id}/log").text, 30)


@pytest.mark.parametrize("form", ["text", "events"])
def test_a_print_is_with_its_reader_within_200_ms(server: RunningServer, form: str) -> None:
    """From the moment of the print, as the script's own clock tells; the median, on a machine that has other work."""
    run = server.submit(CLOCK, wait=0)
    headers = {"Accept": "text/event-stream"} if form == "events" else {}
    seconds = []

    with server.get(f"/v1/runs/{run['id']}/log?follow=1", headers=headers, stream=True) as answer:
        for line in answer.iter_lines(chunk_size=1, decode_unicode=True):
            text = line.removeprefix('data: {"text": "').removesuffix('\\n"}')
            if len(text.split()) == 2 and text[0].isdigit():
                seconds.append(time.time() - float(text.split()[1]))

    assert len(seconds) == 15
    assert statistics.median(seconds) < 0.2


def test_the_head_of_the_answer_does_not_wait_for_the_first_print(server: RunningServer, busy: Any) -> None:
    """A silent script's log can be opened: both forms answer at once."""
    for accept in ("text/plain", "text/event-stream"):
        answer = server.get(f"/v1/runs/{busy['id']}/log?follow=1", headers={"Accept": accept}, stream=True, timeout=5)
        answer.close()

        assert answer.status_code == 200


@pytest.mark.parametrize("query", ["", "?stream=stdout", "?stream=stderr"])
def test_a_stream_goes_on_after_any_of_its_events(server: RunningServer, query: str) -> None:
    """No byte twice and none missing, though characters are cut in two; and after the end comes the end again."""
    run = server.submit(HALVES)
    whole = all_events(server, run["id"], query=query)
    rests = [all_events(server, run["id"], event.id, query) for event in whole]

    assert len(whole) > 3
    assert len({event.id for event in whole}) == len(whole)
    assert rests == [whole[number + 1 :] or whole[-1:] for number in range(len(whole))]
    assert whole[-1].name == "status"
    text = "".join(text for stream, text in words(whole) if stream != "stderr")
    said = server.get(f"/v1/runs/{run['id']}/log?stream=stdout").text
    assert said == ("one ä\n\U0001f600 bad: \ufffd\nends too \ufffd" if query != "?stream=stderr" else said)
    assert text == ("" if query == "?stream=stderr" else said)


def test_a_stream_that_breaks_while_the_script_prints_goes_on(server: RunningServer) -> None:
    """A reader that comes again after every few events sees what one sees that stays."""
    run = server.submit(HEAD + "    for n in range(100):\n        print(n)\n        time.sleep(0.02)\n", wait=0)
    got, last = [], None

    while not got or got[-1].data.get("status") != "succeeded":
        with followed(server, run["id"], last) as events:
            got += [event for event, _ in zip(events, range(7), strict=False)]
        last = got[-1].id

    assert words(got) == words(all_events(server, run["id"]))
    assert "".join(text for _, text in words(got)).splitlines()[:100] == [str(n) for n in range(100)]


@pytest.mark.parametrize("given", ["", "7", "1-", "-1", "1-2-3", "1--2", "a-b", "1-1e3", "1-" + "9" * 16, "٣-٤"])
def test_a_malformed_place_is_refused(server: RunningServer, table_run: Any, given: str) -> None:
    """422, and the header is named."""
    headers = {"Accept": "text/event-stream", "Last-Event-ID": given.encode()}

    answer = server.get(f"/v1/runs/{table_run['id']}/log", headers=headers)

    problem = refused(answer, 422, "invalid_request", "Last-Event-ID")
    assert problem["errors"][0]["where"] == "Last-Event-ID"


@pytest.mark.parametrize("place", ["1-7", "1-999999", "9-11", "999999999-999999999999999"])
def test_a_place_that_the_log_does_not_have_begins_again(server: RunningServer, table_run: Any, place: str) -> None:
    """An event says that what was read before is void, and everything follows."""
    whole = all_events(server, table_run["id"])

    assert [event.name for event in all_events(server, table_run["id"], place)] == ["restart", *(e.name for e in whole)]
    assert all_events(server, table_run["id"], place)[1:] == whole


def test_a_queued_run_is_followed(make_server: Callable[..., RunningServer]) -> None:
    """A comment every ten seconds while it waits; an event when it begins; its log; its end."""
    server = make_server(AIRLOCK_WORKERS="1")
    blocker = server.submit(SLEEPER, wait=0)
    run = server.submit(HEAD + "    print('hello')\n", wait=0)
    headers = {"Accept": "text/event-stream"}

    with server.get(f"/v1/runs/{run['id']}/log", headers=headers, stream=True, timeout=30) as answer:
        lines = answer.iter_lines(chunk_size=1, decode_unicode=True)
        first = [next(lines) for _ in range(3)]
        server.post(f"/v1/runs/{blocker['id']}/cancel")
        rest = list(lines)

    statuses = [line for line in rest if line.startswith('data: {"id"')]
    assert first == ["retry: 1000", "", ": still here"]
    assert ['"status": "running"' in line for line in statuses] == [True, False]
    assert ['"status": "succeeded"' in line for line in statuses] == [False, True]
    assert rest.index("event: status") < rest.index('data: {"text": "hello\\n"}')


def test_a_run_that_a_crash_interrupted_begins_its_log_again(make_server: Callable[..., RunningServer]) -> None:
    """kill -9; whoever comes back with the id of the last event is told that the run is begun again, then all."""
    first = make_server()
    run = first.submit(HEAD + "    print('begun')\n    time.sleep(4)\n    print('ended')\n", wait=0)
    with followed(first, run["id"]) as events:
        before = next(event for event in events if event.name == "stdout")

    first.stop(signal.SIGKILL)
    second = make_server(key=first.key)
    after = all_events(second, run["id"], before.id)
    whole = all_events(second, run["id"])

    assert (after[-1].data["status"], after[-1].data["attempt"]) == ("succeeded", 2), after
    assert after[-1] == whole[-1]
    assert before.id.startswith("1-")
    assert words(after)[0] == ("restart", "")
    assert words(after)[1:] == words(whole)
    # Between the streams Docker keeps no order.
    assert "".join(text for stream, text in words(whole) if stream == "stdout") == "begun\nended\n"
    assert next(event for event in after if event.name == "restart").data == {"attempt": 2}


def test_a_log_that_begins_again_under_its_followers_says_so(server: RunningServer) -> None:
    """As an event, and as a line of its own in the text. The other attempt's log is written by the test: in one
    process no other begins while the first is followed."""
    run = server.submit(BLINKER, wait=0)
    assert begun(server, run["id"])

    text = server.get(f"/v1/runs/{run['id']}/log?follow=1", stream=True)
    with followed(server, run["id"]) as events:
        got = [next(events)]
        log = RunLog(server.data_dir / "runs" / run["id"] / "log", 1000, 2, lambda: None)
        log.write(STDOUT, b"begun another time")
        got += [next(events), next(events)]
        log.close()
        server.post(f"/v1/runs/{run['id']}/cancel")
        got += events

    assert text.text == "begun\n[airlock] the run is begun again\nbegun another time"
    assert words(got) == [("stdout", "begun\n"), ("restart", ""), ("stdout", "begun another time")]
    assert got[-1].data["status"] == "cancelled"


def test_two_hundred_follow_while_others_are_served(make_server: Callable[..., RunningServer]) -> None:
    """All of one run's followers get everything, so does the one of another run, and other requests do not wait."""
    server = make_server(AIRLOCK_WORKERS="2")
    body = "    print('begun')\n    time.sleep(8)\n"
    body += "    for n in range(300):\n        print(n)\n        time.sleep(0.01)\n"
    one, other = (server.submit(HEAD + body, wait=0, timeout_seconds=120) for _ in range(2))
    slowest = 0.0

    with ThreadPoolExecutor(201) as pool:
        many = [pool.submit(text_of, server, one["id"]) for _ in range(200)]
        single = pool.submit(text_of, server, other["id"])
        while not all(future.done() for future in (*many, single)):
            answer = server.get("/healthz", timeout=30)
            assert answer.status_code == 200
            slowest = max(slowest, answer.elapsed.total_seconds())
            time.sleep(0.1)

    expected = server.get(f"/v1/runs/{one['id']}/log").text
    assert expected.splitlines()[:301] == ["begun", *(str(n) for n in range(300))]
    assert {future.result() for future in many} == {expected}
    assert single.result() == server.get(f"/v1/runs/{other['id']}/log").text
    assert slowest < 5


def text_of(server: RunningServer, run_id: str) -> str:
    """The followed log, read over a connection of its own."""
    headers = {"Authorization": f"Bearer {server.key}"}
    answer = requests.get(f"{server.url}/v1/runs/{run_id}/log?follow=1", headers=headers, timeout=120)
    assert answer.status_code == 200, answer.text
    return answer.text
