"""From before a container is made until it is gone: cancelled, timed out, killed with its server, or simply done."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sandbox import (
    SLEEPER,
    check_clean,
    container_of,
    docker_api,
    ended,
    lives,
    living,
    strays,
    submit,
    wait_for_log,
)

from tests.containers import exists
from tests.running import RunningServer, until

NAP = "import time\ndef azureml_main(a, b):\n    time.sleep(1.5)"


@pytest.mark.parametrize("attempt", range(3))
def test_cancel_ends_the_container_within_a_second(server: RunningServer, attempt: int) -> None:
    """One second after the request to cancel, no process of the run is alive; then the container goes."""
    with living(server) as (run_id, container):
        pid = container["State"]["Pid"]
        began = time.monotonic()

        answer = server.post(f"/v1/runs/{run_id}/cancel")
        dead = until(lambda: not lives(pid), 5)
        seconds = time.monotonic() - began
        run = ended(server, run_id)

    assert answer.status_code == 202
    assert dead
    assert seconds < 1.0
    assert run["status"] == "cancelled"
    assert run["reason"] is None
    assert until(lambda: not exists(container["Id"]), 5)


def test_a_queued_run_is_cancelled_without_a_container(make_server: Callable[..., RunningServer]) -> None:
    """A run that waits for its turn ends at once, and no container is ever made for it."""
    server = make_server(AIRLOCK_WORKERS="1")
    with living(server) as (_, container):
        queued = submit(server, SLEEPER)

        server.post(f"/v1/runs/{queued}/cancel")
        run = ended(server, queued, 2)
        names = server.containers()

    assert run["status"] == "cancelled"
    assert run["started_at"] is None
    assert names == [container["Name"]]


def test_a_time_limit_is_kept_to_the_second(server: RunningServer) -> None:
    """Runs with limits between half a second and two end within a second after it, and never before."""
    limits = (0.5, 1.0, 2.0)

    runs = [ended(server, submit(server, SLEEPER, timeout_seconds=limit)) for limit in limits]
    over = [run["usage"]["wall_seconds"] - limit for run, limit in zip(runs, limits, strict=True)]

    assert {run["reason"] for run in runs} == {"timeout"}
    assert all(0 <= seconds < 1.0 for seconds in over), over


def test_runs_at_the_same_time_have_different_uids(make_server: Callable[..., RunningServer]) -> None:
    """Six runs at once run under six uids."""
    server = make_server(AIRLOCK_WORKERS="6")
    run_ids = [submit(server, SLEEPER, memory_bytes=128 << 20) for _ in range(6)]

    containers = [container_of(run_id) for run_id in run_ids]
    for run_id in run_ids:
        server.post(f"/v1/runs/{run_id}/cancel")
    ends = {ended(server, run_id)["status"] for run_id in run_ids}

    assert len({container["Runner"]["Uid"] for container in containers}) == 6
    assert ends == {"cancelled"}


def test_a_uid_is_not_used_twice_in_a_row(server: RunningServer) -> None:
    """Runs one after the other have uids of their own as well: what one left in the kernel, no other inherits."""
    script = "import os, pandas as pd\ndef azureml_main(a, b):\n    print(os.getuid())"

    uids = {server.log(server.submit(script)) for _ in range(3)}

    assert len(uids) == 3


def test_every_container_is_gone_when_its_run_has_ended(server: RunningServer) -> None:
    """The moment a run is told as ended, its container has no process any more; and soon it does not exist."""
    with ThreadPoolExecutor(2) as pool:
        containers = list(pool.map(lambda _: _seen_and_ended(server), range(4)))

    assert server.gone()
    assert until(lambda: not any(map(exists, containers)))  # a warm one looks as if it were ready while it goes


def _seen_and_ended(server: RunningServer) -> str:
    run_id = submit(server, NAP)
    container = container_of(run_id)
    run = ended(server, run_id)
    alive = [pid for pid in (container["State"]["Pid"], container["Runner"]["Pid"]) if lives(pid)]
    assert (run["status"], alive) == ("succeeded", [])
    return str(container["Id"])


def test_the_files_of_a_sandbox_are_gone_when_its_run_has_ended(server: RunningServer) -> None:
    """Of a run's directory its inputs, log, result and receipt stay; what was mounted at /out does not."""
    run = server.submit("import pandas as pd\ndef azureml_main(a, b):\n    return pd.DataFrame({'x': [1]})")
    directory = server.data_dir / "runs" / run["id"]

    def left() -> set[str]:
        return {path.name for path in directory.iterdir()}

    assert until(lambda: left() == {"in", "log", "result.arrow", "receipt.json"}), left()
    assert not any(run["id"] in path.name for path in (server.data_dir / "scratch").iterdir())


def test_a_killed_server_leaves_nothing_for_long(make_server: Callable[..., RunningServer]) -> None:
    """After SIGKILL of the server the next one removes the container that was left, and the run still ends once."""
    first = make_server()
    run_id = submit(first, SLEEPER, timeout_seconds=4)
    container = container_of(run_id)
    first.stop(signal.SIGKILL)
    assert exists(container["Id"])

    second = make_server(key=first.key)
    gone = until(lambda: not exists(container["Id"]), 15)
    run = ended(second, run_id)

    assert gone
    assert not lives(container["State"]["Pid"])
    assert (run["status"], run["reason"], run["attempt"]) == ("failed", "timeout", 2)
    check_clean(second)


@pytest.mark.docker
def test_a_container_of_somebody_else_is_left_alone(
    make_server: Callable[..., RunningServer], server: RunningServer
) -> None:
    """The sweep touches neither a container without our labels nor one of another server's."""
    with docker_api() as api, living(server) as (_, of_another_server):
        image = of_another_server["Image"]
        foreign = api.create_container(image, ["true"], name=f"foreign-{time.time_ns()}", labels={"team": "other"})
        try:
            sweeping = make_server(AIRLOCK_SWEEP_SECONDS="0.2")
            left = _stray_of(sweeping, api, image)

            swept = until(lambda: not exists(left), 10)
            kept = exists(foreign["Id"]) and exists(of_another_server["Id"])
        finally:
            api.remove_container(foreign["Id"], force=True)

    assert swept
    assert kept


def _stray_of(server: RunningServer, api: Any, image: str) -> str:
    """A container as a crash of this server would leave it."""
    labels = {"airlock.instance": server.instance, "airlock.run": "run_lost", "airlock.deadline": "0"}
    return str(api.create_container(image, ["true"], labels=labels)["Id"])


def test_a_stopped_server_takes_its_sandboxes_along(make_server: Callable[..., RunningServer]) -> None:
    """SIGTERM ends the server and every container of its, and the run is taken up by the next server."""
    first = make_server()
    run_id = submit(first, SLEEPER, timeout_seconds=4)
    container = container_of(run_id)
    wait_for_log(first, run_id, "ready")

    first.stop()
    left = exists(container["Id"])
    run = ended(make_server(key=first.key), run_id)

    assert not left
    assert (run["status"], run["reason"]) == ("failed", "timeout")


def test_no_process_of_a_sandbox_is_left_on_the_host(server: RunningServer) -> None:
    """After all of the above no process under a uid of the pool is without a living container."""
    server.submit(NAP)

    assert until(lambda: strays(server) == [], 5), strays(server)
