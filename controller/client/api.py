"""A client of the HTTP API (docs/cli.md shows the same from the command line).

    with Client("http://127.0.0.1:8750", key) as client:
        run = client.run(Path("script.py"), dataframe1=Path("table.csv"))
        client.output(run["id"], Path("result.parquet"), "application/vnd.apache.parquet")

A run is the JSON object that the server answers with, as a dict. Errors: controller/client/errors.py.
"""

from __future__ import annotations

import contextlib
import io
import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Self
from urllib.parse import quote, urlsplit

import requests
import urllib3
from requests.auth import AuthBase

from controller.client.download import receive
from controller.client.errors import (
    ClientError,
    ServerUnreachable,
    UnsendableFile,
    json_object,
    refuse_unless_ok,
)
from controller.client.follow import FINAL_STATES, Follower, LogRestart, LogText, Run, live_chunks
from controller.client.multipart import MultipartBody, Part
from controller.client.tables import ARROW, KINDS, PACKINGS, StoredTable, kind_of

CONNECT_SECONDS = 10.0
READ_SECONDS = 60.0
LOG_SILENCE_SECONDS = 60.0  # while a script is silent, the server sends a keep-alive every 10 s
WAIT_SECONDS = 20.0  # one look at a run that has not ended: the server answers when it ends, or after this
PAUSE_SECONDS = 0.1  # between two looks, lest a server that does not hold its answer back be flooded


class _Bearer(AuthBase):
    """The key as an auth object: requests would let a ~/.netrc entry replace a plain header."""

    def __init__(self, key: str) -> None:
        self._key = key

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._key}"
        return request


