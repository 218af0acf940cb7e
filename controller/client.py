"""A client of the HTTP API (docs/cli.md shows the same from the command line).

    with Client("http://127.0.0.1:8750", key) as client:
        run = client.run(Path("script.py"), dataframe1=Path("table.csv"))
        client.output(run["id"], Path("result.parquet"), "application/vnd.apache.parquet")

A run is the JSON object that the server answers with, as a dict. What can go wrong:

    ClientError                 anything below
    ├── ServerUnreachable       no answer: refused, timed out, cut off
    ├── UnexpectedAnswer        an answer that is not this API's (another server, a proxy, a redirect)
    └── ServerRefused           the API's own answer to a request it did not accept: code, status, detail
    UnsendableFile              (multipart.py) a file of ours that cannot be uploaded
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import quote, urlsplit

import requests
import urllib3
from requests.auth import AuthBase

from controller.download import receive
from controller.multipart import MultipartBody, Part, UnsendableFile
from controller.sse import parse_events

Run = dict[str, Any]

CONNECT_SECONDS = 10.0
READ_SECONDS = 60.0
LOG_SILENCE_SECONDS = 120.0  # the server sends keep-alives far more often while a script is silent
PROBLEM_BYTES = 1024 * 1024
POLL_SECONDS = (0.1, 1.0)  # first and longest pause between two looks at a run

FINAL_STATES = frozenset({"succeeded", "failed", "cancelled"})
TABLE_TYPES: Mapping[str, str] = {
    ".csv": "text/csv",
    ".tsv": "text/tab-separated-values",
    ".json": "application/json",
    ".parquet": "application/vnd.apache.parquet",
    ".arrow": "application/vnd.apache.arrow.file",
    ".arrows": "application/vnd.apache.arrow.stream",
}


class ClientError(Exception):
    """Anything that keeps the client from its answer."""


class ServerUnreachable(ClientError):
    """No answer, or only a part of one."""


class UnexpectedAnswer(ClientError):
    """An answer that this API does not give."""


class ServerRefused(ClientError):
    """The server's problem+json (RFC 9457): `code` names the problem, `errors` lists the faulty fields."""

    def __init__(self, status: int, problem: Mapping[str, Any], request_id: str | None = None) -> None:
        self.status = status
        self.problem = dict(problem)
        self.code = str(problem.get("code") or f"http_{status}")
        self.detail = str(problem.get("detail") or problem.get("title") or "the server gave no reason")
        self.errors = list(problem.get("errors") or ())
        self.request_id = request_id
        super().__init__(f"{self.code} ({status}): {self.detail}")


