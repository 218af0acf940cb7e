"""A run's log, followed over connections that may break: each goes on where the one before was cut off."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal

import requests

from controller.client.errors import ClientError, ServerRefused, ServerUnreachable, json_object
from controller.client.sse import Event, parse_events

Run = dict[str, Any]

FINAL_STATES = frozenset({"succeeded", "failed", "cancelled"})
PAUSE_SECONDS = 1.0
"""Between two tries to connect."""
PATIENCE_SECONDS = 180.0
"""With a server that is away: one that is restarted lets its runs end before it goes."""
_AWAY = frozenset({502, 503, 504})
"""What a proxy, or a server with too many who wait, answers in the meantime."""


@dataclass(frozen=True)
class LogText:
    """A piece of a run's log, as its script wrote it."""

    stream: Literal["stdout", "stderr"]
    text: str


@dataclass(frozen=True)
class LogRestart:
    """The run is begun again, as after a crash of its server: what came before is no part of its log any more."""


Item = LogText | LogRestart | Run
Connect = Callable[[str | None], AbstractContextManager[Iterator[bytes]]]


class Follower:
    """Follows one log. `connect` opens its stream of events after the one with this id, or from the start."""

    def __init__(self, connect: Connect) -> None:
        self._connect = connect
        self._last_id: str | None = None
        self._resumable = True
        self._cut_at: float | None = None

    def items(self) -> Iterator[Item]:
        """The log from its start, nothing twice; the last item is the run, which has ended.

        ServerUnreachable when the stream was cut and cannot be had again; other ClientErrors at once.
        """
        while True:
            error: ClientError
            try:
                with self._connect(self._last_id) as chunks:
                    for event in parse_events(self._alive(chunks)):
                        item = self._item(event)
                        if item is not None:
                            yield item
                        if isinstance(item, dict):
                            return
                error = ServerUnreachable("the log was cut off before the run ended")
            except ServerUnreachable as cut:
                error = cut
            except ServerRefused as refused:
                if refused.status not in _AWAY:
                    raise
                error = refused
            self._rest(error)

    def _alive(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            self._cut_at = None
            yield chunk

    def _item(self, event: Event) -> Item | None:
        """What the event means; None for news of a run that has not ended."""
        if event.id:
            self._last_id = event.id
        if event.name in ("stdout", "stderr"):
            self._resumable = bool(event.id)
            stream: Literal["stdout", "stderr"] = "stdout" if event.name == "stdout" else "stderr"
            return LogText(stream, str(json_object(event.data)["text"]))
        if event.name == "restart":
            return LogRestart()
        if event.name == "status" and (run := json_object(event.data)).get("status") in FINAL_STATES:
            return run
        return None

    def _rest(self, error: ClientError) -> None:
        """Wait for the next try; ServerUnreachable when there is none."""
        now = time.monotonic()
        self._cut_at = self._cut_at or now
        if not self._resumable or now - self._cut_at > PATIENCE_SECONDS:
            raise ServerUnreachable(str(error)) from error
        time.sleep(PAUSE_SECONDS)


def live_chunks(answer: requests.Response) -> Iterator[bytes]:
    """The body as it arrives. Only chunked bodies tell where a piece ends; others are read byte by byte."""
    chunked = answer.headers.get("Transfer-Encoding", "").lower() == "chunked"
    chunks: Iterator[bytes] = answer.iter_content(256 * 1024 if chunked else 1)
    return chunks
