"""What was accepted ends in exactly one final state, whatever happens to the server or to Docker meanwhile."""

from __future__ import annotations

import json
import signal
import socket
import threading
import time
from contextlib import suppress

import pytest

from tests.running import until

SLEEPER = (
    "import time\nprint('asleep', flush=True)\ntime.sleep(%s)\n"
    "import pandas as pd\ndef azureml_main(): return pd.DataFrame({'a': [1]})"
)
QUICK = "import pandas as pd\ndef azureml_main(): return pd.DataFrame({'a': [1]})"


def accepted(server, script, **options):
    parts = {"script": ("s.py", script), "options": (None, json.dumps(options), "application/json")}
    answer = server.post("/v1/runs", files=parts)
    assert answer.status_code == 202, answer.text
    return answer.json()["id"]


def run_of(server, run_id, wait=60):
    return server.get(f"/v1/runs/{run_id}?wait={wait}").json()


def asleep(server, run_id):
    """Whether the run has come to its sleep."""
    return until(lambda: "asleep" in server.get(f"/v1/runs/{run_id}/log").text, 30)


def test_a_killed_server_loses_no_accepted_run(make_server):
    """kill -9 with one run at work and more waiting: after the restart each ends once, and nothing is left over."""
    first = make_server(AIRLOCK_WORKERS="1")
    ids = [accepted(first, SLEEPER % 3), *(accepted(first, QUICK) for _ in range(3))]
    assert asleep(first, ids[0])

    first.stop(signal.SIGKILL)
    left = first.containers()
    second = make_server(AIRLOCK_WORKERS="2", key=first.key)
    runs = [run_of(second, run_id) for run_id in ids]

    assert len(left) == 1
    assert [run["status"] for run in runs] == ["succeeded"] * 4
    assert [run["attempt"] for run in runs] == [2, 1, 1, 1]
    assert second.gone()
    assert list((second.data_dir / "uploads").iterdir()) == []


def begun(server, run_id, attempt):
    """Whether this attempt of the run has been claimed."""
    return until(lambda: run_of(server, run_id, wait=0)["attempt"] == attempt, 30)


def test_a_run_that_keeps_killing_the_server_is_given_up(make_server):
    """After the last attempt it fails by name, and is not begun again."""
    server = make_server(AIRLOCK_MAX_ATTEMPTS="2")
    run_id, key = accepted(server, SLEEPER % 60), server.key

    for attempt in (1, 2):
        assert begun(server, run_id, attempt)
        server.stop(signal.SIGKILL)
        server = make_server(AIRLOCK_MAX_ATTEMPTS="2", key=key)

    run = run_of(server, run_id)
    assert (run["status"], run["reason"], run["attempt"]) == ("failed", "engine_error", 2)
    assert until(lambda: server.containers() == [])


def test_a_stopped_server_lets_runs_end(make_server):
    """SIGTERM: what runs comes to its end before the process goes."""
    server = make_server(AIRLOCK_WORKERS="1")
    run_id = accepted(server, SLEEPER % 2)
    assert asleep(server, run_id)

    server.stop(signal.SIGTERM)
    again = make_server(key=server.key)

    run = run_of(again, run_id)
    assert (run["status"], run["attempt"]) == ("succeeded", 1)
    assert server.process.returncode == 0


class CutSocket:
    """A way to Docker that can be cut: a Unix socket that passes everything on to the real one."""

    def __init__(self, path, target="/var/run/docker.sock"):
        self.path, self._target = path, target
        self._pairs: list[socket.socket] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(64)
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            far = socket.socket(socket.AF_UNIX)
            far.connect(self._target)
            self._pairs += [near, far]
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=self._pass_on, args=(one, other), daemon=True).start()

    def _pass_on(self, source, sink):
        with suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)

    def cut(self):
        self.path.unlink(missing_ok=True)
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for end in self._pairs:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


@pytest.fixture
def docker_way(tmp_path):
    way = CutSocket(tmp_path / "docker.sock")
    yield way
    way.cut()


def test_a_run_that_loses_its_docker_is_begun_again(make_server, docker_way):
    """It waits until Docker is back; its first container is gone before the second is made."""
    server = make_server(DOCKER_HOST=f"unix://{docker_way.path}", AIRLOCK_WORKERS="1", AIRLOCK_WARM_CONTAINERS="0")
    run_id = accepted(server, SLEEPER % 3)
    assert asleep(server, run_id)

    docker_way.cut()
    assert until(lambda: run_of(server, run_id, wait=0)["status"] == "queued", 30)
    left = server.containers()
    back = CutSocket(docker_way.path)

    try:
        run = run_of(server, run_id)
        assert (run["status"], run["attempt"]) == ("succeeded", 2)
        assert len(left) == 1
        assert server.containers() == []
    finally:
        server.stop()
        back.cut()


