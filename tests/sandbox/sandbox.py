"""Hands for the promises: run a script and read what it found, and look at a live sandbox from the host."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import docker
import pyarrow as pa
import requests

from controller.engines.uids import FIRST_UID, UIDS
from tests.containers import ENGINE, inspected, listed, pids_in
from tests.running import RunningServer, start_server
from tests.unpacked import unpacked_images

SCRIPTS = Path(__file__).parent / "scripts"
SLEEPER = """
import time

def azureml_main(dataframe1, dataframe2):
    print("ready", flush=True)
    time.sleep(600)
"""
CLEAN = """
import os
import pandas as pd

def azureml_main(dataframe1, dataframe2):
    left = [f for _, _, files in os.walk("/work") for f in files if not f.startswith(("user_script", "fontlist"))]
    shm, processes = os.listdir("/dev/shm"), {p for p in os.listdir("/proc") if p.isdigit()} - {"1", str(os.getpid())}
    return pd.DataFrame({"left": [len(left)], "shm": [len(shm)], "processes": [len(processes)]})
"""

STARTS = {
    "warm": {"AIRLOCK_WARM_CONTAINERS": "4"},
    "plain": {"AIRLOCK_WARM_CONTAINERS": "0"},
    "made": {"AIRLOCK_WARM_CONTAINERS": "4", "AIRLOCK_OCI_WARM_MAKER": "launcher"},
}
"""Every promise holds for all ways in which a runner comes into its container; the last is the oci engine's alone."""


def with_engine(engine: str) -> dict[str, str]:
    """The settings of a server with this engine. The oci engine's needs no Docker, so it is shown none."""
    if engine == "docker":
        return {"AIRLOCK_ENGINE": engine}
    return {
        "AIRLOCK_ENGINE": engine,
        "AIRLOCK_OCI_IMAGE_DIR": str(unpacked_images()),
        "DOCKER_HOST": "unix:///nonexistent/docker.sock",
    }


def serving(data_dir: Path, start: str, env: dict[str, str]) -> Iterator[RunningServer]:
    """A server whose runs all have this start."""
    running = start_server(data_dir, env | STARTS[start])
    if start != "plain":
        running.warm_up()
    yield running
    running.stop()
    # After a native crash a new launcher is started, and runs of that time do without.
    assert running.plain_starts(excused=("no launcher is ready",)) == set()
    assert running.all_containers() == []


def table(server: RunningServer, run: Any) -> dict[str, list[Any]]:
    """A run's result, column by column."""
    answer = server.get(f"/v1/runs/{run['id']}/output")
    assert answer.status_code == 200, answer.text
    with pa.ipc.open_file(pa.py_buffer(answer.content)) as reader:
        return reader.read_all().to_pydict()


def findings(server: RunningServer, name: str, values: dict[str, Any] | None = None, **options: Any) -> dict[str, Any]:
    """Run scripts/NAME.py, which returns a frame of probes and findings (JSON), and hand them back by probe.

    `values` reach the script as the columns of dataframe1, one row.
    """
    files = {"dataframe1": ("values.json", json.dumps([values or {"none": 0}]).encode(), "application/json")}
    run = server.submit((SCRIPTS / f"{name}.py").read_text(), files=files, **options)
    assert run["status"] == "succeeded", (run["reason"], run["error"], server.log(run))
    found = table(server, run)
    return {probe: json.loads(text) for probe, text in zip(found["probe"], found["finding"], strict=True)}


def submit(server: RunningServer, script: str, **options: Any) -> str:
    """Submit without waiting: the run's id."""
    return str(server.submit(script, wait=0, **options)["id"])


def ended(server: RunningServer, run_id: str, seconds: float = 120) -> Any:
    """Wait for the run's end: its document."""
    run = server.get(f"/v1/runs/{run_id}?wait={seconds}").json()
    assert run["status"] in ("succeeded", "failed", "cancelled"), f"{run_id} is {run['status']} after {seconds} s"
    return run


def check_clean(server: RunningServer) -> None:
    """Nothing is left of earlier runs, the server is well, and the next run finds an untouched sandbox."""
    assert server.gone(), server.containers()
    assert server.get("/healthz").status_code == 200
    run = server.submit(CLEAN)
    assert run["status"] == "succeeded", run
    assert table(server, run) == {"left": [0], "shm": [0], "processes": [0]}


@contextmanager
def docker_api() -> Iterator[Any]:
    client = docker.from_env()
    try:
        yield client.api
    finally:
        client.close()


