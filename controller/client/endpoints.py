"""The client's hands for endpoints: scripts that are published as services."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from controller.client.api import CONNECT_SECONDS, Client, table_type
from controller.client.download import receive
from controller.client.multipart import MultipartBody, Part

Endpoint = dict[str, Any]
CALL_SECONDS = 330.0
"""A server holds a call no longer than its max_wait_seconds, which is 300 by default."""
_CHUNK_BYTES = 256 * 1024


class EndpointClient(Client):
    """A client that knows endpoints as well. An endpoint is the JSON object that the server answers with. To call one,
    its own key is enough."""

    def publish(self, name: str, script: str, **config: Any) -> Endpoint:
        """Publish a stored script, or change how it is published; `keys` are in the answer to the first time only.
        Raises ClientError."""
        timeout = (CONNECT_SECONDS, CALL_SECONDS)  # a script with samples is run once
        return self._json("PUT", _path(name), json={"script": script, **config}, timeout=timeout)

    def endpoint(self, name: str) -> Endpoint:
        return self._json("GET", _path(name))

    def endpoints(self) -> Iterator[Endpoint]:
        """All of them by name, page after page."""
        yield from self._pages("/v1/endpoints", {})

    def endpoint_usage(self, name: str) -> dict[str, Any]:
        """Its calls of the last 90 days, day by day."""
        return self._json("GET", f"{_path(name)}/usage")

    def roll_back(self, name: str) -> Endpoint:
        """Serve again what was served before."""
        return self._json("POST", f"{_path(name)}/rollback")

    def regenerate_key(self, name: str, which: str) -> str:
        """A new primary or secondary key in the place of the old one, which is void."""
        return str(self._json("POST", f"{_path(name)}/keys/{quote(which, safe='')}/regenerate")["key"])

    def delete_endpoint(self, name: str) -> None:
        """Take it away, and its keys with it."""
        with self._open("DELETE", _path(name)):
            pass

    def call(
        self,
        name: str,
        file: Path,
        accept: str,
        *,
        dataframe1: Path | None = None,
        dataframe2: Path | None = None,
        parameters: Mapping[str, Any] | None = None,
    ) -> int:
        """Call an endpoint and save its table, or its image; bytes written."""
        tables = (("dataframe1", dataframe1), ("dataframe2", dataframe2))
        parts = [Part(part, table, table_type(table), table.name) for part, table in tables if table is not None]
        parts.append(Part("parameters", json.dumps(dict(parameters or {})).encode(), "application/json"))
        body = MultipartBody(parts)
        headers = {"Content-Type": body.content_type, "Accept": accept, "Accept-Encoding": "identity"}
        timeout = (CONNECT_SECONDS, CALL_SECONDS)
        with self._open("POST", f"{_path(name)}/call", data=body, headers=headers, timeout=timeout) as answer:
            return receive(answer.iter_content(_CHUNK_BYTES), file)


def _path(name: str) -> str:
    return f"/v1/endpoints/{quote(name, safe='')}"
