"""The Flask application: blueprints, error answers, and what every answer carries."""

from __future__ import annotations

import secrets
from importlib.metadata import version
from typing import Any

import structlog
from flask import Response, g
from flask_openapi import Info, OpenAPI

from controller.services.backend import Backend
from controller.web import errors, runs, service
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
    )
    app.config["MAX_CONTENT_LENGTH"] = backend.settings.max_json_bytes  # views that take more say so themselves
    app.json.sort_keys = False  # type: ignore[attr-defined]

    @app.before_request
    def _identify() -> None:
        g.request_id = f"req_{secrets.token_hex(16)}"
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=g.request_id)

    @app.after_request
    def _complete(response: Response) -> Response:
        response.headers["X-Request-Id"] = g.get("request_id", "")
        for name, value in _HEADERS.items():
            response.headers.setdefault(name, value)
        response.headers.setdefault("Cache-Control", "private, no-cache")
        return response

    errors.install(app)
    app.register_api(runs.blueprint(backend, pepper))
    app.register_api(service.blueprint(backend))
    return app


def _refuse(error: Exception) -> Response:
    """flask-openapi found a path or query that does not fit: hand it to our own handler."""
    raise error
