"""The Flask application: blueprints, error answers, and what every answer carries."""

from __future__ import annotations

import secrets
from importlib.metadata import version
from typing import Any

import structlog
from flask import Response, g, request
from flask_openapi import Info, OpenAPI

from controller.errors import InvalidRequest
from controller.services.backend import Backend
from controller.web import batches, body, datasets, environments, errors, receipts, runs, service
from controller.web.documents import Problem

_KEY_FORM = "alk_<id>_<secret>_<checksum>"
_SECURITY: dict[str, Any] = {"api_key": {"type": "http", "scheme": "bearer", "bearerFormat": _KEY_FORM}}
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; sandbox",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def create_web(backend: Backend, pepper: bytes) -> OpenAPI:
    """The application over a backend; `pepper` keys the API keys' hashes."""
    app = OpenAPI(
        "controller.web",
        info=Info(title="Airlock", version=version("airlock")),
        security_schemes=_SECURITY,
        doc_ui=False,
        validation_error_model=Problem,
        validation_error_callback=_refuse,
        operation_id_callback=_operation_id,
    )
    app.url_map.merge_slashes = False  # one address for one thing, and no redirects
    app.json.sort_keys = False  # type: ignore[attr-defined]

    @app.before_request
    def _identify() -> None:
        g.request_id = f"req_{secrets.token_hex(16)}"
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=g.request_id)

    @app.before_request
    def _single() -> None:
        for name, values in request.args.lists():
            if len(values) > 1:
                message = f"was given {len(values)} times"
                raise InvalidRequest(f"{name[:100]}: {message}", errors=[{"where": name[:100], "message": message}])

    @app.after_request
    def _complete(response: Response) -> Response:
        if response.status_code >= 400 and body.expected(request.environ):
            environ = request.environ
            seconds = body.DISCARD_SECONDS if "caller" in g else body.STRANGER_SECONDS
            response.call_on_close(lambda: body.discard(environ, seconds))
        response.headers["X-Request-Id"] = g.get("request_id", "")
        for name, value in _HEADERS.items():
            response.headers.setdefault(name, value)
        response.headers.setdefault("Cache-Control", "private, no-cache")
        return response

    errors.install(app)
    app.register_api(runs.blueprint(backend, pepper))
    app.register_api(datasets.blueprint(backend, pepper))
    app.register_api(batches.blueprint(backend, pepper))
    app.register_api(environments.blueprint(backend, pepper))
    app.register_api(receipts.blueprint(backend))
    app.register_api(service.blueprint(backend))
    _describe(app)
    return app


def _describe(app: OpenAPI) -> None:
    """Generate the OpenAPI document once, before there are threads to race for it."""
    app.components_schemas.update(runs.component_schemas() | batches.component_schemas())
    for operations in app.api_doc["paths"].values():
        for operation in operations.values():
            if operation["operationId"].startswith("service_"):
                del operation["responses"]["422"]  # added to every operation, but these take nothing to refuse


def _operation_id(*, bp_name: str, name: str, **_: str) -> str:
    return f"{bp_name}_{name}"


def _refuse(error: Exception) -> Response:
    """flask-openapi found a path or query that does not fit: hand it to our own handler."""
    raise error
