"""What it takes to make receipts: the key that signs them, what the engine says of itself, and a bound."""

from __future__ import annotations

import threading
import time

from controller.engines.base import Engine, EngineInfo
from controller.errors import EngineError
from controller.signing import SigningKey

FRESH_SECONDS = 60.0
"""So long, what the engine said of itself is taken as still true: it changes when somebody restarts it."""


class Notary:
    """`places` bounds how many receipts are made at once because somebody asks for them."""

    def __init__(self, key: SigningKey, engine: Engine, image: str, at_once: int) -> None:
        self.key = key
        self.places = threading.Semaphore(at_once)
        self._engine = engine
        self._image = image
        self._lock = threading.Lock()
        self._said: EngineInfo | None = None
        self._said_at = 0.0

    def engine_info(self) -> EngineInfo | None:
        """What the engine said within the last minute, asked if need be; None when it does not answer."""
        with self._lock:
            if self._said is None or time.monotonic() - self._said_at > FRESH_SECONDS:
                try:
                    self._said = self._engine.check(self._image)
                except EngineError:
                    self._said = None
                self._said_at = time.monotonic()
            return self._said
