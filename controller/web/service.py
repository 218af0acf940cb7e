"""What needs no API key: is the server alive, is it ready, and what is its API."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from importlib.resources import files
from typing import Any

import flask_openapi_swagger
from flask import Response, current_app, jsonify, send_from_directory
from flask_openapi import APIBlueprint, Tag
from pydantic import BaseModel

from controller.errors import AirlockError
from controller.services.backend import Backend
from controller.web import prometheus

_ASSETS = str(files(flask_openapi_swagger).joinpath("templates", "swagger"))
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Airlock API</title>
<link rel="stylesheet" href="docs/css/swagger-ui.css"></head>
<body><div id="api"></div>
<script src="docs/js/swagger-ui-bundle.js"></script><script src="docs/start.js"></script></body></html>
"""
_START = 'SwaggerUIBundle({url: "openapi.json", dom_id: "#api", validatorUrl: null});\n'
_DOCS_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)

READY_SECONDS = 1.0


class Alive(BaseModel):
    status: str


class Ready(BaseModel):
    ready: bool
    checks: dict[str, str]


class AssetPath(BaseModel):
    name: str


def blueprint(backend: Backend) -> APIBlueprint:
    bp = APIBlueprint("service", __name__, abp_tags=[Tag(name="service")])
    checked = _Recent(lambda: {"store": _store_check(backend), **_engine_checks(backend)})

    @bp.get("/healthz", summary="Is the server alive?", responses={200: Alive})
    def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @bp.get("/readyz", summary="Can it execute runs?", responses={200: Ready, 503: Ready})
    def readyz() -> tuple[dict[str, Any], int]:
        """Asks the engine, the store and for the image; each is `ok` or an error's code (docs/errors.md)."""
        checks = checked()
        ready = all(found == "ok" for found in checks.values())
        return {"ready": ready, "checks": checks}, 200 if ready else 503

    prometheus.routes(bp, backend)

    @bp.get("/openapi.json", doc_ui=False)
    def openapi() -> Response:
        return jsonify(current_app.api_doc)  # type: ignore[attr-defined]

    @bp.get("/docs", doc_ui=False)
    def docs() -> Response:
        return Response(_PAGE, mimetype="text/html", headers={"Content-Security-Policy": _DOCS_POLICY})

    @bp.get("/docs/start.js", doc_ui=False)
    def docs_start() -> Response:
        return Response(_START, mimetype="text/javascript")

    @bp.get("/docs/<path:name>", doc_ui=False)
    def docs_asset(path: AssetPath) -> Response:
        return send_from_directory(_ASSETS, path.name)

    return bp


class _Recent:
    """An answer that is asked for by everybody and changes slowly: made again after a second, by one thread."""

    def __init__(self, make: Callable[[], dict[str, str]]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._made = float("-inf")
        self._answer: dict[str, str] = {}

    def __call__(self) -> dict[str, str]:
        with self._lock:
            if time.monotonic() - self._made > READY_SECONDS:
                self._answer = self._make()
                self._made = time.monotonic()
            return self._answer


def _store_check(backend: Backend) -> str:
    try:
        backend.store.check()
    except AirlockError as e:
        return e.code
    return "ok"


def _engine_checks(backend: Backend) -> dict[str, str]:
    try:
        info = backend.engine.check(backend.settings.image)
    except AirlockError as e:
        return {"engine": e.code, "image": "unknown"}
    return {"engine": "ok", "image": "ok" if info.image_digest else "image_missing"}
