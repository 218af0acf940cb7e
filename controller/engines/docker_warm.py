"""Docker's part of warm containers: it makes them and their launchers, and removes both."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from docker.errors import DockerException

from controller.engines.cgroup import CgroupReader
from controller.engines.docker_daemon import Daemon, translated
from controller.engines.docker_request import launcher_request, warm_request
from controller.engines.launcher import Init, Standing
from controller.engines.warm import LIFE_SECONDS, Kind
from controller.errors import EngineError

_LAST_WORDS_BYTES = 2000


@dataclass(frozen=True)
class WarmContainer:
    """See warm.Container."""

    daemon: Daemon
    container_id: str
    init: Init
    counters: CgroupReader

    @property
    def place(self) -> Standing:
        return Standing(self.init)

    def remove(self) -> bool:
        self.init.kill()
        return self.daemon.remove(self.container_id) is not None

    def close(self) -> None:
        self.init.close()


@dataclass(frozen=True)
class LauncherContainer:
    """See warm.LauncherContainer."""

    daemon: Daemon
    container_id: str

    def last_words(self) -> str:
        with suppress(DockerException):
            said: bytes = self.daemon.api.logs(self.container_id, tail=20)
            return said.decode(errors="replace").strip()[-_LAST_WORDS_BYTES:] or "nothing"
        return "nothing that Docker would tell"

    def remove(self) -> bool:
        return self.daemon.remove(self.container_id) is not None


class DockerMaker:
    """See warm.Maker. `clock` gives Unix seconds; a sandbox is given `longest_seconds` at most to run."""

    def __init__(
        self, daemon: Daemon, instance: str, runtime: str, clock: Callable[[], float], longest_seconds: float
    ) -> None:
        self._daemon = daemon
        self._instance = instance
        self._runtime = runtime
        self._clock = clock
        self._longest_seconds = longest_seconds

    def container(self, name: str, kind: Kind, uid: int, slot: Path, launcher: str) -> WarmContainer:
        with translated():
            request = warm_request(
                name,
                kind.limits,
                kind.digest,
                slot,
                uid=uid,
                instance=self._instance,
                deadline=self._deadline(),
                runtime=self._runtime,
                cgroup_parent=self._daemon.parent_cgroup,
            )
            container_id = self._begin(request, name)
            state = self._daemon.inspect(container_id)
            if not state["Pid"]:
                raise EngineError("Docker's container ended as soon as it had begun")
            counters = self._daemon.counters(container_id)
            return WarmContainer(self._daemon, container_id, Init.of(state["Pid"], container_id), counters)

    def launcher(self, name: str, digest: str, directory: Path) -> LauncherContainer:
        with translated():
            request = launcher_request(
                name,
                digest,
                directory,
                instance=self._instance,
                deadline=self._deadline(),
                runtime=self._runtime,
                cgroup_parent=self._daemon.parent_cgroup,
            )
            return LauncherContainer(self._daemon, self._begin(request, name))

    def remove(self, name: str) -> bool:
        return self._daemon.remove(name) is not None

    def _begin(self, request: dict[str, object], name: str) -> str:
        container_id: str = self._daemon.api.create_container_from_config(request, name=name)["Id"]
        self._daemon.api.start(container_id)
        return container_id

    def _deadline(self) -> int:
        return int(self._clock() + LIFE_SECONDS + self._longest_seconds) + 1
