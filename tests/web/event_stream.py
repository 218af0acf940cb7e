"""A followed log as the tests read it: the events of a stream, one by one, as the HTML standard has them read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from tests.running import RunningServer


class Sent(NamedTuple):
    """One event."""

    id: str
    name: str
    data: Any


@contextmanager
def followed(server: RunningServer, run_id: str, after: str | None = None, query: str = "") -> Iterator[Iterator[Sent]]:
    """The events of a run's log, as they come; from the start, or after the event with this id."""
    headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": after} if after else {})
    with server.get(f"/v1/runs/{run_id}/log{query}", headers=headers, stream=True) as answer:
        assert answer.status_code == 200, answer.text
        yield sent(answer.iter_lines(chunk_size=None, decode_unicode=True))


def all_events(server: RunningServer, run_id: str, after: str | None = None, query: str = "") -> list[Sent]:
    """Everything until the end of the stream."""
    with followed(server, run_id, after, query) as events:
        return list(events)


def sent(lines: Iterator[str]) -> Iterator[Sent]:
    """The events in these lines; each must have an id, a name and data."""
    fields: dict[str, str] = {}
    for line in lines:
        if line and not line.startswith(":"):
            name, _, value = line.partition(": ")
            fields[name] = value
        elif not line and "data" in fields:
            yield Sent(fields["id"], fields["event"], json.loads(fields["data"]))
            fields = {}


def words(events: list[Sent]) -> list[tuple[str, str]]:
    """What was written: (stream, text), neighbours of one stream joined; a restart is ("restart", "")."""
    joined: list[tuple[str, str]] = []
    for event in events:
        if event.name in ("stdout", "stderr") and joined and joined[-1][0] == event.name:
            joined[-1] = (event.name, joined[-1][1] + event.data["text"])
        elif event.name in ("stdout", "stderr"):
            joined.append((event.name, event.data["text"]))
        elif event.name == "restart":
            joined.append(("restart", ""))
    return joined
