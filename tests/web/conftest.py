"""Servers and tenants of the web tests, and what holds for all of them together."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
from callers import add_tenant
from wire import SLEEPER, well_formed

from controller.model import SCOPES
from controller.store.database import Database
from controller.store.sql import SqlStore
from tests.running import RunningServer, start_server, until

TABLE = """
import struct, sys, zlib
import pandas as pd

def png(name, shade):
    def chunk(kind, data):
        return struct.pack(">L", len(data)) + kind + data + struct.pack(">L", zlib.crc32(kind + data))
    with open(name, "wb") as file:
        file.write(b"\\x89PNG\\r\\n\\x1a\\n" + chunk(b"IHDR", struct.pack(">LLBBBBB", 1, 1, 8, 0, 0, 0, 0))
                   + chunk(b"IDAT", zlib.compress(bytes([0, shade]))) + chunk(b"IEND", b""))

def azureml_main(dataframe1=None, dataframe2=None):
    print("to stdout: \u00e4\u00f6\u00fc")
    print("to stderr", file=sys.stderr)
    png("one.png", 1)
    png("two words.png", 2)
    return pd.DataFrame({"n": [1, 2, 3], "x": [0.5, None, -1.5], "s": ["a", "b,\\"c\\"", None]})
"""


@pytest.fixture(scope="session", autouse=True)
def clean_record(server: RunningServer) -> Iterator[None]:
    """Every answer of the shared server is well formed; and in the end it has failed nowhere and kept nothing."""

    def check(answer: requests.Response, *_: Any, **__: Any) -> None:
        well_formed(answer)

    server.session.hooks["response"].append(check)
    yield
    assert until(lambda: not any((server.data_dir / "uploads").iterdir())), "half-received uploads were left"
    assert "unforeseen_error" not in server.log_path.read_text()
    store = SqlStore(Database(f"sqlite:///{server.data_dir / 'airlock.db'}"))
    there = {path.name for path in (server.data_dir / "runs").iterdir()}
    known = store.known_runs(there)
    store.close()
    assert there - known == set()


@pytest.fixture
def make_tenant(server: RunningServer, request: pytest.FixtureRequest) -> Iterator[Callable[..., RunningServer]]:
    """Tenants of the shared server, named after the test and, as tests of two files may share a name, its file."""
    made: list[RunningServer] = []

    def make(scopes: tuple[str, ...] = SCOPES) -> RunningServer:
        name = f"{request.module.__name__}-{request.node.name}"[-90:]
        made.append(add_tenant(server, f"{name}-{len(made)}", scopes))
        return made[-1]

    yield make
    for one in made:
        one.session.close()


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server whose limits are so small that a test can reach them: one run at once, one waiting."""
    running = start_server(
        tmp_path_factory.mktemp("small") / "data",
        {
            "AIRLOCK_MAX_BODY_BYTES": "1000000",
            "AIRLOCK_MAX_JSON_BYTES": "100000",
            "AIRLOCK_MAX_BUNDLE_BYTES": "50000",
            "AIRLOCK_MAX_SCRIPT_BYTES": "20000",
            "AIRLOCK_MAX_TIMEOUT_SECONDS": "90",
            "AIRLOCK_MAX_QUEUED_RUNS": "1",
            "AIRLOCK_MAX_UNSTARTED_JOBS": "2",
            "AIRLOCK_MAX_WAIT_SECONDS": "0.5",
            "AIRLOCK_WORKERS": "1",
        },
    )
    running.session.hooks["response"].append(lambda answer, *_, **__: well_formed(answer))
    yield running
    running.stop()


@pytest.fixture(scope="session")
def table_run(server: RunningServer) -> Any:
    """A run that succeeded, with a table of three rows, two images, and a log on both streams."""
    run = server.submit(TABLE)
    assert run["status"] == "succeeded", run
    return run


@pytest.fixture(scope="session")
def failed_run(server: RunningServer) -> Any:
    """A run whose script fails."""
    run = server.submit("def azureml_main(a=None, b=None):\n    return 1 / 0\n")
    assert run["status"] == "failed", run
    return run


@pytest.fixture
def busy(server: RunningServer) -> Iterator[Any]:
    """A run that is running, and will be for a minute unless it is cancelled."""
    run = server.submit(SLEEPER, wait=0)
    assert until(lambda: server.get(f"/v1/runs/{run['id']}").json()["status"] == "running")
    yield run
    server.post(f"/v1/runs/{run['id']}/cancel")
    ended = server.get(f"/v1/runs/{run['id']}?wait=30").json()
    assert ended["status"] == "cancelled", ended
