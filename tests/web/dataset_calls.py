"""What the tests of datasets share: putting one, and looking at what lies on the server's disk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import requests
from wire import SLEEPER

from tests.running import RunningServer, until

CSV = b"n,s\n1,a\n2,\n3,c\n"
IDENTITY = "def azureml_main(dataframe1=None, dataframe2=None):\n    return dataframe1\n"


def put(
    server: RunningServer,
    name: str,
    data: Any = CSV,
    query: str = "wait=200",
    kind: str | None = "text/csv",
    **headers: str,
) -> requests.Response:
    """PUT the bytes as they are; an underscore in a header's name stands for a hyphen."""
    fields = {key.replace("_", "-"): value for key, value in headers.items()}
    if kind is not None:
        fields["Content-Type"] = kind
    return server.request("PUT", f"/v1/datasets/{name}?{query}", data=data, headers=fields, timeout=250)


def ready(server: RunningServer, name: str, data: Any = CSV, **more: Any) -> Any:
    """Put it and wait until it can be used: the version."""
    answer = put(server, name, data, **more)
    assert answer.status_code == 201, answer.text
    assert answer.json()["status"] == "ready", answer.text
    return answer.json()


def numbers(server: RunningServer, name: str) -> list[int]:
    """Of its versions, newest first; none when there is no such dataset."""
    answer = server.get(f"/v1/datasets/{name}/versions")
    return [one["version"] for one in answer.json()["items"]] if answer.status_code == 200 else []


def run_with(server: RunningServer, dataset: dict[str, Any], script: str = IDENTITY, **more: Any) -> requests.Response:
    """Submit a run whose first table is a dataset, and wait for its end."""
    return server.post("/v1/runs?wait=200", json={"script": script, "dataframe1": dataset, **more}, timeout=250)


def directories(server: RunningServer) -> list[Path]:
    """Of the runs, ingests included."""
    return sorted((server.data_dir / "runs").iterdir())


def files(server: RunningServer, name: str) -> list[Path]:
    """Every file of this name in the runs' directories."""
    return sorted((server.data_dir / "runs").rglob(name))


def occupied(server: RunningServer) -> RunningServer:
    """A server of one worker, which is busy for a minute: what is accepted from now on waits."""
    sleeper = server.submit(SLEEPER, wait=0, timeout_seconds=600)
    assert until(lambda: server.get(f"/v1/runs/{sleeper['id']}").json()["status"] == "running", 60)
    return server


def free(server: RunningServer) -> None:
    """Its worker has nothing to do any more."""
    for run in server.get("/v1/runs").json()["items"]:
        if run["status"] in ("queued", "running"):
            server.post(f"/v1/runs/{run['id']}/cancel")


def reading(options: dict[str, Any], data: bytes = CSV, name: str = "t.csv") -> dict[str, Any]:
    """The parts of a multipart PUT."""
    return {"file": (name, data), "options": (None, json.dumps(options), "application/json")}
