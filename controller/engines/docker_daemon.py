"""The Docker daemon as the engine needs it: one client for the whole process, and its exceptions as ours."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import docker
import requests
import structlog
from docker.errors import APIError, DockerException, ImageNotFound, NotFound

from controller.engines import cgroup
from controller.engines.docker_witness import Witness, Witnesses
from controller.engines.walls import SOCKET_BYTES
from controller.errors import EngineError, EngineUnavailable, ImageMissing

_log = structlog.get_logger(__name__)
_CALL_SECONDS = 60
_DIGEST_SECONDS = 1.0
"""So long after an image was built anew, runs may still be given the one before it."""


class Daemon:
    """Thread-safe. Whoever calls it does so within `translated`."""

    def __init__(self, connections: int) -> None:
        self._connections = connections
        self._client_lock = threading.Lock()
        self._client: docker.DockerClient | None = None
        self._host: tuple[str, str] | None = None
        self._witnesses = Witnesses()
        self._digests: dict[str, tuple[float, str]] = {}

    @property
    def api(self) -> docker.APIClient:
        # A lock of its own: making a client asks Docker for its version, and nothing else may wait for that.
        with self._client_lock:
            if self._client is None:
                self._client = docker.from_env(timeout=_CALL_SECONDS, max_pool_size=self._connections)
                self._client.api.trust_env = False  # else each call reads netrc and the environment
            return self._client.api

    def witness(self) -> Witness:
        return self._witnesses.now(self.api)

    def digest(self, image: str) -> str:
        """ImageMissing."""
        known = self._digests.get(image)
        if known is not None and time.monotonic() < known[0] + _DIGEST_SECONDS:
            return known[1]
        try:
            found = str(self.api.inspect_image(image)["Id"])
        except ImageNotFound as e:
            raise ImageMissing(f"the image {image} is not on this host: run `airlock image build`") from e
        self._digests[image] = (time.monotonic(), found)
        return found

    @property
    def parent_cgroup(self) -> str:
        return cgroup.parent_name(self._cgroups()[1])

    def counters(self, container_id: str) -> cgroup.CgroupReader:
        """Of a container that was started, whose script has not: what sockets may hold is bounded first."""
        version, driver = self._cgroups()
        counters = cgroup.reader(container_id, cgroup.parent_name(driver), version=version, driver=driver)
        counters.bound_socket_buffers(SOCKET_BYTES)
        return counters

    def _cgroups(self) -> tuple[str, str]:
        if self._host is None:
            info = self.api.info()
            self._host = info.get("CgroupVersion", "1"), info.get("CgroupDriver", "cgroupfs")
        return self._host

    def inspect(self, container_id: str) -> dict[str, Any]:
        """The container's state. EngineError when Docker could not run it."""
        state: dict[str, Any] = self.api.inspect_container(container_id)["State"]
        if state.get("Error"):
            raise EngineError(f"Docker could not run the container: {state['Error']}")
        return state

    def kill(self, container_id: str) -> None:
        try:
            self.api.kill(container_id, signal="SIGKILL")
        except APIError as e:
            if e.response is None or e.response.status_code not in (404, 409):  # gone, or not running (any more)
                raise

    def remove(self, target: str) -> bool | None:
        """Remove a container by id or name, whatever its state; try again while Docker is busy with it.

        Whether it is gone by our hand; None when it is still there, or nobody can say.
        """
        for pause in (0.05, 0.2, 0.5, 1.0, None):
            try:
                self.api.remove_container(target, force=True, v=True)
                return True
            except NotFound:
                return False
            except (DockerException, requests.RequestException) as e:
                if pause is None:
                    _log.warning("container_not_removed", container=target, error=str(e))  # the sweep will find it
                    return None
                time.sleep(pause)
        return None

    def close(self) -> None:
        if self._client is not None:
            self._witnesses.close()
            self._client.close()


@contextmanager
def translated() -> Iterator[None]:
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
