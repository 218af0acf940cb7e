"""scripts/dockerd, with a `docker` and a `dockerd` that only pretend."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts/dockerd"
FAKES = {
    "docker": """
        case $1 in
            context) echo "${DOCKER_HOST:-unix:///var/run/docker.sock}" ;;
            version) [ -f "$FAKES/answers" ] ;;
        esac""",
    "dockerd": """
        [ ! -f "$FAKES/broken" ] || { echo "iptables: permission denied"; exit 1; }
        echo "$@" > "$FAKES/options"; echo $$ > "$FAKES/answers"; exec sleep 60""",
    "id": "echo 0",
}


@dataclass
class Host:
    """A pretended host: its programs, and where the script notes what it started."""

    folder: Path

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run the script; never fails itself."""
        own = {"PATH": f"{self.folder}:{os.environ['PATH']}", "FAKES": str(self.folder)}
        variables = {**os.environ, **own, "AIRLOCK_DOCKERD_STATE": str(self.folder), **environment}
        return subprocess.run(["sh", SCRIPT, *arguments], capture_output=True, text=True, timeout=60, env=variables)

    @property
    def daemon(self) -> int:
        """The process id of the pretended daemon."""
        return int((self.folder / "answers").read_text())

    @property
    def notes(self) -> list[Path]:
        """The files in which the script notes a process."""
        return [path for path in self.folder.glob("airlock-dockerd*") if path.suffix not in (".log", ".lock")]


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    """A host on which no daemon answers yet."""
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    for name, body in FAKES.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / name).chmod(0o755)
    pretended = Host(tmp_path)
    yield pretended
    pretended.run("stop")


def is_alive(process: int) -> bool:
    """Whether the process is there and no zombie."""
    try:
        return ") Z " not in Path(f"/proc/{process}/stat").read_text()
    except FileNotFoundError:
        return False


def test_a_daemon_that_answers_is_left_alone(host: Host) -> None:
    """Neither is a second one started beside it, nor does `stop` end it."""
    with subprocess.Popen(["sleep", "60"]) as found:
        (host.folder / "answers").write_text(str(found.pid))

        start, stop = host.run("start"), host.run("stop")

        assert (start.returncode, stop.returncode) == (0, 0)
        assert not (host.folder / "options").exists()
        assert "nothing to stop" in stop.stderr
        assert found.poll() is None
        found.kill()


def test_what_start_started_stop_stops(host: Host) -> None:
    """`start` returns when the daemon answers; `stop` ends that process and forgets it."""
    start = host.run("start", "--bridge=none")
    daemon = host.daemon
    alive_between = is_alive(daemon)

    stop = host.run("stop")

    assert start.returncode == stop.returncode == 0
    assert alive_between
    assert not is_alive(daemon)
    assert (host.folder / "options").read_text() == "--host unix:///var/run/docker.sock --bridge=none\n"
    assert f"stopped process {daemon}" in stop.stderr
    assert host.notes == []


def test_a_process_that_took_over_the_id_is_left_alone(host: Host) -> None:
    """The note holds when the process started, too: an id alone may by now be another's."""
    host.run("start")
    daemon = host.daemon
    note = host.notes[0]
    note.write_text(f"{daemon} 12345\n")

    stop = host.run("stop")

    assert is_alive(daemon)
    assert "nothing to stop" in stop.stderr
    os.kill(daemon, signal.SIGKILL)


def test_the_daemon_of_docker_host_is_the_one_started(host: Host) -> None:
    """A socket in DOCKER_HOST is where the daemon is to listen."""
    socket = f"unix://{host.folder}/docker.sock"

    host.run("start", DOCKER_HOST=socket)

    assert (host.folder / "options").read_text() == f"--host {socket}\n"
    assert "stopped process" in host.run("stop", DOCKER_HOST=socket).stderr


def test_a_daemon_elsewhere_is_not_started_here(host: Host) -> None:
    """Where DOCKER_HOST names another machine the script says so and starts nothing."""
    start = host.run("start", DOCKER_HOST="tcp://192.0.2.1:2375")

    assert start.returncode == 1
    assert "tcp://192.0.2.1:2375 does not answer" in start.stderr
    assert host.notes == []


def test_without_root_it_says_what_to_do(host: Host) -> None:
    """Only root can start a daemon; the message names the ways."""
    (host.folder / "id").write_text("#!/bin/sh\necho 1000\n")

    start = host.run("start")

    assert start.returncode == 1
    assert "systemctl start docker" in start.stderr
    assert host.notes == []


def test_a_failed_start_shows_the_log_and_what_to_do(host: Host) -> None:
    """The daemon's last words are shown, and nothing is left noted."""
    (host.folder / "broken").touch()

    start = host.run("start")

    assert start.returncode == 1
    assert "iptables: permission denied" in start.stderr
    assert "--iptables=false" in start.stderr
    assert host.notes == []
