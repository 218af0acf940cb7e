"""A Docker daemon of the crash tests' own: killing it harms nobody else, and nothing of it stays but its images.

Its storage lies in .build/crash-docker, so that the sandbox image (1.6 GB) is brought in only when it has changed.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections import defaultdict
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import docker

from tests.running import until

ROOT = Path(__file__).parents[2]
STORAGE = ROOT / ".build" / "crash-docker"
IMAGE = os.environ.get("AIRLOCK_IMAGE", "airlock-sandbox:latest")
START_SECONDS = 180
STOP_SECONDS = 120
"""Of a machine with much to do: a daemon that starts or ends first ends the containers that it finds."""


@dataclass
class Starts:
    """What the daemon said about containers that began: for each run, how often, and whether two lived at once."""

    count: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    containers: set[str] = field(default_factory=set)
    together: list[str] = field(default_factory=list)
    alive: dict[str, str] = field(default_factory=dict)

    def take(self, event: dict[str, Any]) -> None:
        """One of the daemon's events about containers."""
        run_id, container = event["Actor"]["Attributes"].get("airlock.run"), event["Actor"]["ID"]
        if run_id is None:
            return
        if event["Action"] == "start":
            self.count[run_id] += 1
            self.containers.add(container)
            if run_id in self.alive:
                self.together.append(run_id)
            self.alive[run_id] = container
        elif event["Action"] in ("die", "destroy") and self.alive.get(run_id) == container:
            del self.alive[run_id]


class PrivateDocker:
    """Started, killed and started again by the tests, through scripts/dockerd."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="airlock-crash-"))
        self.host = f"unix://{self.folder}/docker.sock"
        self.exec_root = self.folder / "exec"
        self.options: list[str] = []
        """For the next start."""
        self.starts = Starts()
        self._pid_file = self.folder / "docker.pid"
        self._closing = threading.Event()
        self._listener = threading.Thread(target=self._listen, daemon=True)
        STORAGE.mkdir(parents=True, exist_ok=True)
        self._lock = os.open(STORAGE.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
        fcntl.flock(self._lock, fcntl.LOCK_EX)  # a second session waits: one daemon for one storage

    @property
    def environment(self) -> dict[str, str]:
        return {"DOCKER_HOST": self.host, "AIRLOCK_DOCKERD_STATE": str(self.folder)}

    @property
    def pid(self) -> int:
        return int(self._pid_file.read_text())

    def client(self, timeout: int = 60) -> docker.DockerClient:
        return docker.DockerClient(base_url=self.host, timeout=timeout)

    def start(self) -> None:
        """Start it, or do nothing when it answers."""
        command = [
            # A daemon without a bridge removes the one that is there, which is the host's daemon's: not in its own net.
            "unshare",
            "--net",
            str(ROOT / "scripts" / "dockerd"),
            "start",
            f"--data-root={STORAGE}",
            f"--exec-root={self.exec_root}",
            f"--pidfile={self._pid_file}",
            "--bridge=none",
            "--iptables=false",
            "--ip6tables=false",
            *self.options,
        ]
        deadline = time.monotonic() + START_SECONDS
        while (done := subprocess.run(command, env=os.environ | self.environment, capture_output=True)).returncode:
            if time.monotonic() > deadline:
                raise AssertionError(f"the private Docker daemon did not start:\n{done.stderr.decode()}")
            time.sleep(1)  # one that was told to end may still be at it, and no second one begins beside it

    def kill(self) -> None:
        """kill -9 of the daemon alone: containerd, its shims and the containers live on, as after a fault of its."""
        pid = self.pid
        os.kill(pid, signal.SIGKILL)
        assert until(lambda: not Path(f"/proc/{pid}").exists() or _is_zombie(pid), 30)
        self._pid_file.unlink()  # the next one would not start if another process had got this number meanwhile
        self.starts.alive.clear()  # the next one stops what it finds

    def stop(self) -> None:
        """SIGTERM, as `systemctl stop docker`: the daemon ends its containers, then containerd and itself."""
        pid = self.pid
        os.kill(pid, signal.SIGTERM)
        assert until(lambda: not Path(f"/proc/{pid}").exists() or _is_zombie(pid), STOP_SECONDS)
        self.starts.alive.clear()

    def load_image(self) -> float:
        """Bring the sandbox image in from the host's daemon; the seconds it took. Leftovers of other images go."""
        began = time.monotonic()
        with closing(docker.from_env()) as outside:
            wanted = outside.images.get(IMAGE).id
        with closing(self.client(600)) as inside:
            for container in inside.api.containers(all=True):
                inside.api.remove_container(container["Id"], force=True)
            if not any(IMAGE in image.tags and image.id == wanted for image in inside.images.list()):
                for image in inside.images.list():
                    inside.images.remove(image.id, force=True)
                load = ["docker", "--host", self.host, "load", "--quiet"]
                with subprocess.Popen(["docker", "save", IMAGE], stdout=subprocess.PIPE) as save:
                    subprocess.run(load, stdin=save.stdout, check=True, capture_output=True)
                assert save.returncode == 0
            assert inside.images.get(IMAGE).id == wanted
        self._listener.start()
        return time.monotonic() - began

    def close(self) -> None:
        """End it, and whatever outlived it: containerd, shims, mounts, the folder. Only processes of its own."""
        self._closing.set()
        with suppress(OSError, ValueError, AssertionError):
            self.stop()
        for pid in self.processes():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        until(lambda: not self.processes(), 10)
        for mount in reversed(self.mounts()):
            subprocess.run(["umount", "--lazy", mount], check=False)
        shutil.rmtree(self.folder, ignore_errors=True)
        os.close(self._lock)

    def processes(self) -> list[int]:
        """Its own: the daemon, containerd, the shims. Each has the folder's name on its command line."""
        mark = str(self.folder).encode()
        return [pid for pid in all_processes() if pid != os.getpid() and mark in _command_line(pid)]

    def mounts(self) -> list[str]:
        """The places below its folders at which something is mounted."""
        return mounts_below(STORAGE) + mounts_below(self.folder)

    def _listen(self) -> None:
        """Take the daemon's events, also of the time between a connection that broke and the next."""
        command = ["docker", "--host", self.host, "events", "--filter=type=container", "--format={{json .}}", "--since"]
        since = time.time()
        while not self._closing.is_set():
            with subprocess.Popen(
                [*command, f"{since:.9f}"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
            ) as events:
                assert events.stdout is not None
                for line in events.stdout:
                    event = json.loads(line)
                    since = event["timeNano"] / 1e9 + 1e-6
                    self.starts.take(event)
            time.sleep(0.05)


def all_processes() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()]


def mounts_below(folder: Path) -> list[str]:
    """Where something is mounted at or below this folder, in the order of the mounts."""
    places = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return [place for place in places if place == str(folder) or place.startswith(f"{folder}/")]


def _command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def _is_zombie(pid: int) -> bool:
    try:
        return ") Z " in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return True


def parse_events(text: str) -> list[dict[str, Any]]:
    """The JSON lines of a server's log; what is no JSON (a traceback, the line that says where it listens) is left."""
    events = []
    for line in text.splitlines():
        with suppress(ValueError):
            event = json.loads(line)
            if isinstance(event, dict):
                events.append(event)
    return events
