"""The environments that a script can run in: which image each is, and which packages are in it."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from controller.errors import ImageMissing
from controller.image import INVENTORY, MAX_INVENTORY_BYTES, Inventory, parse_inventory
from controller.services.backend import Backend
from controller.services.submission import ENVIRONMENT


@dataclass(frozen=True)
class Described:
    """One environment; `digest` is the engine's id of its image."""

    name: str
    digest: str
    inventory: Inventory


class Environments:
    """All there are, which is one. Its inventory is read from the image once, until another takes its place."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._lock = threading.Lock()
        self._known: Described | None = None

    def all(self) -> list[Described]:
        """ImageMissing, EngineUnavailable; EngineError when the image has no inventory that can be read."""
        image = self._backend.settings.image
        digest = self._backend.engine.check(image).image_digest
        if digest is None:
            raise ImageMissing(f"the image {image} is not on this host: run `airlock image build`")
        with self._lock:
            if self._known is None or self._known.digest != digest:
                content = self._backend.engine.image_file(digest, INVENTORY, MAX_INVENTORY_BYTES)
                self._known = Described(ENVIRONMENT, digest, parse_inventory(content))
            return [self._known]