def container_of(run_id: str, seconds: float = 30) -> dict[str, Any]:
    """What its engine tells of the run's live container, and its runner's pid and uid; waits until it runs."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for found in [one for engine in {ENGINE, "oci"} for one in listed(engine)]:
            if _is_of(found, run_id):
                with suppress(docker.errors.APIError, FileNotFoundError, ProcessLookupError, ValueError):
                    if (container := inspected(found["Id"])) is not None:
                        pid = min(processes_of(container), key=_inner_pid)
                        return container | {"Runner": {"Pid": pid, "Uid": int(status_of(pid)["Uid"].split()[0])}}
        time.sleep(0.02)
    raise AssertionError(f"no running container of {run_id} within {seconds} s")


def _is_of(container: dict[str, Any], run_id: str) -> bool:
    """A plain one says so itself; in a warm one the run's files have been laid."""
    if not is_warm(container):
        return bool(container["Labels"].get("airlock.run") == run_id)
    place = next(Path(mount["Source"]) for mount in container["Mounts"] if mount["Destination"] == "/in")
    if len(place.parts) < 5:
        return False
    own = place.parents[3] / "runs" / run_id / "in" / "job.json"
    with suppress(FileNotFoundError):
        return own.samefile(place / "job.json")
    return False


def is_warm(container: dict[str, Any]) -> bool:
    return "airlock.warm" in (container.get("Labels") or container["Config"]["Labels"])


def _inner_pid(pid: int) -> int:
    return int(status_of(pid)["NSpid"].split()[-1])


def wait_for_log(server: RunningServer, run_id: str, text: str, seconds: float = 60) -> None:
    """Wait until the run's log holds the text: the script has come that far."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if text in server.get(f"/v1/runs/{run_id}/log").text:
            return
        time.sleep(0.05)
    run = server.get(f"/v1/runs/{run_id}").json()
    raise AssertionError(f"{text!r} is not in the log within {seconds} s: {run['status']} {run['error']}")


@contextmanager
def living(server: RunningServer, script: str = SLEEPER, **options: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """A run whose script has said "ready" and goes on: its id and its container. Cancelled and gone afterwards."""
    run_id = submit(server, script, **options)
    try:
        container = container_of(run_id)
        wait_for_log(server, run_id, "ready")
        yield run_id, container
    finally:
        with suppress(requests.ConnectionError):
            server.post(f"/v1/runs/{run_id}/cancel")
            ended(server, run_id)


def status_of(pid: int) -> dict[str, str]:
    """/proc/PID/status of a process, seen from the host."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


def lives(pid: int) -> bool:
    """Whether it runs; one that only waits to be collected by its parent does not."""
    with suppress(FileNotFoundError, ProcessLookupError):
        return not status_of(pid)["State"].startswith("Z")
    return False


def cgroup_file(pid: int, controller: str, v1_name: str, v2_name: str) -> str:
    """A limit of the process's cgroup as the kernel holds it, on hosts of either cgroup version."""
    root = Path("/sys/fs/cgroup")
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, controllers, place = line.split(":", 2)
        if controller in controllers.split(","):
            return (root / controller / place.lstrip("/") / v1_name).read_text().strip()
        if not controllers and (root / "cgroup.controllers").exists():
            return (root / place.lstrip("/") / v2_name).read_text().strip()
    raise AssertionError(f"process {pid} has no {controller} cgroup")


def processes_of(container: dict[str, Any]) -> list[int]:
    """The host's ids of the runner and whatever it started; without a warm container's first process."""
    return [pid for pid in pids_in(container["Id"]) if _is_a_runs(int(status_of(pid)["Uid"].split()[0]))]


def _is_a_runs(uid: int) -> bool:
    return FIRST_UID <= uid < FIRST_UID + UIDS


def strays(server: RunningServer) -> list[str]:
    """Processes from this server's sandboxes that no living container holds: "PID UID NAME" of each.

    Known by their uid, which is one of the pool or of a container's root, and by what is mounted for them: tests of
    other servers go on.
    """
    place = "/" + "/".join(server.data_dir.parts[-3:]) + "/"
    living = [found["Id"] for found in listed(server.engine)]
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it ends just now
            status = status_of(int(path.name))
            uid = int(status["Uid"].split()[0])
            cgroups = (path / "cgroup").read_text()
            ours = FIRST_UID <= uid < FIRST_UID + 2 * UIDS and place in (path / "mountinfo").read_text()
            if ours and not any(container in cgroups for container in living):
                found.append(f"{path.name} {uid} {status['Name']}")
    return found
