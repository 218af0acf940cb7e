"""GET /metrics: who may see it, and that it counts what happened, by names of ours only."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import docker
import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families
from wire import SLEEPER, refused, well_formed

from tests.running import start_server, until

if TYPE_CHECKING:
    from tests.running import RunningServer

OPERATIONS = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
TOKEN = "a-token-for-prometheus"
GOOD = "def azureml_main(a=None, b=None):\n    return None\n"


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server whose metrics may be seen, that executes one run at a time."""
    running = start_server(
        tmp_path_factory.mktemp("watched") / "data", {"AIRLOCK_METRICS_TOKEN": TOKEN, "AIRLOCK_WORKERS": "1"}
    )
    yield running
    running.stop()


def scrape(server: RunningServer) -> dict[tuple[str, ...], float]:
    """Every sample: (name, label=value, ...) and its value."""
    answer = requests.get(f"{server.url}/metrics", headers={"Authorization": f"Bearer {TOKEN}"}, timeout=30)
    well_formed(answer)
    assert answer.status_code == 200, answer.text
    return {
        (sample.name, *(f"{name}={value}" for name, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def risen(before: dict[tuple[str, ...], float], after: dict[tuple[str, ...], float], name: str) -> dict[Any, float]:
    """By how much each sample of this name is higher."""
    both = {labels: value - before.get((name, *labels), 0.0) for (found, *rest), value in after.items()
            if found == name for labels in [tuple(rest)]}
    return {labels: value for labels, value in both.items() if value}


def test_there_is_no_such_path_without_a_token(server: RunningServer) -> None:
    """Off unless the operator wants it: what is counted says how much goes on."""
    refused(requests.get(f"{server.url}/metrics", timeout=30), 404, "not_found")


@pytest.mark.parametrize(
    "header", [None, "", "Bearer", f"Bearer {TOKEN[:-1]}", f"Bearer {TOKEN}x", f"Basic {TOKEN}", TOKEN, "Bearer \u00e4"]
)
def test_a_wrong_token_or_none_is_refused(watched: RunningServer, header: str | None) -> None:
    """401, with the challenge; nor is an API key the token."""
    sent = {} if header is None else {"Authorization": header.encode("latin-1")}

    answer = requests.get(f"{watched.url}/metrics", headers=sent, timeout=30)

    refused(answer, 401, "unauthorized", "metrics token")
    assert answer.headers["WWW-Authenticate"] == 'Bearer realm="airlock"'
    refused(watched.get("/metrics"), 401, "unauthorized")


@pytest.mark.parametrize("token", ["", "x" * 15, "a token with spaces", "t\u00f6ken-that-is-long-enough"])
def test_a_token_that_can_be_guessed_stops_the_start(
    tmp_path_factory: pytest.TempPathFactory, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 2 with the setting's name, and without the token."""
    monkeypatch.setenv("AIRLOCK_METRICS_TOKEN", token)
    monkeypatch.setenv("AIRLOCK_DATA_DIR", str(tmp_path_factory.mktemp("never") / "data"))

    done = subprocess.run([sys.executable, "-m", "controller.cli", "serve"], capture_output=True, text=True, timeout=60)

    assert done.returncode == 2
    assert "setting metrics_token" in done.stderr
    assert not token or token not in done.stdout + done.stderr


def test_runs_are_counted_as_they_end(watched: RunningServer) -> None:
    """By class, status and reason; each once, however it ended; and timed when they were executed."""
    before = scrape(watched)
    sleeper = watched.submit(SLEEPER, wait=0, priority="batch")
    assert until(lambda: watched.get(f"/v1/runs/{sleeper['id']}").json()["status"] == "running", 30)
    waiting = watched.submit(GOOD, wait=0, priority="normal")
    during = scrape(watched)
    for run in (waiting, sleeper):
        watched.post(f"/v1/runs/{run['id']}/cancel")
    assert watched.get(f"/v1/runs/{sleeper['id']}?wait=30").json()["status"] == "cancelled"
    statuses = [watched.submit(script)["status"] for script in (GOOD, "def azureml_main():\n    return 1 / 0\n")]
    reused = [watched.submit(GOOD, reuse=True)["reused_from"] for _ in range(2)]
    after = scrape(watched)

    assert statuses == ["succeeded", "failed"]
    assert reused[0] is None
    assert reused[1] is not None
    assert risen(before, after, "airlock_runs_total") == {
        ("class=batch", "reason=", "status=cancelled"): 1,
        ("class=normal", "reason=", "status=cancelled"): 1,
        ("class=interactive", "reason=", "status=succeeded"): 3,
        ("class=interactive", "reason=script_error", "status=failed"): 1,
    }
    for stage in ("start", "script", "collect"):  # of the four that were executed
        assert risen(before, after, f"airlock_run_{stage}_seconds_count") == {(): 4}
        assert risen(before, after, f"airlock_run_{stage}_seconds_sum")[()] > 0
    assert risen(before, after, "airlock_run_queue_seconds_count") == {("class=batch",): 1, ("class=interactive",): 3}
    assert during[("airlock_queue_depth", "class=normal")] == 1
    assert during[("airlock_queue_oldest_seconds", "class=normal")] > 0
    assert during[("airlock_runs_at_work",)] == 1
    assert after[("airlock_queue_depth", "class=normal")] == 0
    assert after[("airlock_queue_oldest_seconds", "class=normal")] == 0


def test_the_table_of_metrics_is_what_is_scraped(watched: RunningServer) -> None:
    """docs/operations.md has each with its type and labels, and none that there is not."""
    watched.submit(GOOD)
    table = re.findall(r"^\| `([a-z_]+)` \| (counter|gauge|histogram) \|([^|]*)\|", OPERATIONS, re.MULTILINE)

    text = requests.get(f"{watched.url}/metrics", headers={"Authorization": f"Bearer {TOKEN}"}, timeout=30).text
    labels: dict[str, set[str]] = {}
    for sample, *rest in scrape(watched):
        labels.setdefault(sample, {label.split("=")[0] for label in rest})

    assert {name: kind for name, kind, _ in table} == dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
    wanted = {name + "_count" * (kind == "histogram"): set(re.findall(r"`(\w+)`", cell)) for name, kind, cell in table}
    assert wanted.pop("airlock_engine_errors_total") == {"code"}  # none has happened
    assert wanted == {name: labels.get(name) for name in wanted}


def test_warm_containers_are_told(watched: RunningServer) -> None:
    """How many stand ready, and how runs got theirs."""
    watched.warm_up()
    before = scrape(watched)
    watched.submit(GOOD)
    after = scrape(watched)

    assert until(lambda: scrape(watched)[("airlock_warm_containers", "state=ready")] >= 1, 30)
    assert after[("airlock_warm_launchers",)] >= 1
    assert risen(before, after, "airlock_starts_total") in ({("kind=warm",): 1}, {("kind=made_at_once",): 1})


def test_requests_are_counted_by_the_template_of_their_address(watched: RunningServer) -> None:
    """Neither an id, nor a path, nor a method that a client made up becomes a label."""
    before = scrape(watched)
    for _ in range(3):
        watched.get("/v1/runs/run_secret")
    watched.get("/secret/path")
    watched.request("SECRET", "/healthz")
    requests.get(f"{watched.url}/healthz?secret=1", timeout=30)
    after = scrape(watched)

    counted = risen(before, after, "airlock_http_requests_total")
    assert counted == {
        ("method=GET", "route=/v1/runs/<run_id>", "status=404"): 3,
        ("method=GET", "route=none", "status=404"): 1,
        ("method=other", "route=none", "status=405"): 1,
        ("method=GET", "route=/healthz", "status=200"): 1,
        ("method=GET", "route=/metrics", "status=200"): 1,
    }
    timed = risen(before, after, "airlock_http_request_seconds_count")
    assert timed[("method=GET", "route=/v1/runs/<run_id>")] == 3
    assert not [sample for sample in after if "secret" in " ".join(sample).lower()]


def test_an_engine_that_fails_is_counted(make_server: Callable[..., RunningServer]) -> None:
    """By the code of its error."""
    server = make_server(AIRLOCK_METRICS_TOKEN=TOKEN, AIRLOCK_IMAGE="airlock-no-such-image:latest")

    run = server.submit(GOOD)

    assert (run["status"], run["reason"]) == ("failed", "engine_error")
    found = scrape(server)
    assert found[("airlock_engine_errors_total", "code=image_missing")] == 1
    assert found[("airlock_runs_total", "class=interactive", "reason=engine_error", "status=failed")] == 1


def test_what_a_sweep_finds_is_counted(make_server: Callable[..., RunningServer]) -> None:
    """A run's files without a row, a container without a run, and a run that may not be begun again."""
    server = make_server(AIRLOCK_METRICS_TOKEN=TOKEN)
    run = server.submit(SLEEPER, wait=0, at_most_once=True, priority="batch")
    assert until(lambda: server.get(f"/v1/runs/{run['id']}").json()["status"] == "running", 30)
    server.stop(9)
    (server.data_dir / "runs" / "run_stray").mkdir()

    again = make_server(key=server.key, AIRLOCK_METRICS_TOKEN=TOKEN)

    def leaks() -> dict[Any, float]:
        return risen({}, scrape(again), "airlock_leaks_total")

    started = [json.loads(line) for line in again.log_path.read_text().splitlines() if '"started"' in line]
    assert leaks()[("kind=files",)] == started[-1]["strays"] >= 1
    assert until(lambda: leaks().get(("kind=container",), 0) >= 1, 20)
    lost = ("airlock_runs_total", "class=batch", "reason=engine_error", "status=failed")
    assert scrape(again)[lost] == 1
    client = docker.from_env()
    try:
        image = client.api.inspect_image("airlock-sandbox:latest")["Id"]
        swept = leaks()[("kind=container",)]
        labels = {"airlock.instance": again.instance, "airlock.run": "run_gone"}
        client.api.create_container(image, ["true"], labels=labels)
    finally:
        client.close()
    assert until(lambda: leaks()[("kind=container",)] == swept + 1, 20)


def test_a_database_that_is_away_hides_the_queue_and_nothing_else(make_server: Callable[..., RunningServer]) -> None:
    """An alert on its absence tells of it; the metrics are needed most when something is broken."""
    server = make_server(AIRLOCK_METRICS_TOKEN=TOKEN)
    file = server.data_dir / "airlock.db"
    file.rename(file.with_suffix(".away"))

    found = scrape(server)
    file.with_suffix(".away").rename(file)

    names = {name for name, *_ in found}
    assert "airlock_queue_depth" not in names
    assert {"airlock_runs_at_work", "airlock_build_info", "process_open_fds"} <= names
    assert ("airlock_queue_depth", "class=normal") in scrape(server)