class Client:
    """One server, one key. Not for several threads at once. Use it in `with`, or close() it."""

    def __init__(self, url: str, key: str | None) -> None:
        host = _host(url)
        if key is not None and not (key.isascii() and key.isprintable() and " " not in key):
            raise ClientError("the key holds characters that no key has; was it copied whole?")
        self.url = url.rstrip("/")
        self._session = requests.Session()
        self._session.auth = _Bearer(key) if key else None
        if host in ("localhost", "127.0.0.1", "::1"):
            self._session.trust_env = False  # a proxy cannot reach our loopback

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def submit(
        self,
        script: Path | str,
        *,
        dataframe1: Path | StoredTable | None = None,
        dataframe2: Path | StoredTable | None = None,
        bundle: Path | None = None,
        options: Mapping[str, Any] | None = None,
        wait_seconds: float = 0,
    ) -> Run:
        """Hand in a run, streaming its files from disk; the run as accepted, or ended within `wait_seconds`.

        `script` is a file, or as a str the name of a stored one, like name@3. A table's format and packing are told by
        its file's name (tables.py). Raises ClientError.
        """
        parts = [script_part(script)]
        for name, table in (("dataframe1", dataframe1), ("dataframe2", dataframe2)):
            if isinstance(table, StoredTable):
                parts.append(Part(name, json.dumps(table.reference).encode(), "application/json"))
            elif table is not None:
                parts.append(Part(name, table, table_type(table), table.name))
        if bundle is not None:
            parts.append(Part("bundle", bundle, "application/zip", bundle.name))
        if options:
            parts.append(Part("options", json.dumps(dict(options)).encode(), "application/json"))
        body = MultipartBody(parts)
        return self._json(
            "POST",
            "/v1/runs",
            data=body,
            headers={"Content-Type": body.content_type},
            **waiting(wait_seconds),
        )

    def run(self, script: Path | str, **inputs: Any) -> Run:
        """submit() and wait for the end: the finished run."""
        run = self.submit(script, **inputs)
        return run if run["status"] in FINAL_STATES else self.wait(run["id"])

    def get(self, run_id: str, wait_seconds: float = 0) -> Run:
        """The run as it is now, or as soon as it has ended within `wait_seconds`."""
        return self._json("GET", f"/v1/runs/{quote(run_id, safe='')}", **waiting(wait_seconds))

    def wait(self, run_id: str) -> Run:
        """The run once it has ended; the server's limits see to it that it does."""
        while True:
            run = self.get(run_id, WAIT_SECONDS)
            if run["status"] in FINAL_STATES:
                return run
            time.sleep(PAUSE_SECONDS)

    def follow_log(self, run_id: str) -> Iterator[LogText | LogRestart | Run]:
        """The log while it is written, from its start; the last item is the finished run itself.

        A connection that breaks is made again, for as long as a server may take to restart, and nothing comes twice.
        Raises ServerUnreachable when that does not work: wait() may work then.
        """

        @contextlib.contextmanager
        def connect(last_id: str | None) -> Iterator[Iterator[bytes]]:
            with self._open(
                "GET",
                f"/v1/runs/{quote(run_id, safe='')}/log",
                params={"follow": 1},
                headers={"Accept": "text/event-stream"} | ({"Last-Event-ID": last_id} if last_id else {}),
                timeout=(CONNECT_SECONDS, LOG_SILENCE_SECONDS),
            ) as answer:
                yield live_chunks(answer)

        return Follower(connect).items()

    def log(self, run_id: str) -> str:
        """The log as it is kept."""
        with self._open("GET", f"/v1/runs/{quote(run_id, safe='')}/log") as answer:
            return b"".join(_chunks(answer)).decode("utf-8", "replace")

    def output(self, run_id: str, file: Path, accept: str = ARROW, port: int = 1) -> int:
        """Save the table of an output port in the wanted format; bytes written. The file appears when complete."""
        with self._open_output(run_id, accept, port) as answer:
            return receive(_chunks(answer), file)

    @contextlib.contextmanager
    def output_stream(self, run_id: str, accept: str = ARROW, port: int = 1) -> Iterator[BinaryIO]:
        """The same table as a readable binary stream, for those who need only its beginning."""
        with self._open_output(run_id, accept, port) as answer:
            answer.raw.auto_close = False  # it would close itself at its end, under the reader's hands
            with io.BufferedReader(answer.raw) as stream:
                yield stream

    def images(self, run_id: str) -> list[dict[str, Any]]:
        """The run's images: name and bytes of each."""
        return list(self._json("GET", f"/v1/runs/{quote(run_id, safe='')}/images")["items"])

    def image(self, run_id: str, name: str, file: Path) -> int:
        """Save one image; bytes written. `name` is the server's word: never make a path of it unseen."""
        path = f"/v1/runs/{quote(run_id, safe='')}/images/{quote(name, safe='')}"
        with self._open("GET", path, headers={"Accept": "image/*"}) as answer:
            return receive(_chunks(answer), file)

    def receipt(self, run_id: str) -> bytes:
        """The signed receipt of a run that has ended: to be kept byte for byte (signing.verified reads it)."""
        with self._open("GET", f"/v1/runs/{quote(run_id, safe='')}/receipt") as answer:
            return b"".join(_chunks(answer))

    def runs(self, **filters: Any) -> Iterator[Run]:
        """The runs of the key's tenant, newest first, page after page; filters as of GET /v1/runs."""
        return self._pages("/v1/runs", filters)

    def rerun(self, run_id: str, wait_seconds: float = 0) -> Run:
        """The same run again, as a new one."""
        return self._json("POST", f"/v1/runs/{quote(run_id, safe='')}/rerun", **waiting(wait_seconds))

    def compare(self, left: str, right: str) -> dict[str, Any]:
        """Whether two runs gave the same: `same`, and per table a verdict and the first difference."""
        return self._json("GET", f"/v1/runs/{quote(left, safe='')}/comparison", params={"with": right})

    def cancel(self, run_id: str) -> Run:
        """Stop the run if it has not ended yet; the run as it is then."""
        return self._json("POST", f"/v1/runs/{quote(run_id, safe='')}/cancel")

    def delete(self, run_id: str) -> None:
        """Make the server forget everything of the run."""
        with self._open("DELETE", f"/v1/runs/{quote(run_id, safe='')}"):
            pass

    def environments(self, timeout_seconds: float = READ_SECONDS) -> list[dict[str, Any]]:
        """The environments that the server offers: name, image and packages of each."""
        timeout = (min(CONNECT_SECONDS, timeout_seconds), timeout_seconds)
        return list(self._json("GET", "/v1/environments", timeout=timeout)["items"])

    def _pages(self, path: str, params: dict[str, Any]) -> Iterator[dict[str, Any]]:
        cursor: dict[str, Any] = {}
        while True:
            page = self._json("GET", path, params={"limit": 100} | params | cursor)
            yield from page["items"]
            if not page["next_cursor"]:
                return
            cursor = {"cursor": page["next_cursor"]}

    def _open_output(
        self, run_id: str, accept: str, port: int
    ) -> contextlib.AbstractContextManager[requests.Response]:
        headers = {"Accept": accept, "Accept-Encoding": "identity"}
        name = "output" if port == 1 else f"output{port}"
        return self._open("GET", f"/v1/runs/{quote(run_id, safe='')}/{name}", headers=headers)

    def _json(self, method: str, path: str, **request: Any) -> Run:
        with self._open(method, path, **request) as answer:
            return json_object(b"".join(_chunks(answer)))

    @contextlib.contextmanager
    def _open(self, method: str, path: str, **request: Any) -> Iterator[requests.Response]:
        """One request; its answer, body unread, if the server accepted it. Every failure gets its name."""
        request.setdefault("timeout", (CONNECT_SECONDS, READ_SECONDS))
        try:
            with self._session.request(
                method, self.url + path, stream=True, allow_redirects=False, **request
            ) as answer:
                refuse_unless_ok(answer)
                yield answer
        except requests.exceptions.InvalidURL as error:
            raise ClientError(f"{self.url} is no address of a server: {error}") from error
        except requests.exceptions.Timeout as error:
            raise ServerUnreachable(f"{self.url} did not answer in time") from error
        except (requests.exceptions.RequestException, urllib3.exceptions.HTTPError) as error:
            raise ServerUnreachable(f"{self.url} cannot be reached, or cut us off: {_root(error)}") from error


