"""What the services work with: one frozen value, made by app.py, handed to each of them."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from datetime import UTC, datetime

from controller.config import Settings
from controller.dispatch.base import Dispatcher, Finished
from controller.engines.base import Engine
from controller.store.base import Store
from controller.workspace import Workspaces


@dataclass(frozen=True)
class Backend:
    """`conversions` bounds how many sandboxes convert a result at once."""

    settings: Settings
    store: Store
    workspaces: Workspaces
    engine: Engine
    dispatcher: Dispatcher
    finished: Finished
    conversions: threading.Semaphore


def now() -> datetime:
    return datetime.now(UTC)
