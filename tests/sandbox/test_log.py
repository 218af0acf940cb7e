"""The log: live, bounded, counted truly, and carried as bytes that nobody interprets."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
from sandbox import ended, findings, submit, wait_for_log

from tests.running import RunningServer

KIB, MIB = 1 << 10, 1 << 20
LIMIT = 64 * KIB  # of the small server
MARK = re.compile(rb"\n\[airlock: (\d+) bytes of the log were cut here\]\n")


def script(body: str) -> str:
    """The lines as the body of an entry point."""
    head = "import os, sys, time\nimport pandas as pd\n\ndef azureml_main(a, b):\n"
    return head + "".join(f"    {line}\n" for line in [*body.splitlines(), "return pd.DataFrame({'x': [1]})"])


FLOODS = {
    "200 MB of lines": (
        "line = b'y' * 1023 + b'\\n'\nfor n in range(200 << 10): os.write(1, line)",
        200 * MIB,
    ),
    "one line of 50 MB": ("data = b'z' * (1 << 20)\nfor n in range(50): os.write(1, data)", 50 * MIB),
    "100,000 single bytes": ("for n in range(100_000): os.write(1, b'b')", 100_000),
}


@pytest.mark.parametrize("name", FLOODS)
def test_a_flood_is_cut_and_the_run_goes_on(small_server: RunningServer, name: str) -> None:
    """A script that floods its log succeeds; head and tail are kept, the middle is cut, and all bytes are counted."""
    body, count = FLOODS[name]

    run = small_server.submit(script(f"os.write(1, b'first')\n{body}\nos.write(1, b'last')"), timeout_seconds=60)
    content = small_server.get(f"/v1/runs/{run['id']}/log").content
    mark = MARK.search(content)

    assert run["status"] == "succeeded", run["error"]
    assert run["log_bytes"] == count + len(b"first") + len(b"last")
    assert run["log_truncated"] is True
    assert content.startswith(b"first")
    assert content.endswith(b"last")
    assert mark is not None
    assert len(content) - len(mark.group()) == LIMIT == run["log_bytes"] - int(mark.group(1))
    assert mark.start() == LIMIT // 2


def test_all_streams_of_all_processes_are_drained(small_server: RunningServer) -> None:
    """Four processes that flood both streams at once are counted to the byte, and cut as one log."""
    body = (
        "children = []\n"
        "for _ in range(4):\n"
        "    children.append(os.fork())\n"
        "    if children[-1] == 0:\n"
        "        for n in range(500): os.write(1 + n % 2, b'p' * 1024)\n"
        "        os._exit(0)\n"
        "for child in children: os.waitpid(child, 0)"
    )

    run = small_server.submit(script(body))
    content = small_server.get(f"/v1/runs/{run['id']}/log").content

    assert run["status"] == "succeeded", run["error"]
    assert run["log_bytes"] == 4 * 500 * KIB
    assert len(MARK.sub(b"", content)) == content.count(b"p") == LIMIT


def test_a_short_log_is_whole(small_server: RunningServer) -> None:
    """A log within its limit is kept byte for byte, with no mark in it."""

    run = small_server.submit(script(f"os.write(1, b'w' * {LIMIT})"))

    assert small_server.get(f"/v1/runs/{run['id']}/log").content == b"w" * LIMIT
    assert (run["log_bytes"], run["log_truncated"]) == (LIMIT, False)


def test_a_flood_does_not_grow_the_server(small_server: RunningServer) -> None:
    """What a script prints is not collected in the server's memory, nor in Docker's files on the host."""

    used = findings(small_server, "flood")
    peak = max(int(line.split()[1]) for line in _status_lines(small_server) if line.startswith("VmHWM"))

    assert used["written"] == 100 * MIB
    assert peak < 400 * KIB  # kibibytes: 400 MiB


def _status_lines(server: RunningServer) -> list[str]:
    return Path(f"/proc/{server.process.pid}/status").read_text().splitlines()


HOSTILE = b"\x1b]0;owned\x07\x1b[2J\x1b[31mred\x00\xff\xfe\xc3\x28\r\x08\xe2\x80\xaeeman\xc2\x9b1m"


def test_control_bytes_come_back_as_they_were(server: RunningServer) -> None:
    """Terminal sequences and NUL, as plain text; only bytes that are not UTF-8 become the character for such."""

    run = server.submit(script(f"os.write(1, {HOSTILE!r})"))
    answer = server.get(f"/v1/runs/{run['id']}/log")

    assert run["status"] == "succeeded"
    assert answer.content == HOSTILE.decode("utf-8", "replace").encode()
    assert answer.headers["Content-Type"].startswith("text/plain")
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_control_bytes_do_not_break_the_event_stream(server: RunningServer) -> None:
    """As events the same bytes are JSON strings, on one line each: a log cannot forge an event."""
    forged = b"\n\nevent: status\ndata: {}\n\n"

    run = server.submit(script(f"os.write(1, {HOSTILE + forged!r})"))
    answer = server.get(f"/v1/runs/{run['id']}/log", headers={"Accept": "text/event-stream"})
    blocks = [block.split(b"\n") for block in answer.content.strip().split(b"\n\n")]
    events = [lines[1:] for lines in blocks if len(lines) == 3 and lines[0].startswith(b"id: ")]
    texts = [json.loads(data.removeprefix(b"data: "))["text"] for name, data in events if name == b"event: stdout"]

    assert blocks[0] == [b"retry: 1000"]
    assert len(blocks) == len(events) + 1
    assert [name for name, _ in events].count(b"event: status") == 1
    assert "".join(texts).encode() == (HOSTILE + forged).decode("utf-8", "replace").encode()
    assert b"\x1b" not in answer.content


def test_what_a_script_prints_never_reaches_the_servers_log(server: RunningServer) -> None:
    """Lines that look like the server's own stay in the run's log."""
    line = '{"event": "run_finished", "status": "forged-by-a-script"}'

    run = server.submit(script(f"print({line!r})"))

    assert line in server.log(run)
    assert "forged-by-a-script" not in server.log_path.read_text()


def test_the_log_is_seen_while_the_script_runs(server: RunningServer) -> None:
    """A line is served within a second of being printed, while the script goes on."""
    run_id = submit(server, script("print('now', time.time())\ntime.sleep(5)"))

    wait_for_log(server, run_id, "now ")
    seen = time.time()
    printed = float(server.get(f"/v1/runs/{run_id}/log").text.split()[1])

    assert server.get(f"/v1/runs/{run_id}").json()["status"] == "running"
    assert seen - printed < 1.0
    assert ended(server, run_id)["status"] == "succeeded"


def test_a_follower_sees_each_line_as_it_comes(server: RunningServer) -> None:
    """With follow=1 the lines arrive one by one, each within a second, and the stream ends with the run."""
    run_id = submit(server, script("for n in range(4):\n    print(n, time.time())\n    time.sleep(0.5)"))

    with server.get(f"/v1/runs/{run_id}/log?follow=1", stream=True) as answer:
        lines: list[Any] = [(time.time(), line.split()) for line in answer.iter_lines(chunk_size=1)]

    assert [int(parts[0]) for _, parts in lines] == [0, 1, 2, 3]
    assert max(seen - float(parts[1]) for seen, parts in lines) < 1.0
    assert server.get(f"/v1/runs/{run_id}").json()["status"] in ("running", "succeeded")


def test_the_log_of_a_run_that_was_stopped_is_kept(server: RunningServer) -> None:
    """What a script printed before its time was up is still there."""

    run = server.submit(script("print('before')\ntime.sleep(600)"), timeout_seconds=3)

    assert run["reason"] == "timeout"
    assert server.log(run) == "before\n"
