"""GET /v1/environments over HTTP, from the real image."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from wire import refused

from tests.running import RunningServer

VERSIONS = """
from importlib.metadata import version
import pandas as pd

def azureml_main():
    names = ["pandas", "matplotlib", "duckdb"]
    return pd.DataFrame({"name": names, "version": [version(name) for name in names]})
"""


def test_the_packages_are_those_that_a_script_finds(server: RunningServer) -> None:
    """Name, digest, channels and versions are the image's, as a run in it sees them."""
    run = server.submit(VERSIONS)
    rows = server.get(f"/v1/runs/{run['id']}/output", headers={"Accept": "application/json"}).json()

    answer = server.get("/v1/environments").json()

    (environment,) = answer["items"]
    versions = {package["name"]: package["version"] for package in environment["packages"]}
    inside = {row["name"]: row["version"] for row in rows}
    assert answer["next_cursor"] is None
    assert (environment["name"], environment["default"]) == ("default", True)
    assert environment["digest"] == run["environment"]["digest"]
    assert environment["channels"] in (["conda-forge"], ["stand-in"])
    assert versions["pandas"] == inside["pandas"]
    assert versions["matplotlib-base"] == inside["matplotlib"]
    assert versions["python-duckdb"] == inside["duckdb"]
    assert versions["python"].startswith("3.")


@contextmanager
def changed_image(tag: str, *lines: str) -> Iterator[str]:
    """An image of its own, made of the sandbox's and these lines; its digest."""
    base = os.environ.get("AIRLOCK_IMAGE", "airlock-sandbox:latest")
    dockerfile = "\n".join((f"FROM {base}", *lines)).encode()
    for _ in range(3):  # on a busy machine Docker's builder sometimes loses one of its own containers
        build = subprocess.run(["docker", "build", "-q", "-t", tag, "-"], input=dockerfile, capture_output=True)
        if build.returncode == 0:
            break
    assert build.returncode == 0, build.stderr.decode()
    try:
        inspect = ["docker", "image", "inspect", "-f", "{{.Id}}", tag]
        yield subprocess.check_output(inspect, text=True).strip()
    finally:
        subprocess.run(["docker", "rmi", tag], check=True, capture_output=True)


def test_an_image_is_read_once_and_nothing_stays(make_server: Callable[..., RunningServer]) -> None:
    """The first answer makes a container, reads from it and removes it; the second makes none."""
    tag, start = "airlock-test-read-once:latest", int(time.time())
    with changed_image(tag, "LABEL test=read-once") as digest:
        server = make_server(AIRLOCK_IMAGE=tag, AIRLOCK_WARM_CONTAINERS="0")

        answers = [server.get("/v1/environments").json() for _ in range(2)]

    until = str(int(time.time()) + 1)
    command = ["docker", "events", "--since", str(start), "--until", until, "--filter", "type=container"]
    events = subprocess.check_output([*command, "--format", "{{.Action}} {{.Actor.Attributes.image}}"], text=True)
    assert answers[0] == answers[1]
    assert answers[0]["items"][0]["digest"] == digest
    seen = [event.split()[0] for event in events.splitlines() if digest in event]
    assert seen == ["create", "archive-path", "destroy"]


def test_a_key_without_the_scope_is_refused(make_tenant: Callable[..., RunningServer]) -> None:
    """It is for those who run scripts; without a key it is for nobody."""
    publisher = make_tenant(scopes=("publish",))

    answer = publisher.get("/v1/environments")
    nobody = publisher.get("/v1/environments", headers={"Authorization": ""})

    refused(answer, 403, "forbidden", "'run'")
    refused(nobody, 401, "unauthorized")


def test_an_unknown_parameter_is_refused(server: RunningServer) -> None:
    """As everywhere: nothing is ignored."""
    answer = server.get("/v1/environments?limit=1")

    refused(answer, 422, "invalid_request", "limit")


def test_a_missing_image_and_an_engine_that_is_away_have_names(make_server: Callable[..., RunningServer]) -> None:
    """503 with the code that `readyz` uses, and what to do."""
    missing = make_server("missing", AIRLOCK_IMAGE="airlock-none:latest")
    away = make_server("away", DOCKER_HOST="tcp://127.0.0.1:9")

    answers = missing.get("/v1/environments"), away.get("/v1/environments")

    refused(answers[0], 503, "image_missing", "airlock image build")
    refused(answers[1], 503, "engine_unavailable")


def test_an_image_of_another_make_is_told(make_server: Callable[..., RunningServer]) -> None:
    """An image without an inventory is no environment: the error names the file, and the server lives."""
    tag = "airlock-test-no-inventory:latest"
    with changed_image(tag, "USER 0", "RUN rm /opt/airlock/inventory.json"):
        answer = make_server(AIRLOCK_IMAGE=tag, AIRLOCK_WARM_CONTAINERS="0").get("/v1/environments")

    refused(answer, 503, "engine_error", "/opt/airlock/inventory.json", "rebuild")
