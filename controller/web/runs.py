"""/v1/runs: each view parses, calls one service function, and shapes the answer."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import Any

from flask import request
from flask_openapi import APIBlueprint, Schema, Tag

from controller.errors import InvalidRequest
from controller.services import runs
from controller.services.backend import Backend
from controller.web import auth, body, log, receipts, results
from controller.web.documents import (
    ListQuery,
    NoQuery,
    RunDocument,
    RunList,
    RunPath,
    SubmitBody,
    WaitQuery,
    run_document,
)
from controller.web.refusals import answers
from controller.web.submission import receive

_SCHEMAS = "#/components/schemas"
_BINARY = {"type": "string", "format": "binary"}
_SUBMIT = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["script"],
                "additionalProperties": False,
                "properties": {
                    "script": {"type": "string", "description": "Python source that defines azureml_main"},
                    "dataframe1": {**_BINARY, "description": "a table; its format by Content-Type, else by name"},
                    "dataframe2": {**_BINARY, "description": "a table"},
                    "bundle": {**_BINARY, "description": "a zip of modules"},
                    "options": {"type": "string", "description": "JSON, as `options` of the JSON body"},
                },
            }
        },
        "application/json": {"schema": {"$ref": f"{_SCHEMAS}/{SubmitBody.__name__}"}},
    },
}


def component_schemas() -> dict[str, Schema]:
    """The schemas that only the submitted body speaks of."""
    schema = SubmitBody.model_json_schema(ref_template=_SCHEMAS + "/{model}")
    definitions = schema.pop("$defs")
    return {name: Schema(**value) for name, value in {SubmitBody.__name__: schema, **definitions}.items()}


def blueprint(backend: Backend, pepper: bytes) -> APIBlueprint:
    """The routes, each needing a key with the scope `run`."""
    bp = APIBlueprint("runs", __name__, url_prefix="/v1/runs", abp_tags=[Tag(name="runs")], abp_security=auth.SECURITY)
    bp.before_request(auth.requires(backend.store, pepper, "run"))
    _submitting(bp, backend)
    _asking(bp, backend)
    log.routes(bp, backend)
    results.routes(bp, backend)
    receipts.routes(bp, backend)
    return bp


def _submitting(bp: APIBlueprint, backend: Backend) -> None:
    @bp.post(
        "",
        summary="Submit a run",
        request_body=_SUBMIT,
        responses={200: RunDocument, 202: RunDocument, **answers(413, 415, 429, 507)},
    )
    def submit(query: WaitQuery) -> tuple[dict[str, Any], int, dict[str, str]]:
        """202 with the accepted run, or 200 when it ended within `wait` seconds."""
        caller = auth.caller()
        with backend.workspaces.stage() as staging:
            submission = receive(request, staging, backend.settings)
            run = runs.submit(backend, caller, staging, submission)
        if query.wait:
            seconds = min(query.wait, backend.settings.max_wait_seconds)
            run = runs.wait(backend, caller, run.id, seconds, body.departure(request.environ))
        return run_document(run), 200 if run.status.final else 202, {"Location": f"/v1/runs/{run.id}"}

    @bp.post("/<run_id>/cancel", summary="Stop a run", responses={202: RunDocument, **answers(404, 409)})
    def cancel(path: RunPath, query: NoQuery) -> tuple[dict[str, Any], int]:
        """A queued run is cancelled at once, a running one within a second: watch its status."""
        return run_document(runs.cancel(backend, auth.caller(), path.run_id)), 202

    @bp.delete("/<run_id>", summary="Forget a run", responses={204: None, **answers(404, 409)})
    def delete(path: RunPath, query: NoQuery) -> tuple[str, int]:
        """Its row, inputs, outputs and log are removed. It must have ended."""
        runs.delete(backend, auth.caller(), path.run_id)
        return "", 204


def _asking(bp: APIBlueprint, backend: Backend) -> None:
    @bp.get("", summary="List runs, newest first", responses={200: RunList, **answers()})
    def page(query: ListQuery) -> dict[str, Any]:
        before = _read_cursor(query.cursor) if query.cursor else None
        found = runs.page(backend, auth.caller(), query.limit, query.status, query.created_after, before)
        return {
            "items": [run_document(run) for run in found.runs],
            "next_cursor": _write_cursor(*found.before) if found.before else None,
        }

    @bp.get("/<run_id>", summary="One run", responses={200: RunDocument, **answers(404)})
    def one(path: RunPath, query: WaitQuery) -> dict[str, Any]:
        """The run as it is, or as it is when it ends within `wait` seconds."""
        seconds = min(query.wait, backend.settings.max_wait_seconds)
        return run_document(runs.wait(backend, auth.caller(), path.run_id, seconds, body.departure(request.environ)))


def _write_cursor(created_at: datetime, run_id: str) -> str:
    return base64.urlsafe_b64encode(f"{created_at.isoformat()} {run_id}".encode()).decode()


def _read_cursor(text: str) -> tuple[datetime, str]:
    """A cursor says where to go on in the caller's own list, so a forged one shows nothing more."""
    try:
        created_at, run_id = base64.urlsafe_b64decode(text.encode()).decode().split(" ")
        return datetime.fromisoformat(created_at).astimezone(UTC), run_id
    except (ValueError, OverflowError) as e:  # OverflowError: a year that UTC would move out of the calendar
        message = "this cursor is none of ours: use a list's next_cursor as it is"
        raise InvalidRequest(message, errors=[{"where": "cursor", "message": message}]) from e
