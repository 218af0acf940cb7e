"""The oci engine: an OCI runtime driven directly on the unpacked image. No daemon stands between us and the kernel.

The walls are those of the docker engine (engines/walls.py); docs/security.md says what differs.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from controller.engines.base import Ended, EngineInfo, LogSink, SandboxResult, SandboxSpec, WarmState
from controller.engines.following import follow
from controller.engines.oci_children import ChildInit, Strays, adopt, collect_forks
from controller.engines.oci_config import sandbox_config
from controller.engines.oci_host import can_limit, has_seccomp, read_host
from controller.engines.oci_images import Images
from controller.engines.oci_runtime import STATE, Runtime, all_runtimes, counters_of
from controller.engines.oci_streams import Job, Pipes, pipes
from controller.engines.oci_users import UserNamespaces, Wanted
from controller.engines.oci_warm import OciMaker, WarmMaker, end
from controller.engines.uids import UidPool
from controller.engines.walls import DEADLINE_LABEL, ORPHAN_SECONDS, OWNER_LABEL, RUN_LABEL, WARM_LABEL
from controller.engines.warm import Warm
from controller.engines.warm_start import FORKABLE, WarmPolicy, WarmStarts
from controller.errors import EngineError, EngineUnavailable, ImageMissing
from controller.failpoints import failpoint
from controller.model import Usage

_log = structlog.get_logger(__name__)
_GRACE_SECONDS = 15
"""For the sandboxes to end when the engine is closed."""


@dataclass
class _Sandbox:
    """One container from before it is made until it is gone."""

    spec: SandboxSpec
    killed: threading.Event = field(default_factory=threading.Event)
    kill: Callable[[], None] | None = None
    """Once there is something to kill; no harm afterwards."""


class OciEngine:
    """See engines.base.Engine for the promises. `instance` marks the containers of one data directory's server."""

    def __init__(
        self,
        instance: str,
        images: Path,
        runtime: str = "runc",
        warm: WarmPolicy | None = None,
        user_namespaces: Wanted = "auto",
        warm_maker: WarmMaker = "runtime",
        state: Path = STATE,
    ) -> None:
        adopt()
        self._instance, self._state = instance, state
        self._images = Images(images)
        self._runtime = Runtime(runtime, read_host(), state)
        self._uids = UidPool()
        self._users = UserNamespaces(user_namespaces, self._runtime, self._uids, instance)
        self._strays = Strays()
        self._live: dict[str, _Sandbox] = {}
        self._lock = threading.Lock()
        self._epoch = time.time() - time.monotonic()
        forkable = Path(runtime).name in FORKABLE
        self._made = warm_maker == "launcher" and forkable
        self._warm = self._warm_starts(warm, warm_maker) if warm is not None and warm.size and forkable else None

    def _warm_starts(self, policy: WarmPolicy, by: WarmMaker) -> WarmStarts:
        maker = OciMaker(
            self._runtime, self._images, self._users, self._instance, self._clock, policy.longest_seconds, by
        )
        return WarmStarts(policy, maker, self._uids, self._images.digest)

    # -- the verbs ---------------------------------------------------------------------------------------------

    def check(self, image: str) -> EngineInfo:
        _require_root()
        host, version = self._runtime.host, self._runtime.version()
        digest, user_namespaces = None, False
        with suppress(ImageMissing):
            digest = self._images.digest(image)
            user_namespaces = self._users.given(self._images.rootfs(digest))
        return EngineInfo(
            name="oci",
            version=version,
            runtime=self._runtime.program + ("+launcher" if self._made else ""),
            cgroup_version=host.cgroup_version,
            cgroup_driver=host.cgroup_driver,
            image_digest=digest,
            runtime_version=version,
            controls={
                # gVisor's kernel answers the system calls, and asks no filter of ours.
                "seccomp": has_seccomp() and Path(self._runtime.program).name in FORKABLE,
                "apparmor": host.apparmor_profile is not None,
                "user_namespaces": user_namespaces,
                "memory_limit": can_limit(host, "memory"),
                "swap_limit": host.swap_limit,
                "process_limit": can_limit(host, "pids"),
                "cpu_limit": can_limit(host, "cpu"),
            },
            warm=self.warm(),
        )

    def warm(self) -> WarmState | None:
        return None if self._warm is None else self._warm.state()

    def image_file(self, image: str, path: str, limit_bytes: int) -> bytes:
        return self._images.file(image, path, limit_bytes)

    def run(self, spec: SandboxSpec, sink: LogSink, still_wanted: Callable[[], bool]) -> SandboxResult:
        sandbox = _Sandbox(spec)
        with self._lock:
            self._live[spec.run_id] = sandbox
        try:
            if not still_wanted():
                return SandboxResult(Ended.KILLED, 128 + signal.SIGKILL, False, "", 0.0, Usage())
            return self._run(sandbox, sink)
        finally:
            with self._lock:
                del self._live[spec.run_id]

    def kill(self, run_id: str) -> bool:
        with self._lock:
            sandbox = self._live.get(run_id)
        if sandbox is None:
            return False
        sandbox.killed.set()
        if sandbox.kill is not None:
            sandbox.kill()
        return True

    def sweep(self, run_id: str | None = None) -> int:
        collect_forks()
        self._strays.collect()
        removed, kept = 0, 0
        for runtime in all_runtimes(self._runtime, self._state):
            for name, labels in runtime.found(self._names):
                # Which run a warm container is used for is not written on it: an earlier process' may be any run's.
                concerned = run_id is None or labels.get(RUN_LABEL) == run_id or WARM_LABEL in labels
                if concerned and self._ours(labels, orphans=run_id is None):
                    if not runtime.there(name):
                        continue  # it was somebody's when it was listed, and has been removed: nothing was left
                    gone = runtime.remove(name)
                    removed, kept = removed + gone, kept + (not gone)
        if kept:
            raise EngineUnavailable(f"{kept} containers that earlier attempts left could not be removed")
        return removed

    def close(self) -> None:
        with self._lock:
            running = list(self._live)
        for run_id in running:
            self.kill(run_id)
        deadline = time.monotonic() + _GRACE_SECONDS
        while time.monotonic() < deadline and self._live:
            time.sleep(0.02)
        if self._warm is not None:
            self._warm.close()

    # -- one run, step by step -----------------------------------------------------------------------------------

    def _run(self, sandbox: _Sandbox, sink: LogSink) -> SandboxResult:
        began = time.monotonic()
        _require_root()
        digest = self._images.digest(sandbox.spec.image)
        warm = self._warm.take(sandbox.spec, digest) if self._warm is not None else None
        if self._warm is not None and warm is not None:
            return self._run_warm(self._warm, warm, sandbox, sink, began)
        with self._uids.take() as uid, pipes() as streams:
            init = None
            try:
                init = self._start(sandbox, uid, digest, streams)
                return self._follow(sandbox, init, streams, digest, began, sink)
            finally:
                if init is not None:
                    self._end(sandbox, init)
                else:
                    self._runtime.remove(sandbox.spec.name)

    def _run_warm(
        self, starts: WarmStarts, warm: Warm, sandbox: _Sandbox, sink: LogSink, began: float
    ) -> SandboxResult:
        sandbox.kill = warm.fork.kill
        # No daemon ends containers here by ending itself: what a script's end looks like, it is.
        return starts.run(warm, sandbox.spec, sink, sandbox.killed, began=began, believe=lambda code: None)

    def _start(self, sandbox: _Sandbox, uid: int, digest: str, streams: Pipes) -> ChildInit:
        spec = sandbox.spec
        rootfs = self._images.rootfs(digest)
        config = sandbox_config(
            spec,
            uid=uid,
            instance=self._instance,
            deadline=int(self._clock() + spec.limits.timeout_seconds) + 1,
            rootfs=rootfs,
            host=self._runtime.host,
            user_namespace=self._users.given(rootfs),
        )
        streams.belong_to(uid)
        stdin, stdout, stderr = streams.theirs
        init = self._runtime.start(spec.name, config, (stdin, stdout, stderr), rootfs)
        streams.given()
        failpoint("container_created")
        sandbox.kill = init.kill
        return init

    def _follow(
        self, sandbox: _Sandbox, init: ChildInit, streams: Pipes, digest: str, began: float, sink: LogSink
    ) -> SandboxResult:
        failpoint("container_started")
        started = time.monotonic()
        counters = counters_of(self._runtime.place(sandbox.spec.name), self._runtime)
        deadline = started + sandbox.spec.limits.timeout_seconds
        ended = follow(Job(init, streams), counters, sink, sandbox.killed, deadline=deadline)
        wall = time.monotonic() - started
        exit_code, last = init.collect(), counters.sample()
        if exit_code is None:
            raise EngineError("how the container ended is not known: somebody else collected its first process")
        failpoint("container_ended")
        return SandboxResult(
            ended=ended,
            exit_code=exit_code,
            out_of_memory=bool(last.oom_kills),
            digest=digest,
            start_seconds=started - began,
            usage=Usage(wall_seconds=wall, cpu_seconds=last.cpu_seconds, peak_memory_bytes=last.peak_memory_bytes),
        )

    def _end(self, sandbox: _Sandbox, init: ChildInit) -> None:
        end(self._runtime, sandbox.spec.name, init)
        init.close()
        failpoint("container_removed")

    # -- small steps ---------------------------------------------------------------------------------------------

    def _names(self) -> set[str]:
        with self._lock:
            live = {sandbox.spec.name for sandbox in self._live.values()}
        return live | self._users.names() | (self._warm.names() if self._warm is not None else set())

    def _ours(self, labels: dict[str, str], *, orphans: bool) -> bool:
        if labels.get(OWNER_LABEL) == self._instance:
            return True
        deadline = labels.get(DEADLINE_LABEL, "")
        return orphans and deadline.isdecimal() and self._clock() > int(deadline) + ORPHAN_SECONDS

    def _clock(self) -> float:
        """Unix time as it was when this engine was made, and what went by since: a wall clock that jumps ahead must not
        make orphans of other servers' containers.
        """
        return self._epoch + time.monotonic()


def _require_root() -> None:
    if os.geteuid() != 0:
        raise EngineUnavailable("the oci engine needs root: it gives each run a user of its own")
