"""What the tests of batches share: submitting one, waiting for its end, and looking at its items."""

from __future__ import annotations

import json
from typing import Any

import requests
from dataset_calls import ready

from tests.running import RunningServer

CITIES = b"city,n\nparis,1\nrome,2\nparis,3\noslo,4\nrome,5\nparis,6\n"
DOUBLE = """
def azureml_main(dataframe1, dataframe2=None):
    dataframe1["m"] = dataframe1["n"] * 2
    return dataframe1
"""
FAILS_ON_4 = """
def azureml_main(dataframe1):
    if 4 in list(dataframe1["n"]):
        raise ValueError("four")
    return dataframe1
"""
NAPPER = """
import time
def azureml_main(dataframe1):
    time.sleep(600)
"""


def cities(server: RunningServer, name: str = "cities") -> Any:
    """Six rows of three cities, as a dataset."""
    found = ready(server, name, CITIES)
    assert found["rows"] == 6
    return found


def submit(
    server: RunningServer, script: str, batch: dict[str, Any], wait: float = 0, **more: Any
) -> requests.Response:
    """As JSON; `more` are further fields of the body, or headers."""
    headers = more.pop("headers", {})
    body = {"script": script, "batch": batch, **more}
    return server.post(f"/v1/batches?wait={wait}", json=body, headers=headers, timeout=wait + 60)


def ended(server: RunningServer, batch: Any) -> Any:
    """The batch when it has ended."""
    found = server.get(f"/v1/batches/{batch['id']}?wait=250", timeout=280).json()
    assert found["finished_at"], found
    return found


def done(server: RunningServer, script: str, batch: dict[str, Any], **more: Any) -> Any:
    """Submit it and wait for its end."""
    answer = submit(server, script, batch, **more)
    assert answer.status_code in (200, 202), answer.text
    return ended(server, answer.json())


def items(server: RunningServer, batch: Any, query: str = "") -> list[Any]:
    """All of them, page by page."""
    found: list[Any] = []
    cursor = ""
    while True:
        page = server.get(f"/v1/batches/{batch['id']}/items?limit=100{query}{cursor}").json()
        found += page["items"]
        if page["next_cursor"] is None:
            return found
        cursor = f"&cursor={page['next_cursor']}"


def csv(server: RunningServer, batch: Any, query: str = "") -> requests.Response:
    """Its output."""
    return server.get(f"/v1/batches/{batch['id']}/output{query}", headers={"Accept": "text/csv"}, timeout=280)


def counts(batch: Any) -> dict[str, int]:
    """Those that are not zero."""
    return {status: count for status, count in batch["counts"].items() if count}


def parts(script: str, batch: dict[str, Any], **files: Any) -> dict[str, Any]:
    """The parts of a multipart body."""
    return {"script": ("s.py", script), "batch": (None, json.dumps(batch)), **files}
