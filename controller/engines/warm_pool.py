"""How many warm containers there are, of which kinds, and what becomes of them: ahead of the runs, and behind them.

A pool keeps some for each kind of run that was asked for lately, and always one of the kind that is expected. A run
that finds none has one made at once; where that cannot be, it gets a plain start.
"""

from __future__ import annotations

import math
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from pathlib import Path

import structlog

from controller.engines.base import WarmState
from controller.engines.launcher import NoFork
from controller.engines.uids import UidPool
from controller.engines.warm import LIFE_SECONDS, Generation, Kind, Maker, Warm, Workshop
from controller.errors import EngineError, EngineUnavailable
from controller.model import Limits

LATELY_SECONDS, AHEAD_SECONDS = 30.0, 1.0
"""Runs of this time say how many are to be expected; so many are kept ready as are expected in this."""
IDLE_SECONDS = 60.0
"""A container more than wanted goes after so long; sooner when another kind wants its place."""
REST_SECONDS, LONGEST_REST_SECONDS = 10.0, 600.0
"""Between a failure and the next attempt; twice as long after each further one."""
PAUSE_SECONDS = 0.05
"""After a container was taken, or left: a short run that has just begun is not to share the machine with the making of
the next one, as long as there is one; nor is the answer with the removal of the last."""
BACKLOG = 8
"""Removals behind the runs' backs; with more, whoever adds one has to do it."""
MAKERS = 2
_JOIN_SECONDS = 30.0
_log = structlog.get_logger(__name__)


