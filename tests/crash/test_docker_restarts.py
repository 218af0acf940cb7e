"""A Docker that is stopped, killed or replaced while scripts run: never the scripts' fault, and never two at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from tests.crash.daemon import PrivateDocker
from tests.crash.leftovers import sandboxes
from tests.running import RunningServer, until

SLEEPER = (
    "import time\nprint('asleep', flush=True)\ntime.sleep(max(1, {until} - time.time()))\n"
    "import pandas as pd\ndef azureml_main(): return pd.DataFrame({{'a': [1]}})"
)
SECONDS = 20
"""A first attempt sleeps longer than a daemon takes to come back on a busy machine; a second one has no need to."""
Maker = Callable[..., RunningServer]


def begun(server: RunningServer) -> str:
    """The id of a run whose script is at work."""
    run_id = str(server.submit(SLEEPER.format(until=time.time() + SECONDS), wait=0)["id"])
    assert until(lambda: "asleep" in server.get(f"/v1/runs/{run_id}/log").text, 90)
    return run_id


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_a_docker_that_ends_takes_no_script_with_it(
    private_docker: PrivateDocker, make_server: Maker, end: str
) -> None:
    """`systemctl stop docker` kills what runs, as does a daemon that starts after a crash: the run is begun again."""
    server = make_server(**private_docker.environment)
    run_id = begun(server)

    getattr(private_docker, end)()
    private_docker.start()
    run = server.get(f"/v1/runs/{run_id}?wait=90").json()

    assert (run["status"], run["attempt"]) == ("succeeded", 2), run
    assert until(lambda: run_id not in sandboxes(server.data_dir).values())  # others are kept ready


@pytest.fixture
def live_restore(private_docker: PrivateDocker) -> Iterator[PrivateDocker]:
    """The daemon with containers that live on when it ends."""
    private_docker.stop()
    private_docker.options = ["--live-restore"]
    private_docker.start()
    yield private_docker
    private_docker.stop()
    private_docker.options = []
    private_docker.start()


def test_two_attempts_of_a_run_are_never_at_work_together(live_restore: PrivateDocker, make_server: Maker) -> None:
    """A container that outlives its daemon is gone before the second attempt's is made."""
    server = make_server(AIRLOCK_WARM_CONTAINERS="0", **live_restore.environment)
    run_id = begun(server)
    (first,) = sandboxes(server.data_dir)
    most = 0

    live_restore.kill()
    survived = first in sandboxes(server.data_dir)
    live_restore.start()

    def ended() -> bool:
        nonlocal most
        most = max(most, len(sandboxes(server.data_dir)))
        return server.get(f"/v1/runs/{run_id}").json()["status"] == "succeeded"

    assert until(ended, 90)
    assert survived
    assert most == 1
    assert server.get(f"/v1/runs/{run_id}").json()["attempt"] == 2
    assert until(lambda: not sandboxes(server.data_dir))