def test_a_run_in_a_warm_container_needs_docker_no_more(make_server, docker_way):
    """Docker goes away while it runs, and it ends well; its container is removed when Docker is back."""
    server = make_server(DOCKER_HOST=f"unix://{docker_way.path}")
    server.warm_up()
    run_id = accepted(server, SLEEPER % 3)
    assert asleep(server, run_id)

    docker_way.cut()
    run = run_of(server, run_id)
    left = server.containers()
    back = CutSocket(docker_way.path)

    try:
        assert run_id not in server.plain_starts()
        assert (run["status"], run["attempt"]) == ("succeeded", 1)
        assert left
        assert server.gone(20)
    finally:
        server.stop()
        back.cut()


def test_a_run_that_may_begin_only_once_ends_by_name_when_docker_goes_away(make_server, docker_way):
    """It fails as engine_error; when Docker is back the sweep removes the container, and runs work again."""
    server = make_server(DOCKER_HOST=f"unix://{docker_way.path}", AIRLOCK_WARM_CONTAINERS="0")
    run_id = accepted(server, SLEEPER % 60, at_most_once=True)
    assert asleep(server, run_id)

    docker_way.cut()
    run = run_of(server, run_id)
    ready = server.get("/readyz")
    left = server.containers()
    back = CutSocket(docker_way.path)

    try:
        assert (run["status"], run["reason"], run["error"]["code"]) == ("failed", "engine_error", "1000")
        assert "Docker" in run["error"]["message"]
        assert (ready.status_code, ready.json()["checks"]["engine"]) == (503, "engine_unavailable")
        assert len(left) == 1
        assert until(lambda: server.containers() == [], 20)
        assert server.submit(QUICK)["status"] == "succeeded"
    finally:
        back.cut()


def test_docker_that_is_away_before_a_run_is_named(make_server, tmp_path):
    """The server starts, says that it is not ready, and the accepted run fails by name."""
    server = make_server(DOCKER_HOST=f"unix://{tmp_path}/nobody.sock", AIRLOCK_ENGINE_PATIENCE_SECONDS="0")

    ready = server.get("/readyz")
    run = server.submit(QUICK)

    assert ready.status_code == 503
    assert (run["status"], run["reason"]) == ("failed", "engine_error")
    assert "does not answer" in run["error"]["message"]


def test_runs_wait_for_a_docker_that_comes_back(make_server, tmp_path):
    """A restart of Docker loses nobody's run: what could not be begun is begun later."""
    way = tmp_path / "docker.sock"
    server = make_server(DOCKER_HOST=f"unix://{way}")
    run_id = accepted(server, QUICK)
    assert until(lambda: "engine_away" in server.log_path.read_text(), 30)
    before = run_of(server, run_id, wait=0)["status"]

    back = CutSocket(way)
    try:
        run = run_of(server, run_id)

        assert before == "queued"
        assert run["status"] == "succeeded"
    finally:
        server.stop()
        back.cut()


def test_a_server_that_is_stopped_while_somebody_follows_leaves_nothing(make_server):
    """SIGTERM ends the followed log at once, and the run that does not end in time; it is begun again later."""
    server = make_server(AIRLOCK_WORKERS="1")
    run_id = accepted(server, SLEEPER % 60)
    assert asleep(server, run_id)
    followed = server.get(f"/v1/runs/{run_id}/log?follow=1", stream=True)
    began = time.monotonic()

    server.stop(signal.SIGTERM)

    text = followed.text
    assert "asleep" in text
    assert time.monotonic() - began < 40
    assert server.all_containers() == []
    assert [line for line in server.log_path.read_text().splitlines() if "run_finished" in line] == []
    again = make_server(key=server.key, AIRLOCK_WORKERS="1")
    assert until(lambda: run_of(again, run_id, wait=0)["attempt"] == 2)
    again.post(f"/v1/runs/{run_id}/cancel")
    assert run_of(again, run_id)["status"] == "cancelled"


def test_a_missing_image_is_named(make_server):
    """Not ready, and the run says which command makes the image."""
    server = make_server(AIRLOCK_IMAGE="airlock-there-is-no-such-image:latest")

    ready = server.get("/readyz")
    run = server.submit(QUICK)

    assert (ready.status_code, ready.json()["checks"]["image"]) == (503, "image_missing")
    assert (run["status"], run["reason"]) == ("failed", "engine_error")
    assert "airlock image build" in run["error"]["message"]


def test_a_cancelled_run_ends_within_a_second(server):
    """Its container is dead and gone, and it stays cancelled."""
    run_id = accepted(server, SLEEPER % 60)
    assert asleep(server, run_id)

    began = time.monotonic()
    answer = server.post(f"/v1/runs/{run_id}/cancel")
    run = run_of(server, run_id)
    seconds = time.monotonic() - began

    assert answer.status_code == 202
    assert (run["status"], run["reason"]) == ("cancelled", None)
    assert seconds < 1
    assert server.gone()


def test_a_queued_run_is_cancelled_at_once(make_server):
    """It never gets a container."""
    server = make_server(AIRLOCK_WORKERS="1")
    blocker, waiting = accepted(server, SLEEPER % 20), accepted(server, QUICK)

    server.post(f"/v1/runs/{waiting}/cancel")
    run = run_of(server, waiting, wait=0)
    server.post(f"/v1/runs/{blocker}/cancel")

    assert (run["status"], run["started_at"]) == ("cancelled", None)
    assert run_of(server, blocker)["status"] == "cancelled"
