"""Answers to what is no request yet: bytes that are no HTTP, heads over a limit. The same form as all other refusals,
made without Flask, which never sees them.
"""

from __future__ import annotations

import json
from http import HTTPStatus

from gunicorn.http.errors import LimitRequestHeaders, LimitRequestLine, ParseException

from controller.web.errors import HTTP_CODES, MEDIA_TYPE
from controller.web.headers import REQUEST_ID, SECURITY, new_request_id


def refusal(error: Exception) -> tuple[int, str]:
    """The status, and what is wrong in words that repeat nothing of what was sent."""
    if isinstance(error, LimitRequestLine):
        return 414, "the address is too long: a table or a script goes into the body"
    if isinstance(error, LimitRequestHeaders):
        return 431, "the request has too many headers, or one that is too long"
    if isinstance(error, ParseException):
        return 400, "this is no request of HTTP/1.1 that is understood here"
    return 500, "this is a fault of the server; its log says more"


def bare_answer(status: int, detail: str) -> tuple[str, bytes]:
    """The request's id, and a whole answer that ends the connection."""
    request_id, code = new_request_id(), HTTP_CODES.get(status, "internal_error")
    document = {
        "type": f"urn:airlock:error:{code}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "instance": request_id,
        "code": code,
    }
    body = json.dumps(document).encode()
    headers = SECURITY | {
        REQUEST_ID: request_id,
        "Content-Type": MEDIA_TYPE,
        "Content-Length": str(len(body)),
        "Connection": "close",
    }
    head = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return request_id, head.encode() + b"\r\n" + body
