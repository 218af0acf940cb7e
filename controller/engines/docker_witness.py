"""Did Docker itself end a container? A daemon that stops or starts kills what runs, and that looks like a script's
death by SIGKILL.

The witness is a connection on which the daemon never says anything, kept open all the time: it ends when that daemon
ends, also where systemd holds the socket and a caller only sees that an answer takes a while.
"""

from __future__ import annotations

import json
import select
import threading
from typing import Any

import docker

_PING_SECONDS = 30
_NEVER = json.dumps({"label": ["airlock.never"]})


class Witness:
    """One connection to one daemon."""

    def __init__(self, api: docker.APIClient) -> None:
        url = f"{api.base_url}/v{api.api_version}/events"
        self._answer: Any = api.get(url, params={"filters": _NEVER}, stream=True, timeout=_PING_SECONDS)
        self._answer.raise_for_status()

    def stands(self) -> bool:
        """Whether the daemon that answered is still there. Thread-safe: each asks with a poll object of its own."""
        poll = select.poll()
        poll.register(self._answer.raw.fileno(), select.POLLIN)
        return not poll.poll(0)

    def close(self) -> None:
        self._answer.close()


class Witnesses:
    """The present witness; shared by threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._newest: Witness | None = None

    def now(self, api: docker.APIClient) -> Witness:
        """One that stands. Those that do not are left to whoever still asks them."""
        with self._lock:
            if self._newest is None or not self._newest.stands():
                self._newest = Witness(api)
            return self._newest

    def close(self) -> None:
        with self._lock:
            if self._newest is not None:
                self._newest.close()


def outlived(witness: Witness) -> bool:
    """Whether the daemon that the witness saw serves on. By a connection of its own: a daemon that is about to stop
    takes no new ones, and only then ends its containers.
    """
    api = docker.from_env(version="auto", timeout=_PING_SECONDS).api
    try:
        return bool(api.ping()) and witness.stands()
    finally:
        api.close()