class WarmPool:
    """Thread-safe. `expected` tells the kind of which one is always kept; it is asked every second, and may raise."""

    def __init__(
        self, maker: Maker, directory: Path, size: int, uids: UidPool, expected: Callable[[], Kind]
    ) -> None:
        self._workshop = Workshop(maker, directory, uids)
        self._size, self._expected = size, expected
        # One lock. Who makes and removes is woken one by one, with each thing to do: a run has just begun, or ended,
        # and all of them at once would be in its way. The keeper has hardly ever anything to do with it.
        lock = threading.RLock()
        self._changed, self._launcher_lacks = threading.Condition(lock), threading.Condition(lock)
        self._ready: dict[Kind, list[Warm]] = {}
        self._asked: dict[Kind, deque[float]] = {}
        self._making: Counter[Kind] = Counter()
        self._leaving: deque[Callable[[], None]] = deque()
        self._generations: dict[str, Generation] = {}
        self._retired: list[Generation] = []
        self._starting = 0
        self._default: Kind | None = None
        self._rest_until = self._pause_until = 0.0
        self._closing = False
        self._taken = self._made_at_once = self._failures = 0
        self._threads = [threading.Thread(target=self._keep, name="warm-keeper", daemon=True)] + [
            threading.Thread(target=self._work, name=f"warm-maker-{n}", daemon=True) for n in range(MAKERS)
        ]
        for thread in self._threads:
            thread.start()

    # -- what the engine asks for --------------------------------------------------------------------------------

    def take(self, digest: str, limits: Limits) -> Warm:
        """A container for one run: one that is ready, or one that is made now. NoFork, EngineUnavailable."""
        kind = Kind.of(digest, limits)
        with self._changed:
            self._asked.setdefault(kind, deque()).append(time.monotonic())
            self._changed.notify()
            if digest not in self._generations:
                self._launcher_lacks.notify()
            ready = self._ready.get(kind, [])
            while ready:
                warm = ready.pop()
                if warm.fork.waits():
                    self._taken += 1
                    self._pause_until = time.monotonic() + PAUSE_SECONDS
                    return warm
                self._leave(warm.remove)
            if time.monotonic() < self._rest_until:
                raise NoFork("the last attempt failed just now")
            generation = self._generations.get(digest)
        if generation is None or generation.worn(2):
            raise NoFork("no launcher is ready")
        try:
            warm = self._workshop.container(kind, generation)
        except EngineUnavailable:
            raise  # a plain start could not be had either
        except (NoFork, EngineError, OSError) as e:
            if self._failed("warm_container_not_made", e, generation):
                raise NoFork(str(e)) from e
            raise NoFork("no launcher is ready") from e
        with self._changed:
            self._made_at_once += 1
        return warm

    def discard(self, warm: Warm) -> bool:
        """End it now, and remove it behind the caller's back. Whether all its processes have ended."""
        ended = warm.end()
        with self._changed:
            if warm.fork.crashed and self._generations.get(warm.kind.digest) is warm.generation:
                self._retire(warm.kind.digest)
            self._pause_until = time.monotonic() + PAUSE_SECONDS
            self._leave(warm.remove)
            too_many = self._leaving.popleft() if len(self._leaving) > BACKLOG else None
        if too_many is not None:
            too_many()
        return ended

    def names(self) -> set[str]:
        """Of all that is there, is being made or removed."""
        return self._workshop.names()

    def state(self) -> WarmState:
        with self._changed:
            ready = sum(map(len, self._ready.values()))
            launchers = len(self._generations) + len(self._retired) + self._starting
            return WarmState(
                ready=ready,
                limit=self._size,
                in_use=len(self._workshop.names()) - ready - self._making.total() - launchers,
                launchers=launchers,
                taken=self._taken,
                made_at_once=self._made_at_once,
            )

    def close(self) -> None:
        """Remove everything that is not in use."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
            self._launcher_lacks.notify()
        for thread in self._threads:
            thread.join(_JOIN_SECONDS)
        with self._changed:
            for digest in list(self._generations):
                self._retire(digest)
            self._bury()
            leaving, self._leaving = list(self._leaving), deque()
        for remove in leaving:
            remove()
        self._workshop.close()

    # -- ahead and behind: two threads that make and remove ---------------------------------------------------------

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._closing and (self._pauses() or not (self._leaving or self._next() is not None)):
                    pause = self._pause_until - time.monotonic()
                    self._changed.wait(pause if pause > 0 else 1.0)
                if self._closing:
                    return
                kind = None if len(self._leaving) > BACKLOG // 2 else self._next()
                if kind is None and not self._leaving:
                    continue  # what was lacking has gone out of fashion in this moment
                if kind is None:
                    remove = self._leaving.popleft()
                else:
                    self._making[kind] += 1
                    generation = self._generations[kind.digest]
            if kind is None:
                self._remove(remove)
            else:
                self._make(kind, generation)

    def _remove(self, remove: Callable[[], None]) -> None:
        try:
            remove()
        except Exception:  # noqa: BLE001 - a fault of ours must not end the thread
            _log.exception("unforeseen_error")

    def _make(self, kind: Kind, generation: Generation) -> None:
        warm = None
        try:
            warm = self._workshop.container(kind, generation)
        except (NoFork, EngineError, OSError) as e:
            self._failed("warm_container_not_made", e, generation)
        except Exception:  # noqa: BLE001 - a fault of ours must not end the thread
            _log.exception("unforeseen_error")
            self._rest()
        with self._changed:
            self._making[kind] -= 1
            if not self._making[kind]:
                del self._making[kind]  # tenants choose the limits: there is no end of kinds
            self._failures = 0 if warm is not None else self._failures
            if warm is not None and self._generations.get(kind.digest) is generation:
                self._ready.setdefault(kind, []).append(warm)
            elif warm is not None:
                self._leave(warm.remove)

    def _pauses(self) -> bool:
        """Not when somebody would have to wait for it."""
        if time.monotonic() >= self._pause_until or len(self._leaving) > BACKLOG // 2:
            return False
        return all(self._ready.get(kind) for kind in self._kinds())

    def _next(self) -> Kind | None:
        """The kind that lacks most; None when none does, or none can be made.

        One place is the default's: others, of which a tenant can ask for as many as it likes, do not take it.
        """
        free = self._size - sum(map(len, self._ready.values())) - self._making.total()
        if free <= 0 or time.monotonic() < self._rest_until:
            return None
        able = [kind for kind in self._kinds() if (one := self._generations.get(kind.digest)) and not one.worn(2)]
        if self._default in able and free == 1 and not (self._ready.get(self._default) or self._making[self._default]):
            able = [self._default]
        lacking = {kind: self._lacking(kind) for kind in able}
        kind = max(lacking, key=lambda kind: lacking[kind], default=None)
        return kind if kind is not None and lacking[kind] > 0 else None

    def _kinds(self) -> set[Kind]:
        return {*self._asked, *self._ready, *([self._default] if self._default else [])}

    def _lacking(self, kind: Kind) -> int:
        return self._wanted(kind) - len(self._ready.get(kind, ())) - self._making[kind]

    def _wanted(self, kind: Kind) -> int:
        asked, now = self._asked.get(kind, deque()), time.monotonic()
        while asked and asked[0] < now - LATELY_SECONDS:
            asked.popleft()
        if not asked:
            return int(kind == self._default)
        return 1 + math.ceil(len(asked) * AHEAD_SECONDS / LATELY_SECONDS)

    def _leave(self, remove: Callable[[], None]) -> None:
        self._leaving.append(remove)
        self._changed.notify()

    # -- the keeper: launchers where they are needed, and nothing that is not -----------------------------------------

    def _keep(self) -> None:
        while True:
            try:
                self._default = self._expected()
                for digest in self._without_launcher():
                    self._replace(digest)
                self._tidy()
            except (NoFork, EngineError, OSError) as e:
                self._failed("launcher_not_started", e)
            except Exception:  # noqa: BLE001 - a fault of ours must not end the thread
                _log.exception("unforeseen_error")
                self._rest()
            with self._changed:
                self._launcher_lacks.wait_for(self._keeper_is_needed, max(1.0, self._rest_until - time.monotonic()))
                if self._closing:
                    return

    def _keeper_is_needed(self) -> bool:
        rests = time.monotonic() < self._rest_until
        return self._closing or (not rests and any(kind.digest not in self._generations for kind in self._kinds()))

    def _without_launcher(self) -> list[str]:
        with self._changed:
            self._asked = {kind: asked for kind, asked in self._asked.items() if self._wanted(kind) and asked}
            digests = {kind.digest for kind in self._kinds()}
            return [one for one in digests if one not in self._generations or self._generations[one].worn()]

    def _replace(self, digest: str) -> None:
        with self._changed:
            self._starting += 1
        try:
            fresh = self._workshop.launcher(digest)
        finally:
            with self._changed:
                self._starting -= 1
        with self._changed:
            self._retire(digest)
            self._generations[digest] = fresh
            self._changed.notify_all()

    def _retire(self, digest: str) -> None:
        """No more forks of this launcher, and none of its containers that wait; those at work go on."""
        generation = self._generations.pop(digest, None)
        if generation is not None:
            generation.launcher.close()
            self._retired.append(generation)
            self._launcher_lacks.notify()
            self._drop(lambda warm: warm.generation is generation)

    def _tidy(self) -> None:
        with self._changed:
            self._bury()
            self._drop(lambda warm: time.monotonic() - warm.made > LIFE_SECONDS or not warm.fork.waits())
            for kind, ready in self._ready.items():
                lacked = any(self._lacking(other) > 0 for other in self._kinds() if other != kind)
                for warm in ready[: max(0, len(ready) - self._wanted(kind))]:
                    if lacked or time.monotonic() - warm.made > IDLE_SECONDS:
                        ready.remove(warm)
                        self._leave(warm.remove)
            self._ready = {kind: ready for kind, ready in self._ready.items() if ready}
            for digest in self._generations.keys() - {kind.digest for kind in self._kinds()}:
                self._retire(digest)

    def _drop(self, which: Callable[[Warm], bool]) -> None:
        for ready in self._ready.values():
            for warm in [warm for warm in ready if which(warm)]:
                ready.remove(warm)
                self._leave(warm.remove)

    def _bury(self) -> None:
        """Remove launchers that have ended: with their last fork, since they alone can say how that did."""
        for generation in list(self._retired):
            if self._closing or generation.launcher.wait(0):
                self._retired.remove(generation)
                self._leave(generation.remove)

    def _failed(self, event: str, error: Exception, generation: Generation | None = None) -> bool:
        """Rest, and say that it did; not when a launcher that has worked was retired meanwhile, or died: another one is
        started.
        """
        with self._changed:
            current = [digest for digest, one in self._generations.items() if one is generation]
            died = generation is not None and not generation.launcher.usable()
            if died:
                for digest in current:
                    self._retire(digest)
            if self._closing or (generation is not None and generation.launcher.forks > 1 and (died or not current)):
                return False
            seconds = self._rest()
        _log.warning(event, error=str(error), next_try_seconds=seconds)
        return True

    def _rest(self) -> float:
        with self._changed:
            seconds = min(LONGEST_REST_SECONDS, REST_SECONDS * 2.0**self._failures)
            self._failures += 1
            self._rest_until = time.monotonic() + seconds
            return seconds
