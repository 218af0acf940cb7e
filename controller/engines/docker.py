"""The default engine: Docker, through the docker SDK, one client for the whole process."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import docker
import requests
import structlog
from docker.errors import APIError, DockerException, ImageNotFound, NotFound

from controller.engines import cgroup
from controller.engines.base import Ended, EngineInfo, LogSink, SandboxResult, SandboxSpec
from controller.engines.docker_files import read_image_file
from controller.engines.docker_request import DEADLINE_LABEL, OWNER_LABEL, RUN_LABEL, create_request
from controller.engines.docker_stream import Attachment
from controller.engines.docker_witness import Witness, Witnesses, outlived
from controller.engines.following import follow
from controller.engines.uids import UidPool
from controller.errors import EngineError, EngineUnavailable, ImageMissing
from controller.failpoints import failpoint
from controller.model import Usage

_log = structlog.get_logger(__name__)

ORPHAN_SECONDS = 600
"""A container this long past its deadline belongs to a server that is gone: any server's sweep removes it."""
_CALL_SECONDS = 60
_SOCKET_BYTES = 16 << 20
_GRACE_SECONDS = 15
"""For Docker to report the end of a container that was killed."""


@dataclass
class _Sandbox:
    """One container from before it is made until it is gone."""

    spec: SandboxSpec
    killed: threading.Event = field(default_factory=threading.Event)
    asked_for: bool = False
    """Docker was asked to make it: even if no answer came, it may be there."""
    container_id: str | None = None


class _Attached:
    """A container's runner as `follow` wants it: Docker's stream, and two questions to Docker."""

    def __init__(self, attachment: Attachment, alive: Callable[[], bool], kill: Callable[[], None]) -> None:
        self.send, self.read = attachment.send, attachment.read
        self.alive, self.kill = alive, kill


