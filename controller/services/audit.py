"""What goes into the audit log, and how much of it: every change, and every refused attempt as long as there are few.

A change is written by the store, in the transaction that makes it. A refusal changes nothing: it is written here.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

import structlog

from controller.errors import Unavailable
from controller.model import Caller
from controller.services.backend import Backend, now
from controller.store.audit_store import Audit, Entry

REFUSALS_PER_SECOND = 20
"""Of all strangers together: whoever floods the server with refused requests must not fill its disk."""
_log = structlog.get_logger(__name__)


def entry(caller: Caller, action: str, subject: str = "", **details: Any) -> Entry:
    """What this caller does now."""
    return Entry(
        action=action,
        at=now(),
        subject=subject,
        tenant_id=caller.tenant_id,
        key_id=caller.key_id,
        address=caller.address,
        request_id=caller.request_id,
        details=details,
    )


def own_entry(action: str, subject: str = "", **details: Any) -> Entry:
    """What the server, or the operator at its host, does now."""
    return Entry(action=action, at=now(), subject=subject, details=details)


class Refusals:
    """Writes refused attempts down: so many rows a second, and of the rest their number, in one row."""

    def __init__(self, audit: Audit, clock: Callable[[], float] = time.monotonic) -> None:
        self._audit = audit
        self._clock = clock
        self._lock = threading.Lock()
        self._second = float("-inf")
        self._written = 0
        self._left_out = 0
        self._since: datetime | None = None

    def note(self, refused: Entry) -> None:
        """A log that cannot be written does not let anybody in: the request is refused all the same."""
        with self._lock:
            rest = self._rest_of_an_earlier_second()
            if self._written >= REFUSALS_PER_SECOND:
                self._left_out += 1
                self._since = self._since or refused.at
                return
            self._written += 1
        self._write(*rest, refused)

    def flush(self) -> None:
        """Write down how many were left out, if their second is over. Called every second or so."""
        with self._lock:
            rest = self._rest_of_an_earlier_second()
        self._write(*rest)

    def close(self) -> None:
        with self._lock:
            rest = self._rest()
        self._write(*rest)

    def _rest_of_an_earlier_second(self) -> list[Entry]:
        moment = self._clock()
        if moment - self._second < 1.0:
            return []
        self._second, self._written = moment, 0
        return self._rest()

    def _rest(self) -> list[Entry]:
        if not self._left_out:
            return []
        since = self._since.isoformat() if self._since else None
        rest = own_entry("request.refused_more", count=self._left_out, since=since)
        self._left_out, self._since = 0, None
        return [rest]

    def _write(self, *entries: Entry) -> None:
        for one in entries:
            try:
                self._audit.append(one)
            except Unavailable as e:
                _log.error("refusal_not_audited", action=one.action, error=e.detail)


def note(backend: Backend, done: Entry) -> None:
    """Write down what changes no row, before it is done: a log that cannot be written stops it."""
    backend.audit.append(done)
