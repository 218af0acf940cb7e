"""Warm containers: made ahead, with a runner forked into them that waits for the go signal; each is used once.

Runners are forked by a launcher (engines/launcher.py), of which there is one for each image. It is replaced after so
many forks, so much time, or when a runner died of a native crash: forks of one launcher share their address layout
and the seed of their hashes. When what is made: engines/warm_pool.py.
"""

from __future__ import annotations

import os
import secrets
import shutil
import threading
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Protocol

from controller.engines.base import SandboxSpec
from controller.engines.cgroup import CgroupReader
from controller.engines.launcher import Fork, Launcher, NoFork, Place, listen
from controller.engines.uids import UidPool
from controller.model import Limits

FORKS, LIFE_SECONDS = 500, 600.0
"""Of one launcher. A warm container is not kept longer either."""
_END_SECONDS = 15.0
_LEAVE_SECONDS = 1.0


@dataclass(frozen=True)
class Kind:
    """Runs that can use the same containers. Of the limits only those count that a container is made with."""

    digest: str
    limits: Limits

    @cached_property
    def _hash(self) -> int:
        return hash((self.digest, self.limits))

    def __hash__(self) -> int:
        """Asked whenever somebody looks what is to be made, and not to be counted out of a dozen limits each time."""
        return self._hash

    @classmethod
    @lru_cache(maxsize=256)
    def of(cls, digest: str, limits: Limits) -> Kind:
        elsewhere = dict.fromkeys(("timeout_seconds", "log_bytes", "images", "images_bytes", "inflated_bytes"), 0)
        return cls(digest, limits.model_copy(update=elsewhere))


class Container(Protocol):
    """What an engine made, with its counters, and the place in it for a fork."""

    @property
    def place(self) -> Place: ...
    @property
    def counters(self) -> CgroupReader: ...
    def remove(self) -> bool:
        """Whether it is gone. Never raises."""

    def close(self) -> None:
        """Let go of its first process, when it has been removed."""


class LauncherContainer(Protocol):
    def last_words(self) -> str: ...
    def remove(self) -> bool: ...


class Maker(Protocol):
    """The engine's part."""

    def container(self, name: str, kind: Kind, uid: int, slot: Path, launcher: str) -> Container:
        """For one fork of this launcher, with slot/in at /in and slot/out at /out. EngineError, NoFork."""

    def launcher(self, name: str, digest: str, directory: Path) -> LauncherContainer:
        """Started, with the directory at /in. EngineError."""

    def remove(self, name: str) -> bool:
        """What may be left of one of these that could not be made."""


@dataclass
class Generation:
    """A launcher, and what goes with it."""

    name: str
    launcher: Launcher
    container: LauncherContainer
    held: ExitStack

    def worn(self, times: int = 1) -> bool:
        """Whether it is to be replaced; twice over, it forks no more even where it could not be."""
        old = time.monotonic() - self.launcher.born > times * LIFE_SECONDS
        return old or self.launcher.forks >= times * FORKS or not self.launcher.usable()

    def remove(self) -> None:
        """When its last fork has ended: it alone collects them, for which it is given a moment."""
        self.launcher.close()
        self.launcher.wait(_LEAVE_SECONDS)
        self.container.remove()
        self.launcher.forget()
        self.held.close()


@dataclass
class Warm:
    """A container with a runner in it, for one run; then it is removed."""

    kind: Kind
    slot: Path
    container: Container
    fork: Fork
    generation: Generation
    held: ExitStack
    made: float = field(default_factory=time.monotonic)
    laid: list[str] = field(default_factory=list)

    def lay_in(self, spec: SandboxSpec) -> None:
        """Put the run's files where the container sees them: links, no copies. OSError."""
        for source, place in ((spec.input_dir, "in"), (spec.output_dir, "out")):
            for name in os.listdir(source):
                link = f"{self.slot}/{place}/{name}"
                os.link(f"{source}/{name}", link)
                self.laid.append(link)

    def end(self) -> bool:
        """End all of it; whether it has. Then the run's files have one name again."""
        self.fork.init.kill()
        ended = self.fork.init.wait(_END_SECONDS)
        if ended:
            for link in self.laid:
                with suppress(OSError):
                    os.unlink(link)
        return ended

    def remove(self) -> None:
        self.held.close()


class Workshop:
    """Makes warm containers and launchers, in a directory of its own, and knows the names of those that are there."""

    def __init__(self, maker: Maker, directory: Path, uids: UidPool) -> None:
        self._maker, self._uids = maker, uids
        self._token = secrets.token_hex(6)
        shutil.rmtree(directory, ignore_errors=True)  # an earlier process'
        self._directory = directory / self._token
        self._directory.mkdir(parents=True)
        self._lock = threading.Lock()
        self._numbers = 0
        self._names: set[str] = set()

    def names(self) -> set[str]:
        """Of everything that is there, is being made or removed."""
        with self._lock:
            return set(self._names)

    def container(self, kind: Kind, generation: Generation) -> Warm:
        """NoFork, EngineError, OSError: nothing is left."""
        with ExitStack() as held:
            name = self._name(held, "warm")
            uid = held.enter_context(self._uids.take())
            slot = self._folder(held, name)
            for place in ("in", "out"):
                held.callback(_remove, _made(slot / place))
            unmade = held.enter_context(ExitStack())
            unmade.callback(self._maker.remove, name)
            container = self._maker.container(name, kind, uid, slot, generation.name)
            unmade.pop_all()
            held.callback(container.close)
            held.callback(container.remove)
            threads = max(1, int(kind.limits.cpus))
            fork = generation.launcher.fork(container.place, uid, threads, kind.limits.output_bytes)
            held.callback(fork.close)
            return Warm(kind, slot, container, fork, generation, held.pop_all())

    def launcher(self, digest: str) -> Generation:
        """One that is ready to fork. NoFork, EngineError, OSError: nothing is left."""
        with ExitStack() as held:
            name = self._name(held, "launcher")
            directory = self._folder(held, name)
            unmade = held.enter_context(ExitStack())
            unmade.callback(self._maker.remove, name)
            with listen(directory) as listener:
                container = self._maker.launcher(name, digest, directory)
                unmade.pop_all()
                unmade.callback(container.remove)
                try:
                    launcher = Launcher(listener)
                except NoFork as e:
                    raise NoFork(f"{e}; it said: {container.last_words()}") from e
            unmade.pop_all()
            return Generation(name, launcher, container, held.pop_all())

    def close(self) -> None:
        shutil.rmtree(self._directory, ignore_errors=True)

    def _folder(self, held: ExitStack, name: str) -> Path:
        folder = _made(self._directory / name)
        held.callback(_remove, folder)
        return folder

    def _name(self, held: ExitStack, what: str) -> str:
        with self._lock:
            self._numbers += 1
            name = f"airlock-{what}-{self._token}-{self._numbers}"
            self._names.add(name)
        held.callback(self._forget, name)
        return name

    def _forget(self, name: str) -> None:
        with self._lock:
            self._names.discard(name)


def _made(folder: Path) -> Path:
    """This folder, which containers can read whatever the server's umask is."""
    folder.mkdir()
    folder.chmod(0o755)
    return folder


def _remove(folder: Path) -> None:
    """A launcher's has its socket in it; all others are empty, but where something has failed."""
    try:
        folder.rmdir()
    except OSError:
        shutil.rmtree(folder, ignore_errors=True)
