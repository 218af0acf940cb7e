"""Every error as RFC 9457 problem+json, by one table of statuses and one handler."""

from __future__ import annotations

import json
import math
from typing import Any

import structlog
from flask import Flask, Response, g, request
from pydantic import ValidationError
from werkzeug.exceptions import HTTPException

from controller import errors
from controller.errors import AirlockError, InvalidRequest
from controller.workspace import disk_error

_log = structlog.get_logger(__name__)
MEDIA_TYPE = "application/problem+json"

STATUS: dict[type[AirlockError], int] = {
    errors.InvalidRequest: 422,
    errors.Unauthorized: 401,
    errors.Forbidden: 403,
    errors.NotFound: 404,
    errors.Gone: 410,
    errors.Conflict: 409,
    errors.ConditionFailed: 412,
    errors.TooLarge: 413,
    errors.UnsupportedFormat: 415,
    errors.NotAcceptable: 406,
    errors.ConversionFailed: 422,
    errors.ScriptFailed: 422,
    errors.TooManyRuns: 429,
    errors.QuotaSpent: 429,
    errors.CallTimeout: 504,
    errors.StorageFull: 507,
    errors.Unavailable: 503,
}
HTTP_CODES = {
    400: "bad_request",
    404: "not_found",
    405: "method_not_allowed",
    408: "request_timeout",
    412: "precondition_failed",
    413: "too_large",
    414: "address_too_long",
    415: "unsupported_format",
    416: "range_not_satisfiable",
    431: "headers_too_large",
}
SHOWN_ERRORS = 100
RETRY_AFTER_SECONDS = {429: "5", 503: "5", 507: "60"}


def status_of(error: AirlockError) -> int:
    """The nearest entry of the table along the error's ancestry."""
    return next((STATUS[kind] for kind in type(error).__mro__ if kind in STATUS), 500)


def problem(status: int, code: str, title: str, detail: str, **more: Any) -> Response:
    """One problem document. Members of `more` that are None or empty are left out."""
    g.refused = code
    document = {
        "type": f"urn:airlock:error:{code}",
        "title": title,
        "status": status,
        "detail": detail,
        "instance": g.get("request_id"),
        "code": code,
        **{name: value for name, value in more.items() if value not in (None, [], "")},
    }
    response = Response(json.dumps(document), status, mimetype=MEDIA_TYPE)
    if status in RETRY_AFTER_SECONDS:
        response.headers["Retry-After"] = RETRY_AFTER_SECONDS[status]
    if status == 401:
        response.headers["WWW-Authenticate"] = 'Bearer realm="airlock"'
    return response


def _say_when(answer: Response, error: AirlockError) -> None:
    """When it makes sense to ask again; and of a quota, what is left of it."""
    if error.retry_seconds is not None:
        answer.headers["Retry-After"] = str(max(1, math.ceil(error.retry_seconds)))
    if answer.status_code == 429 and error.quota is not None and error.limit is not None:
        answer.headers["RateLimit-Limit"] = f"{error.limit:.15g}"
        answer.headers["RateLimit-Remaining"] = "0"
        answer.headers["RateLimit-Reset"] = answer.headers["Retry-After"]


def invalid(error: ValidationError, where: str = "") -> InvalidRequest:
    """Pydantic's findings in our words, the first hundred; what was sent is not repeated."""
    items = error.errors(include_url=False, include_input=False, include_context=False)
    found = [
        {"where": ".".join(filter(None, (where, *map(str, item["loc"])))) or "body", "message": item["msg"]}
        for item in items[:SHOWN_ERRORS]
    ]
    first = found[0]
    if len(items) > SHOWN_ERRORS:
        found.append({"where": where or "body", "message": f"{len(items) - SHOWN_ERRORS} more places are wrong"})
    return InvalidRequest(f"{first['where']}: {first['message']}", errors=found)


def _said(error: HTTPException) -> str:
    """What the framework found, in our words where its own do not help."""
    if error.code == 404:
        return "there is nothing at this path; GET /openapi.json lists what there is"
    if error.code == 405:
        allowed = ", ".join(sorted(getattr(error, "valid_methods", None) or ()))
        return f"{request.method} is not allowed here; allowed are {allowed}"
    return error.description or error.name


def install(app: Flask) -> None:
    @app.errorhandler(AirlockError)
    def _ours(error: AirlockError) -> Response:
        status = status_of(error)
        if status >= 500:
            _log.error("request_failed", code=error.code, error=error.detail)
        answer = problem(
            status,
            error.code,
            error.title,
            error.detail,
            quota=error.quota,
            limit=error.limit,
            value=error.value,
            used=error.used,
            errors=getattr(error, "errors", None),
            error=getattr(error, "error", None),
            run_id=g.get("run_id"),
        )
        _say_when(answer, error)
        return answer

    @app.errorhandler(ValidationError)
    def _shape(error: ValidationError) -> Response:
        return _ours(invalid(error))

    @app.errorhandler(HTTPException)
    def _http(error: HTTPException) -> Response:
        status = error.code or 500
        code = HTTP_CODES.get(status, "internal_error" if status >= 500 else "bad_request")
        response = problem(status, code, error.name, _said(error))
        for name, value in error.get_headers():
            if name.lower() not in ("content-type", "content-length"):
                response.headers[name] = value  # Allow on 405, Content-Range on 416
        return response

    @app.errorhandler(OSError)
    def _disk(error: OSError) -> Response:
        named = disk_error(error)
        return _ours(named) if named is not None else _unforeseen(error)

    @app.errorhandler(Exception)
    def _unforeseen(error: Exception) -> Response:
        _log.exception("unforeseen_error")
        return problem(500, "internal_error", "Airlock failed", "this is a fault of the server; its log says more")
