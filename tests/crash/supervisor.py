"""What systemd would do: a server that is started again whenever it has died; and the ways to make it die."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import requests

from tests.crash.daemon import parse_events
from tests.running import free_port, until


class Supervisor:
    """One data directory's server, on one address for all its lives."""

    def __init__(self, folder: Path, environment: dict[str, str], failpoints: str = "") -> None:
        self.data_dir = folder / "data"
        self.log_path = folder / "server.log"
        self._key_file = folder / "key"
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.failpoints = failpoints
        """For the next start: AIRLOCK_FAILPOINT."""
        self._environment = {
            **os.environ,
            "AIRLOCK_DATA_DIR": str(self.data_dir),
            "AIRLOCK_PORT": str(port),
            "AIRLOCK_SWEEP_SECONDS": "2",
            **environment,
        }
        self._stopping = threading.Event()
        self.starts = 0
        self.process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._keep_up, daemon=True)
        self._thread.start()
        assert self.answers(60), f"the server did not start: {self.log_path}"

    @property
    def key(self) -> str:
        return self._key_file.read_text().strip()

    def answers(self, seconds: float) -> bool:
        """Whether the server is up within this time."""

        def up() -> bool:
            with suppress(requests.RequestException):
                return requests.get(self.url + "/healthz", timeout=5).status_code == 200
            time.sleep(0.1)
            return False

        return until(up, seconds)

    def events(self, name: str) -> list[dict[str, Any]]:
        """What its log says of this event, over all its lives."""
        return [e for e in parse_events(self.log_path.read_text(errors="replace")) if e.get("event") == name]

    # -- ways to die ---------------------------------------------------------------------------------------------

    def kill_all(self) -> None:
        """kill -9 of the whole server: its parent process and the one that serves."""
        with suppress(ProcessLookupError):
            os.killpg(self._pid(), signal.SIGKILL)

    def kill_worker(self) -> None:
        """kill -9 of the process that serves: its parent makes another one."""
        for pid in self._children():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def kill_parent(self) -> None:
        """kill -9 of the parent only: the process that serves notices, and ends itself."""
        with suppress(ProcessLookupError):
            os.kill(self._pid(), signal.SIGKILL)

    def drain(self) -> None:
        """SIGTERM, and wait for its end."""
        process = self.process
        assert process is not None
        process.send_signal(signal.SIGTERM)
        process.wait(90)

    def close(self) -> None:
        """SIGTERM for good. Nothing of it stays."""
        self._stopping.set()
        self._thread.join(120)
        process = self.process
        if process is not None and process.poll() is None:
            process.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                process.wait(90)
            self.kill_all()

    # ------------------------------------------------------------------------------------------------------------

    def _pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def _children(self) -> list[int]:
        try:
            return [int(pid) for pid in Path(f"/proc/{self._pid()}/task/{self._pid()}/children").read_text().split()]
        except OSError:
            return []

    def _keep_up(self) -> None:
        while not self._stopping.is_set():
            if self.process is None or self.process.poll() is not None:
                self._start()
            self._stopping.wait(0.1)

    def _start(self) -> None:
        self.starts += 1
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "controller.cli", "serve", "--key-file", str(self._key_file)],
                env=self._environment | {"AIRLOCK_FAILPOINT": self.failpoints},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