@dataclass(frozen=True)
class LogText:
    """A piece of a run's log, as its script wrote it."""

    stream: Literal["stdout", "stderr"]
    text: str


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
        script: Path,
        *,
        dataframe1: Path | None = None,
        dataframe2: Path | None = None,
        bundle: Path | None = None,
        options: Mapping[str, Any] | None = None,
        wait_seconds: float = 0,
    ) -> Run:
        """Hand in a run, streaming its files from disk; the run as accepted, or ended within `wait_seconds`.

        A table's format is told by its file's suffix (TABLE_TYPES). Raises ClientError, UnsendableFile.
        """
        parts = [Part("script", script, "text/x-python; charset=utf-8", script.name)]
        for name, table in (("dataframe1", dataframe1), ("dataframe2", dataframe2)):
            if table is not None:
                parts.append(Part(name, table, table_type(table), table.name))
        if bundle is not None:
            parts.append(Part("bundle", bundle, "application/zip", bundle.name))
        if options:
            parts.append(Part("options", json.dumps(dict(options)).encode(), "application/json"))
        body = MultipartBody(parts)
        return self._json(
            "POST",
            "/v1/runs",
            params={"wait": wait_seconds} if wait_seconds else None,
            data=body,
            headers={"Content-Type": body.content_type},
            timeout=(CONNECT_SECONDS, READ_SECONDS + wait_seconds),
        )

    def run(self, script: Path, **inputs: Any) -> Run:
        """submit() and wait for the end: the finished run."""
        run = self.submit(script, **inputs)
        return run if run["status"] in FINAL_STATES else self.wait(run["id"])

    def get(self, run_id: str) -> Run:
        """The run as it is now."""
        return self._json("GET", f"/v1/runs/{quote(run_id, safe='')}")

    def wait(self, run_id: str) -> Run:
        """The run once it has ended; the server's limits see to it that it does."""
        pause, longest = POLL_SECONDS
        while (run := self.get(run_id))["status"] not in FINAL_STATES:
            time.sleep(pause)
            pause = min(longest, pause * 1.5)
        return run

    def follow_log(self, run_id: str) -> Iterator[LogText | Run]:
        """The log while it is written, from its start; the last item is the finished run itself.

        Raises ServerUnreachable when the stream is cut before the run ended: wait() still works then.
        """
        with self._open(
            "GET",
            f"/v1/runs/{quote(run_id, safe='')}/log",
            params={"follow": 1},
            headers={"Accept": "text/event-stream"},
            timeout=(CONNECT_SECONDS, LOG_SILENCE_SECONDS),
        ) as answer:
            for event in parse_events(_live_chunks(answer)):
                if event.name in ("stdout", "stderr"):
                    stream: Literal["stdout", "stderr"] = "stdout" if event.name == "stdout" else "stderr"
                    yield LogText(stream, str(_object(event.data)["text"]))
                elif event.name == "status" and (run := _object(event.data)).get("status") in FINAL_STATES:
                    yield run
                    return
        raise ServerUnreachable(f"the log of {run_id} was cut off before the run ended")

    def log(self, run_id: str) -> str:
        """The log as it is kept."""
        with self._open("GET", f"/v1/runs/{quote(run_id, safe='')}/log") as answer:
            return b"".join(_chunks(answer)).decode("utf-8", "replace")

    def output(self, run_id: str, file: Path, accept: str = TABLE_TYPES[".arrow"]) -> int:
        """Save the result table in the wanted format; bytes written. The file appears only when complete."""
        with self._open_output(run_id, accept) as answer:
            return receive(_chunks(answer), file)

    @contextlib.contextmanager
    def output_stream(self, run_id: str, accept: str = TABLE_TYPES[".arrow"]) -> Iterator[Any]:
        """The result table as a readable binary stream, for those who need only its beginning."""
        with self._open_output(run_id, accept) as answer:
            yield answer.raw

    def images(self, run_id: str) -> list[dict[str, Any]]:
        """The run's images: name and bytes of each."""
        return list(self._json("GET", f"/v1/runs/{quote(run_id, safe='')}/images")["items"])

    def image(self, run_id: str, name: str, file: Path) -> int:
        """Save one image; bytes written. `name` is the server's word: never make a path of it unseen."""
        path = f"/v1/runs/{quote(run_id, safe='')}/images/{quote(name, safe='')}"
        with self._open("GET", path, headers={"Accept": "image/png"}) as answer:
            return receive(_chunks(answer), file)

    def cancel(self, run_id: str) -> Run:
        """Stop the run if it has not ended yet; the run as it is then."""
        return self._json("POST", f"/v1/runs/{quote(run_id, safe='')}/cancel")

    def delete(self, run_id: str) -> None:
        """Make the server forget everything of the run."""
        with self._open("DELETE", f"/v1/runs/{quote(run_id, safe='')}"):
            pass

    def _open_output(self, run_id: str, accept: str) -> contextlib.AbstractContextManager[requests.Response]:
        headers = {"Accept": accept, "Accept-Encoding": "identity"}
        return self._open("GET", f"/v1/runs/{quote(run_id, safe='')}/output", headers=headers)

    def _json(self, method: str, path: str, **request: Any) -> Run:
        with self._open(method, path, **request) as answer:
            return _object(b"".join(_chunks(answer)))

    @contextlib.contextmanager
    def _open(self, method: str, path: str, **request: Any) -> Iterator[requests.Response]:
        """One request; its answer, body unread, if the server accepted it. Every failure gets its name."""
        request.setdefault("timeout", (CONNECT_SECONDS, READ_SECONDS))
        try:
            with self._session.request(
                method, self.url + path, stream=True, allow_redirects=False, **request
            ) as answer:
                _refuse_unless_ok(answer)
                yield answer
        except requests.exceptions.InvalidURL as error:
            raise ClientError(f"{self.url} is no address of a server: {error}") from error
        except requests.exceptions.Timeout as error:
            raise ServerUnreachable(f"{self.url} did not answer in time") from error
        except (requests.exceptions.RequestException, urllib3.exceptions.HTTPError) as error:
            raise ServerUnreachable(f"{self.url} cannot be reached, or cut us off: {_root(error)}") from error


def _host(url: str) -> str:
    try:
        parts = urlsplit(url)
        if parts.scheme in ("http", "https") and parts.hostname and parts.port != 0:
            return parts.hostname
    except ValueError:  # an unfinished IPv6 address, a port that is no number
        pass
    raise ClientError(f"the server's address must look like http://host:port, not {url!r}")


def table_type(table: Path) -> str:
    """The media type that a table's suffix stands for. Raises UnsendableFile for an unknown one."""
    try:
        return TABLE_TYPES[table.suffix.lower()]
    except KeyError:
        known = " ".join(TABLE_TYPES)
        raise UnsendableFile(f"{table}: a table's format is told by its suffix, one of {known}") from None


def _chunks(answer: requests.Response, size: int = 256 * 1024) -> Iterator[bytes]:
    chunks: Iterator[bytes] = answer.iter_content(size)
    return chunks


def _live_chunks(answer: requests.Response) -> Iterator[bytes]:
    """The body as it arrives. Only chunked bodies tell where a piece ends; others are read byte by byte."""
    chunked = answer.headers.get("Transfer-Encoding", "").lower() == "chunked"
    return _chunks(answer) if chunked else _chunks(answer, 1)


def _refuse_unless_ok(answer: requests.Response) -> None:
    if 200 <= answer.status_code < 300:
        return
    if answer.is_redirect:
        raise UnexpectedAnswer(f"the server moved: use its new address, {answer.headers['Location']}")
    body = b""
    with contextlib.suppress(requests.exceptions.RequestException):  # an early answer may be cut off itself
        for chunk in _chunks(answer):
            body += chunk
            if len(body) > PROBLEM_BYTES:
                break
    problem: Any = None
    if "json" in answer.headers.get("Content-Type", ""):
        with contextlib.suppress(ValueError):
            problem = json.loads(body)
    if not isinstance(problem, dict):
        problem = {"title": answer.reason or "no reason given"}
    raise ServerRefused(answer.status_code, problem, answer.headers.get("X-Request-Id"))


def _object(data: bytes | str) -> Run:
    try:
        value = json.loads(data)
    except ValueError as error:
        raise UnexpectedAnswer("the server's answer is not JSON: is this an Airlock server?") from error
    if not isinstance(value, dict):
        raise UnexpectedAnswer("the server's answer is not a JSON object: is this an Airlock server?")
    return value


def _root(error: BaseException) -> str:
    """The innermost reason: requests wraps 'Connection refused' three times."""
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
