"""What the tests of endpoints share: publishing one, and calling it as a stranger who has its key and nothing else."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import requests

from tests.running import RunningServer

DOUBLE = """
import time
def azureml_main(dataframe1, dataframe2=None, *, params=None):
    time.sleep(params.get("sleep", 0))
    if params.get("fail"):
        raise ValueError("as asked")
    return dataframe1 * 2
"""
SAMPLE = ("t.csv", "n,x\n1,0.5\n")


@dataclass
class Published:
    """An endpoint and one of its keys; no other key goes with its requests."""

    server: RunningServer
    document: Any
    key: str

    def request(self, method: str, path: str, **more: Any) -> requests.Response:
        headers = {"Authorization": f"Bearer {self.key}"} | more.pop("headers", {})
        more.setdefault("timeout", 120)
        return requests.request(method, self.server.url + path, headers=headers, **more)

    def call(self, rows: Any = None, *, query: str = "", **more: Any) -> requests.Response:
        if rows is not None:
            more["json"] = rows
        return self.request("POST", f"/v1/endpoints/{self.document['name']}/call{query}", **more)

    @property
    def base(self) -> str:
        """Of its Azure-compatible addresses."""
        address: str = self.document["addresses"]["azure_batch"]
        return address.partition("/jobs")[0]

    def execute(self, inputs: Any, query: str = "", **more: Any) -> requests.Response:
        body = {"Inputs": inputs} | more.pop("body", {})
        return self.request("POST", f"{self.base}/execute?api-version=2.0{query}", json=body, **more)


def keep(server: RunningServer, name: str, script: str = DOUBLE, *, sample: Any = SAMPLE, **options: Any) -> Any:
    """Store a script, with a sample of its first table."""
    parts: dict[str, Any] = {"script": ("s.py", script), "options": (None, json.dumps(options))}
    if sample:
        parts["dataframe1"] = sample
    answer = server.request("PUT", f"/v1/scripts/{name}", files=parts)
    assert answer.status_code in (200, 201), answer.text
    return answer.json()


def publish(server: RunningServer, name: str, script: str | None = None, **body: Any) -> Published:
    answer = server.request("PUT", f"/v1/endpoints/{name}", json={"script": script or name, **body})
    assert answer.status_code == 201, answer.text
    document = answer.json()
    return Published(server, document, document["keys"]["primary"])
