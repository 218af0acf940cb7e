"""/v1/admin/engine and /v1/admin/sweep: the server itself, and the engine under it; and at which address its operator
finds them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

from flask import request
from flask_openapi import APIBlueprint
from werkzeug.exceptions import NotFound

from controller.config import Settings
from controller.errors import EngineError
from controller.model import Status
from controller.services import administration, mode
from controller.services.backend import Backend
from controller.services.mode import Mode, ServerMode
from controller.web import auth, small_body
from controller.web.admin_documents import (
    EngineDocument,
    EngineStateDocument,
    MaintenanceBody,
    ModeDocument,
    SweepDocument,
)
from controller.web.documents import NoQuery
from controller.web.refusals import answers

_MODE: dict[str | int, Any] = {200: ModeDocument}


def only_at(settings: Settings, prefix: str) -> Callable[[], None]:
    """A before_request function: where the admin routes have an address of their own, the public one does not know
    them."""

    def check() -> None:
        if settings.admin_port is None or not (request.path == prefix or request.path.startswith(f"{prefix}/")):
            return
        connection = request.environ.get("gunicorn.socket")
        if connection is None or connection.getsockname()[1] != settings.admin_port:
            raise NotFound

    return check


def routes(bp: APIBlueprint, backend: Backend) -> None:
    @bp.get("/engine", summary="The server and its engine", responses={200: EngineDocument, **answers()})
    def engine(query: NoQuery) -> dict[str, Any]:
        """Versions, the walls in force, what stands ready, and whether new work is taken."""
        return _engine(backend)

    @bp.post("/engine/drain", summary="Come to rest", responses=_MODE | answers())
    def drain(query: NoQuery) -> dict[str, Any]:
        """Nothing new is accepted (503 `draining`), nothing that waits begins; what is at work comes to its end. When
        `running_runs` is 0, the server can be stopped without interrupting anything."""
        return _mode(mode.change(backend, auth.caller(), Mode(mode=ServerMode.DRAINING)))

    @bp.post(
        "/engine/maintenance",
        summary="Accept nothing new, for a reason",
        request_body=small_body.described(MaintenanceBody),
        responses=_MODE | answers(413, 415),
    )
    def maintenance(query: NoQuery) -> dict[str, Any]:
        """New submissions are answered 503 `maintenance` with the message; reading works, and what was accepted goes
        on."""
        wanted = small_body.receive(request, MaintenanceBody)
        asked = Mode(mode=ServerMode.MAINTENANCE, message=wanted.message, retry_seconds=wanted.retry_seconds)
        return _mode(mode.change(backend, auth.caller(), asked))

    @bp.post("/engine/resume", summary="Take new work again", responses=_MODE | answers())
    def resume(query: NoQuery) -> dict[str, Any]:
        """The end of draining, and of maintenance."""
        return _mode(mode.change(backend, auth.caller(), Mode()))

    @bp.post("/sweep", summary="Search for leftovers now", responses={200: SweepDocument, **answers()})
    def sweep(query: NoQuery) -> dict[str, Any]:
        """What the server does every AIRLOCK_SWEEP_SECONDS anyway."""
        return SweepDocument(removed=administration.sweep(backend, auth.caller())).model_dump()


def _mode(present: Mode) -> dict[str, Any]:
    return ModeDocument(**present.model_dump()).model_dump(mode="json")


def _engine(backend: Backend) -> dict[str, Any]:
    state, error = None, None
    try:
        state = EngineStateDocument(**asdict(backend.engine.check(backend.settings.image)))
    except EngineError as e:
        error = e.code
    counts = backend.store.counts()
    return EngineDocument(
        version=version("airlock"),
        mode=ModeDocument(**backend.mode.present.model_dump()),
        running_runs=counts.get(Status.RUNNING, 0),
        queued_runs=counts.get(Status.QUEUED, 0),
        image=backend.settings.image,
        engine=state,
        engine_error=error,
    ).model_dump(mode="json")
