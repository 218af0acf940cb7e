"""Why a client did not get what it asked for; and telling it from an answer.

    ClientError
    ├── UnsendableFile          a file of ours cannot be uploaded
    ├── ServerUnreachable       no answer: refused, timed out, cut off
    ├── UnexpectedAnswer        an answer that is not this API's (another server, a proxy, a redirect)
    └── ServerRefused           the API's own answer to a request it did not accept: code, status, detail
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from typing import Any

import requests

PROBLEM_BYTES = 1024 * 1024


class ClientError(Exception):
    """Anything that keeps the client from its answer."""


class UnsendableFile(ClientError):
    """A file of ours cannot be sent: missing, unreadable, of no known format, or changed while it was sent."""


class ServerUnreachable(ClientError):
    """No answer, or only a part of one."""


class UnexpectedAnswer(ClientError):
    """An answer that this API does not give."""


class ServerRefused(ClientError):
    """The server's problem+json (RFC 9457): `code` names the problem, `errors` lists the faulty places."""

    def __init__(self, status: int, problem: Mapping[str, Any], request_id: str | None = None) -> None:
        self.status = status
        self.problem = dict(problem)
        self.code = str(problem.get("code") or f"http_{status}")
        self.detail = str(problem.get("detail") or problem.get("title") or "the server gave no reason")
        self.errors = list(problem.get("errors") or ())
        self.request_id = request_id
        super().__init__(f"{self.code} ({status}): {self.detail}")


def refuse_unless_ok(answer: requests.Response) -> None:
    """Return if the server did what it was asked; else raise what it said instead, whatever form that has."""
    if 200 <= answer.status_code < 300:
        return
    if answer.is_redirect:
        raise UnexpectedAnswer(f"the server moved: use its new address, {answer.headers['Location']}")
    body = b""
    with contextlib.suppress(requests.exceptions.RequestException):  # an early answer may be cut off itself
        for chunk in answer.iter_content(64 * 1024):
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


def json_object(data: bytes | str) -> dict[str, Any]:
    """The JSON object in an answer. Raises UnexpectedAnswer when there is none."""
    try:
        value = json.loads(data)
    except ValueError as error:
        raise UnexpectedAnswer("the server's answer is not JSON: is this an Airlock server?") from error
    if not isinstance(value, dict):
        raise UnexpectedAnswer("the server's answer is not a JSON object: is this an Airlock server?")
    return value
