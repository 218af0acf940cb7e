"""The oci engine's part of warm containers: it makes them and their launchers, and removes both."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from controller.engines import cgroup
from controller.engines.cgroup import CgroupReader
from controller.engines.launcher import Standing
from controller.engines.oci_children import ChildInit
from controller.engines.oci_config import launcher_bounds, launcher_config, warm_config
from controller.engines.oci_images import Images
from controller.engines.oci_made import MadeContainer, prepare
from controller.engines.oci_runtime import Runtime, counters_of
from controller.engines.oci_streams import read_ready
from controller.engines.oci_users import UserNamespaces
from controller.engines.warm import LIFE_SECONDS, Kind
from controller.errors import EngineError

WarmMaker = Literal["runtime", "launcher"]
"""Who makes warm containers: the OCI runtime, or the forks themselves."""
_LAST_WORDS_BYTES = 2000
_END_SECONDS = 10.0


@dataclass(frozen=True)
class WarmContainer:
    """See warm.Container."""

    runtime: Runtime
    name: str
    init: ChildInit
    counters: CgroupReader

    @property
    def place(self) -> Standing:
        return Standing(self.init)

    def remove(self) -> bool:
        return end(self.runtime, self.name, self.init)

    def close(self) -> None:
        self.init.close()


@dataclass(frozen=True)
class LauncherContainer:
    """See warm.LauncherContainer. Its output goes into a pipe that nobody reads: 64 KiB, and no file to fill."""

    runtime: Runtime
    name: str
    init: ChildInit
    output: int

    def last_words(self) -> str:
        return read_ready(self.output, 1 << 16).decode(errors="replace").strip()[-_LAST_WORDS_BYTES:] or "nothing"

    def remove(self) -> bool:
        gone = end(self.runtime, self.name, self.init)
        self.init.close()
        os.close(self.output)
        return gone


class OciMaker:
    """See warm.Maker. `clock` gives Unix seconds; a sandbox is given `longest_seconds` at most to run."""

    def __init__(
        self,
        runtime: Runtime,
        images: Images,
        users: UserNamespaces,
        instance: str,
        clock: Callable[[], float],
        longest_seconds: float,
        by: WarmMaker = "runtime",
    ) -> None:
        self._runtime, self._images, self._users, self._instance = runtime, images, users, instance
        self._clock, self._longest_seconds = clock, longest_seconds
        self._by = by

    def container(self, name: str, kind: Kind, uid: int, slot: Path, launcher: str) -> WarmContainer | MadeContainer:
        rootfs = self._images.rootfs(kind.digest)
        config = warm_config(
            name,
            kind.limits,
            kind.digest,
            slot,
            uid=uid,
            instance=self._instance,
            deadline=self._deadline(),
            rootfs=rootfs,
            host=self._runtime.host,
            user_namespace=self._users.given(rootfs),
        )
        if self._by == "launcher":
            return prepare(self._runtime, name, config, rootfs, launcher)
        nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        try:
            init = self._runtime.start(name, config, (nothing, nothing, nothing), rootfs)
        finally:
            os.close(nothing)
        return WarmContainer(self._runtime, name, init, counters_of(self._runtime.place(name), self._runtime))

    def launcher(self, name: str, digest: str, directory: Path) -> LauncherContainer:
        rootfs = self._images.rootfs(digest)
        config = launcher_config(
            name,
            directory,
            instance=self._instance,
            deadline=self._deadline(),
            rootfs=rootfs,
            host=self._runtime.host,
            makes=self._by == "launcher",
        )
        reading, writing = os.pipe2(os.O_CLOEXEC)
        try:
            with open(os.devnull, "rb") as nothing:
                init = self._runtime.start(name, config, (nothing.fileno(), writing, writing), rootfs)
        except BaseException:
            os.close(reading)
            raise
        finally:
            os.close(writing)
        container = LauncherContainer(self._runtime, name, init, reading)
        if self._by == "launcher" and self._runtime.host.cgroup_version == "2":
            self._make_room(container)
        return container

    def _make_room(self, launcher: LauncherContainer) -> None:
        try:
            cgroup.make_room(self._runtime.place(launcher.name), launcher_bounds(self._runtime.host))
        except OSError as e:
            launcher.remove()
            raise EngineError(f"the launcher's cgroup cannot hold those of its forks: {e}") from e

    def remove(self, name: str) -> bool:
        return self._runtime.remove(name)

    def _deadline(self) -> int:
        return int(self._clock() + LIFE_SECONDS + self._longest_seconds) + 1


def end(runtime: Runtime, name: str, init: ChildInit) -> bool:
    """Kill a container, collect its first process, remove the rest; whether it is gone."""
    init.kill()
    if init.wait(_END_SECONDS):
        init.collect()
    return runtime.remove(name)
