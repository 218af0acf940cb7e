"""A server with the oci engine, where no Docker answers: killed at each step of a container, and as a whole."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from click.testing import CliRunner

from controller.cli.main import cli
from tests.containers import cgroups_at, listed
from tests.running import until
from tests.unpacked import unpacked_images

SCRIPT = (
    "import time\nimport pandas as pd\nprint('ready', flush=True)\ntime.sleep(%s)\n"
    "def azureml_main(): return pd.DataFrame({'a': [1]})"
)
STEPS = ("container_created", "container_started", "go_sent", "container_ended", "container_removed")
NO_DOCKER = "unix:///nonexistent/docker.sock"


@pytest.fixture
def oci():
    """Settings; retries come at once, and however many they are."""
    return {
        "AIRLOCK_ENGINE": "oci",
        "AIRLOCK_OCI_IMAGE_DIR": str(unpacked_images()),
        "DOCKER_HOST": NO_DOCKER,
        "AIRLOCK_MAX_ATTEMPTS": "100",
        "AIRLOCK_RETRY_SECONDS": "0.000001",
    }


def forgotten_cgroups() -> set[str]:
    """Those of containers of which nothing else is kept, so that no sweep would find them."""
    mounts = cgroups_at("airlock-runs")
    names = {place.name for mount in mounts for place in Path(mount).glob("airlock-*") if place.is_dir()}
    return names - {one["Id"] for one in listed("oci")}


@pytest.mark.parametrize(("warm", "by"), [("0", "runtime"), ("2", "runtime"), ("2", "launcher")])
def test_a_server_killed_at_any_step_of_a_container_leaves_nothing(make_server, oci, warm, by):
    """Each step kills the serving process once; the run that was at work is begun again, and ends as it should."""
    steps = [step for step in STEPS if warm == "0" or step != "container_created"]
    warm_containers = {"AIRLOCK_WARM_CONTAINERS": warm, "AIRLOCK_OCI_WARM_MAKER": by}
    server = make_server(AIRLOCK_FAILPOINT=",".join(steps), **warm_containers, **oci)

    run = server.submit(SCRIPT % 0, wait=0)
    assert until(lambda: reached(server) == set(steps), 60), reached(server)
    assert until(lambda: _status(server, run["id"]) == "succeeded", 60)

    assert server.gone()
    server.stop()
    assert until(lambda: forgotten_cgroups() == set(), 5), forgotten_cgroups()
    assert server.all_containers() == []


def reached(server) -> set[str]:
    """The steps at which the server was killed."""
    log = server.log_path.read_text()
    return {step for step in STEPS if f'"failpoint", "name": "{step}"' in log}


def _status(server, run_id: str) -> str:
    try:
        return server.get(f"/v1/runs/{run_id}").json()["status"]
    except OSError:  # the server is just being started again
        return "unknown"


@pytest.mark.parametrize("by", ["runtime", "launcher"])
def test_a_killed_server_is_followed_by_one_that_tidies_up(make_server, oci, by):
    """SIGKILL of all its processes while a run is at work: container, launcher and what stands ready go."""
    first = make_server(AIRLOCK_WARM_CONTAINERS="2", AIRLOCK_OCI_WARM_MAKER=by, **oci)
    first.warm_up()
    run = first.submit(SCRIPT % 2, wait=0)
    assert until(lambda: "ready" in first.get(f"/v1/runs/{run['id']}/log").text, 60)

    first.stop(signal.SIGKILL)
    left = set(first.all_containers())
    second = make_server(key=first.key, AIRLOCK_WARM_CONTAINERS="0", **oci)

    assert len(left) >= 2
    assert until(lambda: not left & set(second.all_containers()), 30)
    ended = second.get(f"/v1/runs/{run['id']}?wait=60").json()
    assert (ended["status"], ended["attempt"]) == ("succeeded", 2)
    assert second.gone()


def test_commands_for_images_need_no_docker(monkeypatch, oci):
    """`airlock image list` shows what is unpacked; `unpack` says that there is no Docker to take it from."""
    for name, value in oci.items():
        monkeypatch.setenv(name, value)

    listed = CliRunner().invoke(cli, ["image", "list"])
    unpacked = CliRunner().invoke(cli, ["image", "unpack"])

    assert listed.exit_code == 0, listed.output
    assert "airlock-sandbox:latest" in listed.stdout
    assert "packages from" in listed.stdout
    assert (unpacked.exit_code, "engine_unavailable" in unpacked.stderr) == (3, True)
    assert Path(oci["AIRLOCK_OCI_IMAGE_DIR"]).is_dir()
