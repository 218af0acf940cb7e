"""What the services work with: one frozen value, made by app.py, handed to each of them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from controller.config import Settings
from controller.dispatch.base import Dispatcher, Finished
from controller.engines.base import Engine
from controller.errors import Busy
from controller.services.notary import Notary
from controller.store.base import Store
from controller.workspace import Workspaces


@dataclass(frozen=True)
class Backend:
    """`conversions` bounds how many sandboxes convert a result at once, `waiters` how many requests may wait for
    something at once: the other threads stay free for requests that are answered at once."""

    settings: Settings
    store: Store
    workspaces: Workspaces
    engine: Engine
    dispatcher: Dispatcher
    finished: Finished
    conversions: threading.Semaphore
    waiters: threading.Semaphore
    notary: Notary


@contextmanager
def waiting(backend: Backend) -> Iterator[None]:
    """A place among the requests that wait. Busy when there is none."""
    if not backend.waiters.acquire(blocking=False):
        raise Busy("as many requests as may are waiting for something on this server: try again later")
    try:
        yield
    finally:
        backend.waiters.release()


def now() -> datetime:
    return datetime.now(UTC)