def script_part(script: Path | str) -> Part:
    """A script's file, or the reference to a stored one."""
    if isinstance(script, Path):
        return Part("script", script, "text/x-python; charset=utf-8", script.name)
    return Part("script_ref", script.encode(), "text/plain")


def waiting(seconds: float) -> dict[str, Any]:
    """For an answer that the server may hold back for so long."""
    params = {"wait": seconds} if seconds else None
    return {"params": params, "timeout": (CONNECT_SECONDS, READ_SECONDS + seconds)}


def _host(url: str) -> str:
    try:
        parts = urlsplit(url)
        if parts.scheme in ("http", "https") and parts.hostname and parts.port != 0:
            return parts.hostname
    except ValueError:  # an unfinished IPv6 address, a port that is no number
        pass
    raise ClientError(f"the server's address must look like http://host:port, not {url!r}")


def table_type(table: Path) -> str:
    """The media type that a table's name stands for. Raises UnsendableFile for an unknown one."""
    kind = kind_of(table)
    if kind is None:
        known = f"{' '.join(KINDS)}, packed or not ({' '.join(PACKINGS)})"
        raise UnsendableFile(f"{table}: a table's format is told by its suffix, one of {known}")
    return kind.media_type


def _chunks(answer: requests.Response, size: int = 256 * 1024) -> Iterator[bytes]:
    chunks: Iterator[bytes] = answer.iter_content(size)
    return chunks


def _root(error: BaseException) -> str:
    """The innermost reason: requests wraps 'Connection refused' three times."""
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
