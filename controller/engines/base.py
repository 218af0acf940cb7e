"""What an engine is: the thing that makes one sandbox, runs one job in it, and removes it.

Frozen values go in and come out; every engine keeps the same promises (tests/contract/engine_contract.py):

* `run` returns only when no process of the sandbox is left. What else there is of it goes at once, or, with a warm
  container, within moments.
* A sandbox is used once. Its run id is never used again with the same attempt.
* How the job ended is told from the controller's clock, the cgroup and the exit, never from what the job says.
* A failing job is a SandboxResult; a failing engine raises an EngineError.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from controller.model import Limits, Usage

RUNNER_COMMAND = ("/opt/conda/bin/python", "-I", "-B", "-m", "runner")
GO_SIGNAL = b'{"go": 1}\n'
STDOUT, STDERR = 1, 2
NATIVE_FAULTS = (signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGABRT)
"""With which the kernel, or the C library, ends a process whose native code did what it must not."""


@dataclass(frozen=True)
class SandboxSpec:
    """What is wanted of a sandbox: policy as data. An engine turns it into what its runtime is asked for.

    `input_dir` is mounted read-only at /in, `output_dir` at /out (its files are writable, the directory is not).
    """

    run_id: str
    attempt: int
    image: str
    input_dir: Path
    output_dir: Path
    limits: Limits
    warm: bool = True
    """Whether a warm container will do, whose runner shares its address layout with others of its time."""

    @property
    def name(self) -> str:
        return f"airlock-{self.run_id}-{self.attempt}"


class Ended(StrEnum):
    """What ended the sandbox: itself, the controller's clock, or a call of `kill`."""

    EXITED = "exited"
    DEADLINE = "deadline"
    KILLED = "killed"


@dataclass(frozen=True)
class SandboxResult:
    """How a sandbox ended. `exit_code` as a shell gives it: 128 + N for signal N. `digest` is the image's."""

    ended: Ended
    exit_code: int
    out_of_memory: bool
    digest: str
    start_seconds: float
    usage: Usage


@dataclass(frozen=True)
class WarmState:
    """What stands ready: containers, of at most `limit`, and launchers; and how runs got theirs since the start."""

    ready: int
    limit: int
    in_use: int
    """By a run, or on its way out."""
    launchers: int
    taken: int
    """Runs that found a container ready."""
    made_at_once: int
    """Runs for which one was made, warm as well."""
    plain: int = 0
    """Runs with a plain start instead."""


@dataclass(frozen=True)
class EngineInfo:
    """What the engine says of itself; `controls` are the walls in force, by name."""

    name: str
    version: str
    runtime: str
    cgroup_version: str
    cgroup_driver: str
    image_digest: str | None
    controls: dict[str, bool]
    runtime_version: str | None = None
    """Where the engine tells it."""
    warm: WarmState | None = None
    """None where every run has a plain start."""


LogSink = Callable[[int, bytes], None]
"""Takes (STDOUT or STDERR, bytes) as they come, in order; must not block for long and must not raise."""


class Engine(Protocol):
    def check(self, image: str) -> EngineInfo:
        """Ask the engine for its versions and the image's digest. EngineUnavailable when it does not answer."""

    def image_file(self, image: str, path: str, limit_bytes: int) -> bytes:
        """A plain file of an image, which the operator made; nothing of it is run. EngineError, EngineUnavailable."""

    def run(self, spec: SandboxSpec, sink: LogSink, still_wanted: Callable[[], bool]) -> SandboxResult:
        """Make the sandbox, run the runner in it to its end or to the deadline, remove it.

        `still_wanted` is asked once, when `kill` can already reach this run and nothing is made yet: whoever
        notes down that a run is unwanted, and then calls `kill`, is heard in either case.
        ImageMissing and EngineUnavailable: nothing was made, the same run may be begun again. EngineError: it was
        begun and could not be brought to its end. Even then nothing stays behind that `sweep` would not find.
        """

    def kill(self, run_id: str) -> bool:
        """End a running sandbox now; False when this engine is not running it. Safe to call at any time."""

    def warm(self) -> WarmState | None:
        """What stands ready, told at once: nobody is asked. None where every run has a plain start."""

    def sweep(self, run_id: str | None = None) -> int:
        """Remove what a crash left: sandboxes of ours that no call of `run` is working on. Returns how many.

        With a run's id, those of its earlier attempts. EngineUnavailable when one of them stays.
        """

    def close(self) -> None:
        """Kill what runs, and let go of the engine."""


