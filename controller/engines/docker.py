"""The default engine: Docker, through the docker SDK, one client for the whole process.

A run gets a warm container where there is one to be had (engines/warm.py), else one of its own with a plain start.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import structlog
from docker.errors import ImageNotFound

from controller.engines.base import Ended, EngineInfo, LogSink, SandboxResult, SandboxSpec, WarmState
from controller.engines.docker_daemon import Daemon, translated
from controller.engines.docker_files import read_image_file
from controller.engines.docker_request import create_request
from controller.engines.docker_stream import Attachment
from controller.engines.docker_warm import DockerMaker
from controller.engines.docker_witness import Witness, outlived
from controller.engines.following import follow
from controller.engines.uids import UidPool
from controller.engines.walls import DEADLINE_LABEL, ORPHAN_SECONDS, OWNER_LABEL, RUN_LABEL, WARM_LABEL
from controller.engines.warm import Warm
from controller.engines.warm_start import FORKABLE, WarmPolicy, WarmStarts
from controller.errors import EngineError, EngineUnavailable
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
    asked_for: bool = False
    """Docker was asked to make it: even if no answer came, it may be there."""
    container_id: str | None = None
    warm: Warm | None = None


class _Attached:
    """A container's runner as `follow` wants it: Docker's stream, and two questions to Docker."""

    def __init__(self, attachment: Attachment, alive: Callable[[], bool], kill: Callable[[], None]) -> None:
        self.send, self.read = attachment.send, attachment.read
        self.alive, self.kill = alive, kill


class DockerEngine:
    """See engines.base.Engine for the promises. `instance` marks the containers of one data directory's server."""

    def __init__(
        self, instance: str, runtime: str = "runc", connections: int = 64, warm: WarmPolicy | None = None
    ) -> None:
        self._instance = instance
        self._runtime = runtime
        self._daemon = Daemon(connections)
        self._uids = UidPool()
        self._live: dict[str, _Sandbox] = {}
        self._lock = threading.Lock()
        self._epoch = time.time() - time.monotonic()
        self._warm = self._warm_starts(warm) if warm is not None and warm.size and runtime in FORKABLE else None

    def _warm_starts(self, policy: WarmPolicy) -> WarmStarts:
        maker = DockerMaker(self._daemon, self._instance, self._runtime, self._clock, policy.longest_seconds)

        def digest(image: str) -> str:
            with translated():
                return self._daemon.digest(image)

        return WarmStarts(policy, maker, self._uids, digest)

    # -- the verbs ---------------------------------------------------------------------------------------------

    def check(self, image: str) -> EngineInfo:
        with translated():
            api = self._daemon.api
            info, version = api.info(), api.version()
            try:
                digest: str | None = api.inspect_image(image)["Id"]
            except ImageNotFound:
                digest = None
        options = " ".join(info.get("SecurityOptions") or [])
        return EngineInfo(
            name="docker",
            version=version["Version"],
            runtime=self._runtime,
            cgroup_version=info.get("CgroupVersion", "1"),
            cgroup_driver=info.get("CgroupDriver", "cgroupfs"),
            image_digest=digest,
            runtime_version=_component_version(version, self._runtime),
            controls={
                "seccomp": "seccomp" in options,
                "apparmor": "apparmor" in options,
                "user_namespaces": "userns" in options,
                "memory_limit": bool(info.get("MemoryLimit")),
                "swap_limit": bool(info.get("SwapLimit")),
                "process_limit": bool(info.get("PidsLimit")),
                "cpu_limit": bool(info.get("CpuCfsQuota")),
            },
            warm=self.warm(),
        )

    def warm(self) -> WarmState | None:
        return None if self._warm is None else self._warm.state()

    def image_file(self, image: str, path: str, limit_bytes: int) -> bytes:
        with translated():
            return read_image_file(self._daemon.api, image, path, limit_bytes)

    def run(self, spec: SandboxSpec, sink: LogSink, still_wanted: Callable[[], bool]) -> SandboxResult:
        sandbox = _Sandbox(spec)
        with self._lock:
            self._live[spec.run_id] = sandbox
        try:
            if not still_wanted():
                return SandboxResult(Ended.KILLED, 128 + signal.SIGKILL, False, "", 0.0, Usage())
            try:
                with translated():
                    return self._run(sandbox, sink)
            except EngineUnavailable as e:
                if not sandbox.asked_for:
                    raise  # nothing was made
                raise EngineError(f"Docker stopped answering while the script ran. {e.detail}") from e
        finally:
            with self._lock:
                del self._live[spec.run_id]

    def kill(self, run_id: str) -> bool:
        with self._lock:
            sandbox = self._live.get(run_id)
        if sandbox is None:
            return False
        sandbox.killed.set()
        if sandbox.warm is not None:
            sandbox.warm.fork.kill()
        elif sandbox.container_id is not None:
            with translated():
                self._daemon.kill(sandbox.container_id)
        return True

    def sweep(self, run_id: str | None = None) -> int:
        wanted = [OWNER_LABEL] if run_id is None else [f"{OWNER_LABEL}={self._instance}"]
        with translated():
            found = self._daemon.api.containers(all=True, filters={"label": wanted})
            # Taken after the list: a sandbox that is being made meanwhile is in it, or not in the list.
            with self._lock:
                live = {sandbox.spec.name for sandbox in self._live.values()}
            live |= self._warm.names() if self._warm is not None else set()
            removed, kept = 0, 0
            for container in found:
                name, labels = container["Names"][0].lstrip("/") if container.get("Names") else "", container["Labels"]
                # Which run a warm container is used for is not written on it: an earlier process' may be any run's.
                concerned = run_id is None or labels.get(RUN_LABEL) == run_id or WARM_LABEL in labels
                if concerned and name not in live and self._ours(labels):
                    gone = self._daemon.remove(container["Id"])
                    removed, kept = removed + bool(gone), kept + (gone is None)
        if kept:
            raise EngineUnavailable(f"Docker did not remove {kept} containers that earlier attempts left")
        return removed

    def close(self) -> None:
        with self._lock:
            running = list(self._live)
        for run_id in running:
            try:
                self.kill(run_id)
            except EngineError as e:
                _log.warning("sandbox_not_killed", run_id=run_id, code=e.code, error=e.detail)
        deadline = time.monotonic() + _GRACE_SECONDS
        while time.monotonic() < deadline and self._live:
            time.sleep(0.02)
        if self._warm is not None:
            self._warm.close()
        self._daemon.close()

    # -- one run, step by step -----------------------------------------------------------------------------------

    def _run(self, sandbox: _Sandbox, sink: LogSink) -> SandboxResult:
        began = time.monotonic()
        witness, digest = self._daemon.witness(), self._daemon.digest(sandbox.spec.image)
        warm = self._warm.take(sandbox.spec, digest) if self._warm is not None else None
        if self._warm is not None and warm is not None:
            sandbox.warm, sandbox.asked_for = warm, True
            believe = partial(_require_own_death, witness=witness)
            return self._warm.run(warm, sandbox.spec, sink, sandbox.killed, began=began, believe=believe)
        with self._uids.take() as uid:
            try:
                return self._run_plain(sandbox, uid, digest, witness, began, sink)
            finally:
                if sandbox.asked_for:
                    # By name when there is no id: creation may have worked although its answer was lost.
                    self._daemon.remove(sandbox.container_id or sandbox.spec.name)
                    failpoint("container_removed")

    def _run_plain(
        self, sandbox: _Sandbox, uid: int, digest: str, witness: Witness, began: float, sink: LogSink
    ) -> SandboxResult:
        daemon, spec = self._daemon, sandbox.spec
        request = create_request(
            spec,
            uid=uid,
            instance=self._instance,
            deadline=int(self._clock() + spec.limits.timeout_seconds) + 1,
            runtime=self._runtime,
            cgroup_parent=daemon.parent_cgroup,
        )
        request["Image"] = digest  # what was inspected is what runs, whatever the tag points to meanwhile
        sandbox.asked_for = True
        container_id: str = daemon.api.create_container_from_config(request, name=spec.name)["Id"]
        sandbox.container_id = container_id
        failpoint("container_created")
        attachment = Attachment(
            daemon.api.attach_socket(container_id, params={"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1})
        )
        try:
            daemon.api.start(container_id)
            failpoint("container_started")
            started = time.monotonic()
            counters = daemon.counters(container_id)
            job = _Attached(
                attachment, lambda: bool(daemon.inspect(container_id)["Running"]), lambda: daemon.kill(container_id)
            )
            deadline = started + spec.limits.timeout_seconds
            with counters.watched() as attachment.alarm:
                ended = follow(job, counters, sink, sandbox.killed, deadline=deadline)
            state = daemon.inspect(container_id)
            wall = time.monotonic() - started
            if ended is Ended.EXITED and not state.get("OOMKilled"):
                _require_own_death(int(state["ExitCode"]), witness)
            failpoint("container_ended")
        finally:
            attachment.close()
        last = counters.last
        return SandboxResult(
            ended=ended,
            exit_code=int(state["ExitCode"]),
            out_of_memory=bool(state.get("OOMKilled")) or bool(last.oom_kills),
            digest=digest,
            start_seconds=started - began,
            usage=Usage(wall_seconds=wall, cpu_seconds=last.cpu_seconds, peak_memory_bytes=last.peak_memory_bytes),
        )

    # -- small steps ---------------------------------------------------------------------------------------------

    def _ours(self, labels: dict[str, str]) -> bool:
        if labels.get(OWNER_LABEL) == self._instance:
            return True
        deadline = labels.get(DEADLINE_LABEL, "")
        return deadline.isdecimal() and self._clock() > int(deadline) + ORPHAN_SECONDS

    def _clock(self) -> float:
        """Unix time as it was when this engine was made, and what went by since: a wall clock that jumps ahead must not
        make orphans of other servers' containers.
        """
        return self._epoch + time.monotonic()


def _component_version(version: dict[str, Any], name: str) -> str | None:
    """Docker tells the version of a runtime that it came with, and of no other."""
    return next((part["Version"] for part in version.get("Components") or [] if part.get("Name") == name), None)


def _require_own_death(exit_code: int, witness: Witness) -> None:
    """EngineError when it was Docker that ended the container, by ending itself."""
    if exit_code > 1 and not outlived(witness):
        raise EngineError("Docker was stopped while the script ran, and took the container with it")
