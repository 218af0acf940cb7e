"""What the server itself must not forget when it stops: a few named values."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Protocol

from controller.store.audit_store import Entry


class State(Protocol):
    def get(self, name: str) -> dict[str, Any] | None:
        """The value of this name; None when there is none yet."""

    def put(self, name: str, value: dict[str, Any], entry: Entry) -> None:
        """Keep this value from now on, and write down who wanted it."""

    def note(self, name: str, value: dict[str, Any], at: datetime) -> None:
        """Keep a value that nobody wanted: what the server saw by itself."""
