"""The Flask application: blueprints, error answers, and what every answer carries."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import structlog
from flask import Response, g, request
from flask_openapi import Info, OpenAPI

from controller.errors import InvalidRequest
from controller.services.backend import Backend
from controller.web import (
    admin,
    admin_server,
    azureml,
    batches,
    body,
    datasets,
    edge,
    endpoints,
    environments,
    errors,
    keys,
    measuring,
    receipts,
    runs,
    scripts,
    service,
    small_body,
    trail,
)
from controller.web.admin_documents import MaintenanceBody, TenantBody, TenantChange
from controller.web.documents import Problem
from controller.web.headers import REQUEST_ID, SECURITY, new_request_id
from controller.web.key_documents import ApiKeyBody, RotateBody
from controller.web.refusals import OF_EVERY_REQUEST, problems

_KEY_FORM = "alk_<id>_<secret>_<checksum>"
_SECURITY: dict[str, Any] = {"api_key": {"type": "http", "scheme": "bearer", "bearerFormat": _KEY_FORM}}
_BODIES = (ApiKeyBody, RotateBody, TenantBody, TenantChange, MaintenanceBody)


class _App(OpenAPI):
    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """Everything here is: Flask asks it of a dozen functions for each request, and has to look at them."""
        return func


def create_web(backend: Backend, pepper: bytes) -> OpenAPI:
    """The application over a backend; `pepper` keys the API keys' hashes."""
    app = _App(
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
        g.request_id = new_request_id()
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=g.request_id)

    measuring.install(app, backend.metrics, backend.tracing)  # what is refused below is counted too

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
        if response.status_code in (401, 403):
            trail.note_refusal(backend)
        if "rate" in g and response.status_code != 429:
            rate, left = g.rate
            response.headers["RateLimit-Limit"] = f"{rate:.15g}"
            response.headers["RateLimit-Remaining"] = str(left)
            response.headers["RateLimit-Reset"] = "1"
        response.headers[REQUEST_ID] = g.get("request_id", "")
        for name, value in SECURITY.items():
            if name not in response.headers:
                response.headers.add(name, value)
        return response

    app.before_request(admin_server.only_at(backend.settings, admin.PREFIX))
    edge.install(app, backend.settings)
    errors.install(app)
    app.register_api(runs.blueprint(backend, pepper))
    app.register_api(datasets.blueprint(backend, pepper))
    app.register_api(batches.blueprint(backend, pepper))
    app.register_api(scripts.blueprint(backend, pepper))
    app.register_api(endpoints.blueprint(backend, pepper))
    app.register_api(endpoints.calling(backend, pepper))
    app.register_blueprint(azureml.blueprint(backend, pepper))
    app.register_api(environments.blueprint(backend, pepper))
    app.register_api(keys.blueprint(backend, pepper))
    app.register_api(admin.blueprint(backend, pepper))
    app.register_api(receipts.blueprint(backend))
    app.register_api(service.blueprint(backend))
    _describe(app)
    return app


def _describe(app: OpenAPI) -> None:
    """Generate the OpenAPI document once, before there are threads to race for it."""
    app.components_schemas.update(small_body.schemas(*_BODIES))
    app.components_schemas.update(batches.component_schemas() | endpoints.component_schemas())
    app.components_schemas.update(runs.component_schemas() | scripts.component_schemas())
    for operations in app.api_doc["paths"].values():
        for operation in operations.values():
            answers = operation["responses"]
            if operation["operationId"].startswith("service_"):
                del answers["422"]  # added to every operation, but these take nothing to refuse
            operation["responses"] = dict(sorted((problems(*OF_EVERY_REQUEST) | answers).items()))


def _operation_id(*, bp_name: str, name: str, **_: str) -> str:
    return f"{bp_name}_{name}"


def _refuse(error: Exception) -> Response:
    """flask-openapi found a path or query that does not fit: hand it to our own handler."""
    raise error
