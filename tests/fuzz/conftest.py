"""The server that the fuzzers ask, and what there is on it to ask for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from tests.fuzz.effort import REQUESTS, SEED, made
from tests.running import start_server, until

if TYPE_CHECKING:
    from tests.running import RunningServer

TABLE = "import pandas as pd\ndef azureml_main(a=None, b=None):\n    return pd.DataFrame({'n': [1, 2, 3]})\n"


def pytest_report_header() -> str:
    return f"fuzz: {REQUESTS} requests, AIRLOCK_FUZZ_SEED={SEED}"


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A worker tells how many it made; who started the workers adds them up."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["fuzz_requests"] = made.count


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    made.count += getattr(node, "workeroutput", {}).get("fuzz_requests", 0)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if made.count:
        terminalreporter.write_line(f"fuzz: {made.count} requests were made")


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server on which nothing takes long: no wait, no run, no queue."""
    running = start_server(
        tmp_path_factory.mktemp("fuzzed") / "data",
        {
            "AIRLOCK_WORKERS": "2",
            "AIRLOCK_MAX_WAIT_SECONDS": "0.2",
            "AIRLOCK_MAX_TIMEOUT_SECONDS": "20",
            "AIRLOCK_TIMEOUT_SECONDS": "20",
            "AIRLOCK_MAX_QUEUED_RUNS": "5",
        },
    )
    yield running
    assert running.process.poll() is None
    running.stop()


@pytest.fixture(scope="module")
def there(target: RunningServer) -> dict[str, list[str]]:
    """What there is for a path to name, by the parameter's name: else nearly every answer would be 404."""
    run = target.post("/v1/runs", files={"script": TABLE}).json()
    failed = target.post("/v1/runs", files={"script": "1/0"}).json()
    target.request("PUT", "/v1/datasets/there", data=b"a,b\n1,2\n3,4\n", headers={"Content-Type": "text/csv"})
    assert until(lambda: target.get("/v1/datasets/there").json()["status"] == "ready", 30)
    batch = target.post("/v1/batches", json={"script": TABLE, "batch": {"datasets": ["there"]}}).json()
    assert until(lambda: target.get(f"/v1/batches/{batch['id']}").json()["finished_at"], 30)
    assert until(lambda: target.get(f"/v1/runs/{run['id']}").json()["status"] == "succeeded", 30)
    return {"run_id": [run["id"], failed["id"]], "batch_id": [batch["id"]], "name": ["there"]}
