"""Where a list goes on: opaque to clients, and nothing that they could learn from."""

from __future__ import annotations

import base64
from datetime import UTC, datetime

from controller.errors import InvalidRequest


def write_cursor(created_at: datetime, id: str) -> str:
    return base64.urlsafe_b64encode(f"{created_at.isoformat()} {id}".encode()).decode()


def read_cursor(text: str) -> tuple[datetime, str]:
    """A cursor says where to go on in the caller's own list, so a forged one shows nothing more."""
    try:
        created_at, id = base64.urlsafe_b64decode(text.encode()).decode().split(" ")
        return datetime.fromisoformat(created_at).astimezone(UTC), id
    except (ValueError, OverflowError) as e:  # OverflowError: a year that UTC would move out of the calendar
        message = "this cursor is none of ours: use a list's next_cursor as it is"
        raise InvalidRequest(message, errors=[{"where": "cursor", "message": message}]) from e
