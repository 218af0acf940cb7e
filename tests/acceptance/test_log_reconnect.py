"""`airlock run` shows a log once, though connections break and the server is started anew."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.running import RunningServer, free_port, until

ROOT = Path(__file__).parents[2]
COUNTER = """import time
def azureml_main(a=None, b=None):
    for n in range(%d):
        print(n)
        time.sleep(0.1)
"""


class Way:
    """A port that passes everything on to a server, until it is cut: then every connection breaks."""

    def __init__(self, server: RunningServer) -> None:
        self._target = int(server.url.rpartition(":")[2])
        self._ends: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(("127.0.0.1", self._target))
                self._ends += [near, far]
                for one, other in ((near, far), (far, near)):
                    threading.Thread(target=self._pass_on, args=(one, other), daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)

    def cut(self) -> None:
        """Break what is open; who comes afterwards is passed on again."""
        ends, self._ends = self._ends, []
        for end in ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()


class Shown:
    """`airlock run` at work, and what it has shown so far."""

    def __init__(self, url: str, key: str, script: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "controller.cli", "run", str(script), "--url", url],
            cwd=ROOT, env={**os.environ, "AIRLOCK_KEY": key}, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        self.lines: list[str] = []
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))

    def has(self, line: str) -> bool:
        return until(lambda: line in self.lines, 60)

    def end(self) -> tuple[int, list[str], str]:
        """Exit code, the numbers that the script printed, and standard error."""
        with self.process:
            assert self.process.stderr is not None
            err = self.process.stderr.read()
            code = self.process.wait(120)
            self._thread.join(10)
        return code, [line for line in self.lines if line.isdigit()], err


@pytest.fixture
def script(tmp_path: Path) -> Path:
    return tmp_path / "script.py"


@pytest.fixture
def way(server: RunningServer) -> Iterator[Way]:
    way = Way(server)
    yield way
    way.close()


def test_connections_that_break_are_made_again(server: RunningServer, way: Way, script: Path) -> None:
    """Every line is shown once, in order."""
    script.write_text(COUNTER % 60)
    shown = Shown(way.url, server.key, script)

    for number in ("3", "20", "40"):
        assert shown.has(number)
        way.cut()
    code, numbers, err = shown.end()

    assert code == 0, err
    assert numbers == [str(n) for n in range(60)]
    assert "broke off" not in err


def test_a_server_that_is_killed_and_started_again_ends_the_run(
    make_server: Callable[..., RunningServer], script: Path
) -> None:
    """The run is begun again, which is said, and its log comes once more from the start; then its result."""
    port = str(free_port())
    script.write_text(COUNTER % 30)
    first = make_server(AIRLOCK_PORT=port)
    shown = Shown(first.url, first.key, script)
    assert shown.has("5")

    first.stop(signal.SIGKILL)
    make_server(AIRLOCK_PORT=port, key=first.key)
    code, numbers, err = shown.end()

    again = numbers.index("0", 1)
    assert code == 0, err
    assert again > 5
    assert numbers[:again] == [str(n) for n in range(again)]
    assert numbers[again:] == [str(n) for n in range(30)]
    assert "the run is begun again" in err