class DockerEngine:
    """See engines.base.Engine for the promises. `instance` marks the containers of one data directory's server."""

    def __init__(self, instance: str, runtime: str = "runc", connections: int = 64) -> None:
        self._instance = instance
        self._runtime = runtime
        self._uids = UidPool()
        self._live: dict[str, _Sandbox] = {}
        self._lock = threading.Lock()
        self._client_lock = threading.Lock()
        self._connections = connections
        self._client: docker.DockerClient | None = None
        self._host: tuple[str, str] | None = None
        self._witnesses = Witnesses()
        self._epoch = time.time() - time.monotonic()

    # -- the verbs ---------------------------------------------------------------------------------------------

    def check(self, image: str) -> EngineInfo:
        with _translated():
            api = self._api()
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
        )

    def image_file(self, image: str, path: str, limit_bytes: int) -> bytes:
        with _translated():
            return read_image_file(self._api(), image, path, limit_bytes)

    def run(self, spec: SandboxSpec, sink: LogSink, still_wanted: Callable[[], bool]) -> SandboxResult:
        sandbox = _Sandbox(spec)
        with self._lock:
            self._live[spec.run_id] = sandbox
        try:
            if not still_wanted():
                return SandboxResult(Ended.KILLED, 128 + signal.SIGKILL, False, "", 0.0, Usage())
            with self._uids.take() as uid:
                try:
                    with _translated():
                        return self._run(sandbox, uid, sink)
                except EngineUnavailable as e:
                    if not sandbox.asked_for:
                        raise  # nothing was made
                    raise EngineError(f"Docker stopped answering while the script ran. {e.detail}") from e
                finally:
                    if sandbox.asked_for:
                        self._remove(sandbox)
                        failpoint("container_removed")
        finally:
            with self._lock:
                del self._live[spec.run_id]

    def kill(self, run_id: str) -> bool:
        with self._lock:
            sandbox = self._live.get(run_id)
        if sandbox is None:
            return False
        sandbox.killed.set()
        if sandbox.container_id is not None:
            with _translated():
                self._signal(sandbox)
        return True

    def sweep(self, run_id: str | None = None) -> int:
        wanted = [OWNER_LABEL] if run_id is None else [f"{OWNER_LABEL}={self._instance}", f"{RUN_LABEL}={run_id}"]
        with _translated():
            found = self._api().containers(all=True, filters={"label": wanted})
            # Taken after the list: a sandbox that is being made meanwhile is in it, or not in the list.
            with self._lock:
                live = {sandbox.spec.name for sandbox in self._live.values()}
            removed, kept = 0, 0
            for container in found:
                name = container["Names"][0].lstrip("/") if container.get("Names") else ""
                if name not in live and self._ours(container["Labels"]):
                    gone = self._force_remove(container["Id"])
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
        if self._client is not None:
            self._witnesses.close()
            self._client.close()

    # -- one run, step by step -----------------------------------------------------------------------------------

    def _run(self, sandbox: _Sandbox, uid: int, sink: LogSink) -> SandboxResult:
        began = time.monotonic()
        api, spec = self._api(), sandbox.spec
        witness = self._witnesses.now(api)
        version, driver = self._host_cgroups()
        parent = cgroup.parent_name(driver)
        digest = self._digest(spec.image)
        request = create_request(
            spec,
            uid=uid,
            instance=self._instance,
            deadline=int(self._clock() + spec.limits.timeout_seconds) + 1,
            runtime=self._runtime,
            cgroup_parent=parent,
        )
        request["Image"] = digest  # what was inspected is what runs, whatever the tag points to meanwhile
        sandbox.asked_for = True
        sandbox.container_id = api.create_container_from_config(request, name=spec.name)["Id"]
        failpoint("container_created")
        attachment = Attachment(
            api.attach_socket(sandbox.container_id, params={"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1})
        )
        try:
            api.start(sandbox.container_id)
            failpoint("container_started")
            started = time.monotonic()
            counters = cgroup.reader(sandbox.container_id, parent, version=version, driver=driver)
            counters.bound_socket_buffers(_SOCKET_BYTES)  # before the go signal: the script has no socket yet
            job = _Attached(
                attachment, lambda: bool(self._inspect(sandbox)["Running"]), lambda: self._signal(sandbox)
            )
            deadline = started + spec.limits.timeout_seconds
            ended = follow(job, counters, sink, sandbox.killed, deadline=deadline)
            state = self._inspect(sandbox)
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

    def _inspect(self, sandbox: _Sandbox) -> dict[str, Any]:
        state: dict[str, Any] = self._api().inspect_container(sandbox.container_id)["State"]
        if state.get("Error"):
            raise EngineError(f"Docker could not run the container: {state['Error']}")
        return state

    # -- small steps ---------------------------------------------------------------------------------------------

    def _api(self) -> docker.APIClient:
        # A lock of its own: making a client asks Docker for its version, and nothing else may wait for that.
        with self._client_lock:
            if self._client is None:
                self._client = docker.from_env(timeout=_CALL_SECONDS, max_pool_size=self._connections)
            return self._client.api

    def _host_cgroups(self) -> tuple[str, str]:
        if self._host is None:
            info = self._api().info()
            self._host = info.get("CgroupVersion", "1"), info.get("CgroupDriver", "cgroupfs")
        return self._host

    def _digest(self, image: str) -> str:
        try:
            return str(self._api().inspect_image(image)["Id"])
        except ImageNotFound as e:
            raise ImageMissing(f"the image {image} is not on this host: run `airlock image build`") from e

    def _signal(self, sandbox: _Sandbox) -> None:
        try:
            self._api().kill(sandbox.container_id, signal="SIGKILL")
        except APIError as e:
            if e.response is None or e.response.status_code not in (404, 409):  # gone, or not running (any more)
                raise

    def _remove(self, sandbox: _Sandbox) -> None:
        # By name when there is no id: creation may have worked although its answer was lost.
        target = sandbox.container_id or sandbox.spec.name
        self._force_remove(target)

    def _force_remove(self, target: str) -> bool | None:
        """Remove by id, whatever its state; try again while Docker is busy with it.

        Whether it is gone by our hand; None when it is still there, or nobody can say.
        """
        for pause in (0.05, 0.2, 0.5, 1.0, None):
            try:
                self._api().remove_container(target, force=True, v=True)
                return True
            except NotFound:
                return False
            except (APIError, requests.RequestException) as e:
                if pause is None:
                    _log.warning("container_not_removed", container=target, error=str(e))  # the sweep will find it
                    return None
                time.sleep(pause)
        return None

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


@contextmanager
def _translated() -> Iterator[None]:
    """Docker's and its transport's exceptions, as ours."""
    try:
        yield
    except EngineError:
        raise
    except (requests.ConnectionError, requests.Timeout, ConnectionError) as e:
        raise EngineUnavailable(f"Docker does not answer: {e}") from e
    except ImageNotFound as e:
        raise ImageMissing(f"the image is not on this host: {e.explanation}") from e
    except APIError as e:
        raise EngineError(f"Docker refused: {e.explanation or e}") from e
    except DockerException as e:
        raise EngineUnavailable(f"Docker does not answer: {e}") from e
