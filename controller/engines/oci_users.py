"""Whether containers of the oci engine have a user namespace of their own: as the setting says, and as a trial shows.

What a host allows is spread over sysctls, security modules, the kernel's own rules of mounting and the runtime's age.
So nobody reads it: a container with all walls is made and removed, once.
"""

from __future__ import annotations

import os
import secrets
import tempfile
import threading
import time
from pathlib import Path
from typing import Literal

import structlog

from controller.engines.oci_config import warm_config
from controller.engines.oci_runtime import Runtime
from controller.engines.uids import UidPool
from controller.engines.warm_start import FORKABLE
from controller.errors import EngineError, EngineUnavailable
from controller.model import Limits

Wanted = Literal["auto", "on", "off"]

_TRIAL_SECONDS = 60
_LIMITS = Limits(
    timeout_seconds=_TRIAL_SECONDS, memory_bytes=256 << 20, cpus=1.0, processes=16, work_bytes=1 << 20, work_inodes=16,
    output_bytes=1 << 20, log_bytes=0, images=0, images_bytes=0,
)  # fmt: skip
_log = structlog.get_logger(__name__)


class UserNamespaces:
    """One engine's. Thread-safe; whoever asks while a trial is made waits for it."""

    def __init__(self, wanted: Wanted, runtime: Runtime, uids: UidPool, instance: str) -> None:
        self._wanted, self._runtime, self._uids, self._instance = wanted, runtime, uids, instance
        self._lock = threading.Lock()
        self._given: bool | None = False if wanted == "off" else None
        self._trials: set[str] = set()

    def given(self, image: Path) -> bool:
        """EngineUnavailable where they must be given and cannot be, and while nobody can tell."""
        with self._lock:
            if self._given is None:
                lack = self.lack(image)
                if lack is not None and self._wanted == "on":
                    raise EngineUnavailable(f"AIRLOCK_OCI_USER_NAMESPACES is on, and there are none here: {lack}")
                if lack is not None:
                    _log.warning("user_namespaces_off", why=lack)
                self._given = lack is None
            return self._given

    def lack(self, image: Path) -> str | None:
        """Why there are none, in the runtime's words; None where there are. EngineUnavailable: nothing starts here.

        What fails once may be an accident: a wall is given up only for what fails before and after one without works.
        """
        if Path(self._runtime.program).name not in FORKABLE:
            return f"{self._runtime.program} has a kernel of its own in their place"
        if self._trial(image, user_namespace=True) is None:
            return None
        if broken := self._trial(image, user_namespace=False):
            raise EngineUnavailable(broken)
        return self._trial(image, user_namespace=True)

    def names(self) -> set[str]:
        """Of the containers that are being tried."""
        return set(self._trials)

    def _trial(self, image: Path, *, user_namespace: bool) -> str | None:
        """Why it does not start, or None."""
        name = f"airlock-trial-{secrets.token_hex(6)}"
        self._trials.add(name)
        try:
            with self._uids.take() as uid, tempfile.TemporaryDirectory(prefix="airlock-trial-") as slot:
                return self._start(name, image, Path(slot), uid, user_namespace)
        finally:
            self._trials.discard(name)

    def _start(self, name: str, image: Path, slot: Path, uid: int, user_namespace: bool) -> str | None:
        config = warm_config(
            name,
            _LIMITS,
            image.parent.name,
            slot,
            uid=uid,
            instance=self._instance,
            deadline=int(time.time()) + _TRIAL_SECONDS,
            rootfs=image,
            host=self._runtime.host,
            user_namespace=user_namespace,
        )
        for place in ("in", "out"):
            (slot / place).mkdir()
        nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        try:
            self._runtime.start(name, config, (nothing, nothing, nothing), image).close()
            return None
        except EngineError as e:
            return e.detail
        finally:
            os.close(nothing)
            self._runtime.remove(name)
