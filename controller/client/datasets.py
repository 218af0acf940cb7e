"""The client's hands for datasets: tables that the server keeps under a name."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from controller.client.api import PAUSE_SECONDS, WAIT_SECONDS, Client, table_type, waiting
from controller.client.download import receive
from controller.client.multipart import MultipartBody, Part
from controller.client.tables import ARROW

Dataset = dict[str, Any]
_CHUNK_BYTES = 256 * 1024


class DatasetClient(Client):
    """A client that knows datasets as well. A version is the JSON object that the server answers with, as a dict."""

    def put_dataset(
        self, name: str, table: Path, *, options: Mapping[str, Any] | None = None, wait_seconds: float = 0
    ) -> Dataset:
        """Stream a file to the server, to be kept under this name; the version as accepted, or as it is ingested
        within `wait_seconds`. The file's name tells its format; `options` say how it is read. Raises ClientError."""
        parts = [Part("file", table, table_type(table), table.name)]
        if options:
            parts.append(Part("options", json.dumps(dict(options)).encode(), "application/json"))
        body = MultipartBody(parts)
        headers = {"Content-Type": body.content_type}
        return self._json("PUT", _path(name), data=body, headers=headers, **waiting(wait_seconds))

    def wait_for_dataset(self, dataset: Dataset) -> Dataset:
        """The version once it is ingested, or could not be."""
        while dataset["status"] == "ingesting":
            time.sleep(PAUSE_SECONDS)
            dataset = self.dataset(dataset["name"], dataset["version"], WAIT_SECONDS)
        return dataset

    def dataset(self, name: str, version: int | None = None, wait_seconds: float = 0) -> Dataset:
        """This version, or the newest that is ready."""
        request = waiting(wait_seconds)
        request["params"] = (request["params"] or {}) | _versioned(version)
        return self._json("GET", _path(name), **request)

    def datasets(self, prefix: str = "") -> Iterator[Dataset]:
        """The newest version of each dataset, newest first, page after page."""
        yield from self._pages("/v1/datasets", {"prefix": prefix} if prefix else {})

    def dataset_versions(self, name: str) -> Iterator[Dataset]:
        """Every version of a dataset, newest first."""
        yield from self._pages(f"{_path(name)}/versions", {})

    def dataset_data(self, name: str, file: Path, accept: str = ARROW, version: int | None = None) -> int:
        """Save a version's table in the wanted format; bytes written. The file appears when complete."""
        headers = {"Accept": accept, "Accept-Encoding": "identity"}
        params = _versioned(version)
        with self._open("GET", f"{_path(name)}/data", headers=headers, params=params) as answer:
            return receive(answer.iter_content(_CHUNK_BYTES), file)

    def dataset_preview(self, name: str, version: int | None = None) -> dict[str, Any]:
        """Its first rows."""
        return self._json("GET", f"{_path(name)}/preview", params=_versioned(version))

    def dataset_statistics(self, name: str, version: int | None = None) -> dict[str, Any]:
        """What its columns hold."""
        return self._json("GET", f"{_path(name)}/statistics", params=_versioned(version))

    def delete_dataset(self, name: str, version: int | None = None) -> None:
        """Delete this version, or all of them."""
        with self._open("DELETE", _path(name), params=_versioned(version)):
            pass


def _path(name: str) -> str:
    return f"/v1/datasets/{quote(name, safe='')}"


def _versioned(version: int | None) -> dict[str, Any]:
    return {} if version is None else {"version": version}
