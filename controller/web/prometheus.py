"""GET /metrics, where the operator's setting allows it: what is counted tells strangers how much is going on here."""

from __future__ import annotations

import hmac

from flask import Response, request
from flask_openapi import APIBlueprint
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest

from controller.errors import Unauthorized
from controller.services.backend import Backend


def routes(bp: APIBlueprint, backend: Backend) -> None:
    """Add it to the blueprint of what needs no API key; where no token is set there is no such path."""
    setting = backend.settings.metrics_token
    if setting is None:
        return
    token = setting.get_secret_value().encode()

    @bp.get("/metrics", doc_ui=False)
    def metrics() -> Response:
        if not hmac.compare_digest(_presented(), token):
            raise Unauthorized("send the server's metrics token in the header `Authorization: Bearer ...`")
        text = generate_latest(backend.metrics.registry)
        return Response(text, content_type=CONTENT_TYPE_PLAIN_0_0_4, headers={"Cache-Control": "no-store"})


def _presented() -> bytes:
    kind, _, presented = request.headers.get("Authorization", "").partition(" ")
    return presented.strip().encode() if kind.lower() == "bearer" else b""
