"""The client's hands for batches: one script over many tables."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from controller.client.api import PAUSE_SECONDS, Client, script_part, waiting
from controller.client.download import receive
from controller.client.multipart import MultipartBody, Part
from controller.client.tables import ARROW, StoredTable

Batch = dict[str, Any]
OUTPUT_SECONDS = 330.0
"""The results are put together when they are first asked for: the server answers when they are."""
LOOK_SECONDS = 2.0
"""Between two looks at a batch that goes on, whose counts somebody watches."""
_CHUNK_BYTES = 256 * 1024
_JSON = "application/json"


class BatchClient(Client):
    """A client that knows batches as well. A batch is the JSON object that the server answers with, as a dict."""

    def submit_batch(
        self,
        script: Path | str,
        batch: Mapping[str, Any],
        *,
        dataframe2: StoredTable | None = None,
        bundle: Path | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> Batch:
        """Hand in a batch: `batch` says what its items are made of, as the API has it; `script` is a file, or as a str
        the name of a stored one. Raises ClientError."""
        parts = [script_part(script)]
        parts.append(Part("batch", json.dumps(dict(batch)).encode(), _JSON))
        if dataframe2 is not None:
            parts.append(Part("dataframe2", json.dumps(dataframe2.reference).encode(), _JSON))
        if bundle is not None:
            parts.append(Part("bundle", bundle, "application/zip", bundle.name))
        if options:
            parts.append(Part("options", json.dumps(dict(options)).encode(), _JSON))
        body = MultipartBody(parts)
        return self._json("POST", "/v1/batches", data=body, headers={"Content-Type": body.content_type})

    def batch(self, batch_id: str, wait_seconds: float = 0) -> Batch:
        """The batch as it is now, or as soon as it has ended within `wait_seconds`."""
        return self._json("GET", _path(batch_id), **waiting(wait_seconds))

    def watch_batch(self, batch: Batch) -> Iterator[Batch]:
        """The batch again and again while it goes on; the last one has ended."""
        while True:
            yield batch
            if batch["finished_at"] is not None:
                return
            time.sleep(PAUSE_SECONDS)
            batch = self.batch(batch["id"], LOOK_SECONDS)

    def batches(self) -> Iterator[Batch]:
        """All, newest first, page after page."""
        yield from self._pages("/v1/batches", {})

    def batch_items(self, batch_id: str, status: str | None = None) -> Iterator[dict[str, Any]]:
        """Its items in their order, or those that stand so."""
        yield from self._pages(f"{_path(batch_id)}/items", {"status": status} if status else {})

    def batch_output(self, batch_id: str, file: Path, accept: str = ARROW, *, partial: bool = False) -> int:
        """Save the rows of all items in the wanted format; bytes written. The file appears when complete."""
        headers = {"Accept": accept, "Accept-Encoding": "identity"}
        params = {"partial": 1} if partial else {}
        request = waiting(OUTPUT_SECONDS) | {"headers": headers, "params": params}
        with self._open("GET", f"{_path(batch_id)}/output", **request) as answer:
            return receive(answer.iter_content(_CHUNK_BYTES), file)

    def cancel_batch(self, batch_id: str) -> Batch:
        """Stop what of it is under way, and begin nothing more."""
        return self._json("POST", f"{_path(batch_id)}/cancel")

    def retry_batch(self, batch_id: str) -> Batch:
        """Begin the items again that failed or were cancelled."""
        return self._json("POST", f"{_path(batch_id)}/retry")

    def delete_batch(self, batch_id: str) -> None:
        """Make the server forget it, and all its runs."""
        with self._open("DELETE", _path(batch_id)):
            pass


def _path(batch_id: str) -> str:
    return f"/v1/batches/{quote(batch_id, safe='')}"
