"""`docker compose up` starts a controller that works: built here, run as the file says, on the host's Docker."""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import requests

from dev.stand_in import base, probe
from tests.running import free_port, until

ROOT = Path(__file__).parents[2]
PLUGIN = subprocess.run(["docker", "compose", "version"], capture_output=True).returncode == 0
COMPOSE = ["docker", "compose"] if PLUGIN else ["docker-compose"]


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format, *args):
        pass


@pytest.fixture(scope="session")
def wheels(tmp_path_factory) -> Iterator[str]:
    """The locked packages, served on loopback: an image is built the same way where pip's index needs a proxy."""
    folder = tmp_path_factory.mktemp("wheels")
    subprocess.run(
        f"{sys.executable} -m pip download -q --no-deps --require-hashes --only-binary=:all: --python-version=3.11 "
        f"-r {ROOT}/requirements/run.txt -d {folder}".split(),
        check=True,
    )
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture(scope="session")
def controller_image(wheels):
    """Built from the project's own Dockerfile, on Debian's image or its stand-in."""
    debian = "debian:bookworm-slim"
    arguments = {"PIP_FIND_LINKS": wheels, "PIP_NO_INDEX": "1"}
    if probe.why_no_image(debian, "docker"):
        arguments["BASE_IMAGE"] = base.name()
    build = [word for name, value in arguments.items() for word in ("--build-arg", f"{name}={value}")]
    command = ["docker", "build", "-q", "--network", "host", *build, "-t", "airlock-controller:latest", str(ROOT)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return "airlock-controller:latest"


@pytest.fixture
def composed(controller_image, tmp_path):
    """The composition of docker-compose.yml, up, on a data directory and a port of its own."""
    data, port = tmp_path / "data", free_port()
    environment = {**os.environ, "AIRLOCK_DATA_DIR": str(data), "AIRLOCK_PORT": str(port)}
    project = [*COMPOSE, "-p", f"airlocktest{os.getpid()}", "-f", str(ROOT / "docker-compose.yml")]

    def compose(*words):
        return subprocess.run([*project, *words], env=environment, capture_output=True, text=True, check=True).stdout

    try:
        compose("up", "-d", "--no-build")
        yield compose, f"http://127.0.0.1:{port}", data
    finally:
        compose("down", "-t", "20")
        shutil.rmtree(data, ignore_errors=True)


def test_the_compose_file_is_valid_and_asks_for_no_privilege():
    """No privileged container, no host namespaces; bounded logs; health; the data directory at the same path."""
    text = subprocess.run(
        [*COMPOSE, "-f", str(ROOT / "docker-compose.yml"), "config"],
        env={**os.environ, "AIRLOCK_DATA_DIR": "/srv/airlock"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout

    assert "privileged" not in text
    assert not re.search(r"(pid|ipc|userns_mode|network_mode): *\"?host", text)
    assert "max-size" in text
    assert "/srv/airlock:/srv/airlock" in text or text.count("/srv/airlock\n") >= 2


def test_a_composed_server_runs_a_script(composed):
    """Up, ready, healthy; the key from its log; a run with usage; no container left but its own."""
    compose, url, data = composed

    def ready():
        with suppress(requests.ConnectionError):
            return requests.get(f"{url}/readyz", timeout=5).status_code == 200
        return False

    assert until(ready, 60), compose("logs", "controller")
    key = re.search(r"alk_\w+", compose("logs", "controller"))[0]
    script = "import pandas as pd\ndef azureml_main(): return pd.DataFrame({'a': [1]})"
    answer = requests.post(
        f"{url}/v1/runs?wait=60",
        files={"script": ("s.py", script)},
        headers={"Authorization": f"Bearer {key}"},
        timeout=90,
    )

    run = answer.json()
    assert (answer.status_code, run["status"]) == (200, "succeeded"), answer.text
    assert run["usage"]["cpu_seconds"] > 0
    assert run["usage"]["peak_memory_bytes"] > 1 << 20
    assert (data / "runs" / run["id"] / "result.arrow").exists()
