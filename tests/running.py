"""Real servers over HTTP, started as an operator starts them, each on data of its own; and waiting for things."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import requests

from tests.containers import ENGINE, of_server

START_SECONDS = 60


@dataclass
class RunningServer:
    """A server process, and a client's hands to reach it."""

    url: str
    key: str
    data_dir: Path
    process: subprocess.Popen[bytes]
    log_path: Path
    engine: str = "docker"
    session: requests.Session = field(default_factory=requests.Session)
    operator_url: str = ""
    """Where its admin routes are, if that is another address."""

    def __post_init__(self) -> None:
        self.session.headers["Authorization"] = f"Bearer {self.key}"
        self.session.trust_env = False

    def request(self, method: str, path: str, **kwargs: Any) -> requests.Response:
        kwargs.setdefault("timeout", 120)
        return self.session.request(method, self.url + path, **kwargs)

    def get(self, path: str, **kwargs: Any) -> requests.Response:
        return self.request("GET", path, **kwargs)

    def post(self, path: str, **kwargs: Any) -> requests.Response:
        return self.request("POST", path, **kwargs)

    def submit(self, script: str, *, wait: float = 60, files: dict[str, Any] | None = None, **options: Any) -> Any:
        """Submit as multipart and wait for the end: the run's document."""
        parts: dict[str, Any] = {"script": ("script.py", script.encode()), **(files or {})}
        if options:
            parts["options"] = (None, json.dumps(options), "application/json")
        answer = self.post(f"/v1/runs?wait={wait}", files=parts)
        assert answer.status_code in (200, 202), answer.text
        return answer.json()

    def log(self, run: Any) -> str:
        return self.get(f"/v1/runs/{run['id']}/log").text

    @property
    def instance(self) -> str:
        return (self.data_dir / "instance").read_text()

    def containers(self) -> list[str]:
        """The names of this server's containers that a run uses, or used, whatever their state; not those that are
        kept ready. A warm one goes behind the back of its run, so nothing may be left for a moment longer.
        """
        return [found["Names"][0] for found in self._all() if not _kept_ready(found)]

    def gone(self, seconds: float = 10) -> bool:
        """Whether no run's container is left within this time."""
        return until(lambda: self.containers() == [], seconds)

    def all_containers(self) -> list[str]:
        """Those that are kept ready, and launchers, as well."""
        return [found["Names"][0] for found in self._all()]

    def _all(self) -> list[dict[str, Any]]:
        return of_server(self.engine, self.instance)

    def plain_starts(self, *, excused: tuple[str, ...] = ()) -> set[str]:
        """The runs that got no warm container although they might have; but for these reasons."""
        lines = (line for line in self.log_path.read_text().splitlines() if '"plain_start"' in line)
        events = [json.loads(line) for line in lines]
        return {event["run_id"] for event in events if event["why"] not in excused}

    def warm_up(self) -> None:
        """Wait until a run finds a warm container."""
        assert until(lambda: self.submit("def azureml_main(): pass")["id"] not in self.plain_starts(), 60)

    def stop(self, with_signal: int = signal.SIGTERM) -> None:
        if self.process.poll() is None:
            if with_signal == signal.SIGKILL:
                os.killpg(self.process.pid, signal.SIGKILL)
            else:
                self.process.send_signal(with_signal)
            self.process.wait(60)
        self.session.close()
        assert self.unforeseen() == []

    def unforeseen(self) -> list[str]:
        """What its log says of faults that have no name; no test may cause one."""
        return [line for line in self.log_path.read_text().splitlines() if "unforeseen_error" in line]


def _kept_ready(container: dict[str, Any]) -> bool:
    """Whether it is a launcher, or a warm container that nobody uses yet: nothing was put into it."""
    if "airlock.warm" not in container["Labels"]:
        return False
    if container["Names"][0].startswith("/airlock-launcher-"):
        return True
    inputs = next((Path(mount["Source"]) for mount in container["Mounts"] if mount["Destination"] == "/in"), None)
    return inputs is not None and inputs.is_dir() and not any(inputs.iterdir())


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start_server(
    data_dir: Path, env: dict[str, str] | None = None, key: str | None = None, output: IO[bytes] | None = None
) -> RunningServer:
    """`airlock serve` on this data directory; settings are AIRLOCK_* variables. Returns when it answers.

    What it says goes into its log's file, or to `output`.
    """
    port = int((env or {}).get("AIRLOCK_PORT") or free_port())
    key_file = data_dir.parent / f"{data_dir.name}.key"
    log_path = data_dir.parent / f"{data_dir.name}.log"
    with log_path.open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "controller.cli", "serve", "--key-file", str(key_file)],
            env={
                **os.environ,
                "AIRLOCK_ENGINE": ENGINE,  # not auto: tests take Docker away on purpose
                "AIRLOCK_DATA_DIR": str(data_dir),
                "AIRLOCK_PORT": str(port),
                "AIRLOCK_SWEEP_SECONDS": "2",
                **(env or {}),
            },
            stdout=output or log,
            stderr=output or log,
            start_new_session=True,
        )
    url = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        assert process.poll() is None, f"the server ended at once:\n{log_path.read_text()}"
        with suppress(requests.ConnectionError):
            requests.get(url + "/healthz", timeout=5)
            engine = (env or {}).get("AIRLOCK_ENGINE", ENGINE)
            return RunningServer(url, key or key_file.read_text().strip(), data_dir, process, log_path, engine)
        time.sleep(0.05)
    process.kill()
    raise AssertionError(f"the server did not answer within {START_SECONDS} s:\n{log_path.read_text()}")


def until(condition: Callable[[], bool], seconds: float = 10) -> bool:
    """Wait for a condition; False when it did not come true in this time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return condition()
