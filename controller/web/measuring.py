"""Every answer, counted, timed and traced by the template of its address; and a line of the log for each."""

from __future__ import annotations

import time
from contextlib import ExitStack

import structlog
from flask import Flask, Response, g, request

from controller.metrics import Metrics, counted_method
from controller.tracing import Tracing

_log = structlog.get_logger(__name__)
_ASKED_ALL_DAY = frozenset(("/healthz", "/readyz", "/metrics"))
"""By machines, every few seconds: they are counted, but a line for each would drown the others."""


def install(app: Flask, metrics: Metrics, tracing: Tracing) -> None:
    @app.before_request
    def _begin() -> None:
        g.began = time.monotonic()
        g.span = ExitStack()
        g.traced = g.span.enter_context(tracing.request())

    @app.after_request
    def _count(response: Response) -> Response:
        seconds = time.monotonic() - g.began
        route = request.url_rule.rule if request.url_rule is not None else None
        metrics.request(request.method, route, response.status_code, seconds)
        g.traced.answered(counted_method(request.method), route, response.status_code, g.request_id)
        if route not in _ASKED_ALL_DAY:
            caller = g.get("caller")
            _log.info(
                "request_answered",
                method=request.method if route else None,
                route=route,
                status=response.status_code,
                seconds=round(seconds, 4),
                tenant_id=caller.tenant_id if caller else None,
            )
        return response

    @app.teardown_request
    def _end(_error: BaseException | None) -> None:
        if "span" in g:
            g.span.close()
