"""Runs in warm containers: one is taken, the run's files are laid into it, and its runner is followed to its end."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import structlog

from controller.engines.base import Ended, LogSink, SandboxResult, SandboxSpec, WarmState
from controller.engines.following import follow
from controller.engines.launcher import NoFork, exit_code
from controller.engines.uids import UidPool
from controller.engines.warm import Kind, Maker, Warm
from controller.engines.warm_pool import WarmPool
from controller.errors import EngineError
from controller.failpoints import failpoint
from controller.model import Limits, Usage

_log = structlog.get_logger(__name__)

FORKABLE = ("runc", "crun")
"""Runtimes whose containers a process of the host can enter."""


@dataclass(frozen=True)
class WarmPolicy:
    """How many containers are kept ready, where their files lie, and for which image and limits one always is."""

    size: int
    directory: Path
    image: str
    limits: Limits
    longest_seconds: float
    """That any run may take."""


class WarmStarts:
    """What an engine has of warm containers, with the pool behind it. Thread-safe."""

    def __init__(self, policy: WarmPolicy, maker: Maker, uids: UidPool, digest: Callable[[str], str]) -> None:
        """`digest` gives an image's; it may raise EngineError."""

        def expected() -> Kind:
            return Kind.of(digest(policy.image), policy.limits)

        self._pool = WarmPool(maker, policy.directory, policy.size, uids, expected)
        self._plain_starts = 0

    def take(self, spec: SandboxSpec, digest: str) -> Warm | None:
        """A container that stands ready, with the run's files in it; None when a plain start has to do.

        EngineUnavailable.
        """
        if not spec.warm:
            return None
        try:
            warm = self._pool.take(digest, spec.limits)
            try:
                warm.lay_in(spec)
            except OSError:
                self._pool.discard(warm)
                raise
            return warm
        except (NoFork, OSError) as e:
            self._plain_starts += 1
            _log.info("plain_start", run_id=spec.run_id, why=str(e))
            return None

    def run(
        self,
        warm: Warm,
        spec: SandboxSpec,
        sink: LogSink,
        killed: threading.Event,
        *,
        began: float,
        believe: Callable[[int], None],
    ) -> SandboxResult:
        """Follow a run to its end, and give its container away.

        `believe` is asked with the exit code of a script that ended by itself; EngineError when it did not.
        """
        fork, counters = warm.fork, warm.container.counters
        fork.at_end = counters.finish
        used_before = counters.begin()
        failpoint("container_started")
        started = time.monotonic()
        try:
            ended = follow(fork, counters, sink, killed, deadline=started + spec.limits.timeout_seconds)
            wall = time.monotonic() - started
            last = counters.last
            if ended is Ended.EXITED and not last.oom_kills:
                believe(exit_code(fork))
            failpoint("container_ended")
        finally:
            if not self._pool.discard(warm):
                raise EngineError("the sandbox did not end although it was killed")
            failpoint("container_removed")
        cpu_seconds = None if last.cpu_seconds is None else last.cpu_seconds - (used_before or 0.0)
        return SandboxResult(
            ended=ended,
            exit_code=fork.exit_code if fork.exit_code is not None else 128 + signal.SIGKILL,
            out_of_memory=bool(last.oom_kills),
            digest=warm.kind.digest,
            start_seconds=started - began,
            usage=Usage(wall_seconds=wall, cpu_seconds=cpu_seconds, peak_memory_bytes=last.peak_memory_bytes),
        )

    def names(self) -> set[str]:
        """Of everything that is there, is being made or removed."""
        return self._pool.names()

    def state(self) -> WarmState:
        return replace(self._pool.state(), plain=self._plain_starts)

    def close(self) -> None:
        self._pool.close()
