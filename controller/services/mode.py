"""Whether the server takes new work: open, draining, or in maintenance. What the operator said last holds until it is
taken back, over restarts too.

* draining: nothing new is accepted and nothing that waits begins, so the server comes to rest and can be stopped
  without interrupting a run.
* maintenance: nothing new is accepted, for a reason that clients are told; what was accepted goes on.

Reading works in either.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from controller.errors import Draining, Maintenance
from controller.model import Caller, Word
from controller.services.audit import entry
from controller.services.backend import Backend
from controller.store.state_store import State

_NAME = "mode"
RETRY_SECONDS = 60.0


class ServerMode(StrEnum):
    OPEN = "open"
    DRAINING = "draining"
    MAINTENANCE = "maintenance"


class Mode(Word):
    """`message` and `retry_seconds` are what clients are told in maintenance; `since` is None at the beginning."""

    mode: ServerMode = ServerMode.OPEN
    message: str | None = None
    retry_seconds: float = RETRY_SECONDS
    since: datetime | None = None


class CurrentMode:
    """The mode as this process has it: one attribute, read by every submission."""

    def __init__(self) -> None:
        self.present = Mode()


def stored_mode(state: State) -> Mode:
    """What the operator said last."""
    value = state.get(_NAME)
    return Mode.model_validate(value) if value is not None else Mode()


def take_up(backend: Backend) -> None:
    """At a start: as it was before."""
    _apply(backend, stored_mode(backend.state))


def change(backend: Backend, caller: Caller, wanted: Mode) -> Mode:
    """From now on, and over restarts. StoreError: nothing was changed."""
    done = entry(caller, f"engine.{_ACTIONS[wanted.mode]}", message=wanted.message)
    mode = wanted.model_copy(update={"since": done.at})
    backend.state.put(_NAME, mode.model_dump(mode="json"), done)
    _apply(backend, mode)
    return mode


def require_open(backend: Backend) -> None:
    """Draining, Maintenance: nothing new is accepted now."""
    mode = backend.mode.present
    if mode.mode is ServerMode.DRAINING:
        raise Draining("the server is coming to rest, and accepts nothing new: try again later")
    if mode.mode is ServerMode.MAINTENANCE:
        raise Maintenance(mode.message or "the server is being maintained", retry_seconds=mode.retry_seconds)


def _apply(backend: Backend, mode: Mode) -> None:
    backend.mode.present = mode
    backend.dispatcher.hold(mode.mode is ServerMode.DRAINING)


_ACTIONS = {ServerMode.OPEN: "resume", ServerMode.DRAINING: "drain", ServerMode.MAINTENANCE: "maintenance"}
