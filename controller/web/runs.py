"""/v1/runs: each view parses, calls one service function, and shapes the answer."""

from __future__ import annotations

from typing import Any

from flask import request
from flask_openapi import APIBlueprint, Schema, Tag

from controller.model import Run
from controller.services import runs
from controller.services.backend import Backend
from controller.services.submission import rerun
from controller.services.submission import submit as submit_run
from controller.store.base import RunFilter
from controller.web import auth, body, log, receipts, results
from controller.web.cursors import read_cursor, write_cursor
from controller.web.documents import (
    CreateHeader,
    ListQuery,
    NoQuery,
    RunDocument,
    RunList,
    RunPath,
    SubmitBody,
    WaitQuery,
    run_document,
)
from controller.web.idempotency import idempotency_key
from controller.web.refusals import answers
from controller.web.small_body import schemas
from controller.web.submission import receive

_SCHEMAS = "#/components/schemas"
_BINARY = {"type": "string", "format": "binary"}
_ACCEPTED: dict[str | int, Any] = {200: RunDocument, 202: RunDocument}
_SUBMIT = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "additionalProperties": False,
                "properties": {
                    "script": {"type": "string", "description": "Python source that defines azureml_main"},
                    "script_ref": {"type": "string", "description": "instead of it, a stored one: `name`, `name@3`"},
                    "dataframe1": {
                        **_BINARY,
                        "description": "a table; its format by Content-Type, else by name. Or, without a file name and "
                        'of the type application/json, a dataset: {"dataset": "name", "version": 1}',
                    },
                    "dataframe2": {**_BINARY, "description": "a table, likewise"},
                    "bundle": {**_BINARY, "description": "a zip of modules"},
                    "options": {"type": "string", "description": "JSON, as `options` of the JSON body"},
                },
            }
        },
        "application/json": {"schema": {"$ref": f"{_SCHEMAS}/{SubmitBody.__name__}"}},
    },
}


def component_schemas() -> dict[str, Schema]:
    """The schemas that only bodies speak of."""
    return schemas(SubmitBody)


def blueprint(backend: Backend, pepper: bytes) -> APIBlueprint:
    """The routes, each needing a key with the scope `run`."""
    bp = APIBlueprint("runs", __name__, url_prefix="/v1/runs", abp_tags=[Tag(name="runs")], abp_security=auth.SECURITY)
    bp.before_request(auth.requires(backend, pepper, "run"))
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
        responses=_ACCEPTED | answers(404, 409, 413, 415, 429, 507),
    )
    def submit(query: WaitQuery, header: CreateHeader) -> tuple[dict[str, Any], int, dict[str, str]]:
        """202 with the accepted run, or 200 when it ended within `wait` seconds.

        With an `Idempotency-Key` that was used before, the run that the first request made.
        """
        key, told = idempotency_key(request), backend.news.told
        with backend.workspaces.stage() as staging:
            submission = receive(request, staging, backend.settings, waits=query.wait > 0)
            accepted = submit_run(backend, auth.caller(), staging, submission, key)
        return _accepted(backend, *accepted, query.wait, told)

    @bp.post("/<run_id>/rerun", summary="The same again", responses=_ACCEPTED | answers(404, 409, 429, 507))
    def again(path: RunPath, query: WaitQuery, header: CreateHeader) -> tuple[dict[str, Any], int, dict[str, str]]:
        """A new run of the same script with the same inputs, parameters and limits; answered as a submitted one."""
        key, told = idempotency_key(request), backend.news.told
        return _accepted(backend, *rerun(backend, auth.caller(), path.run_id, key), query.wait, told)

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
        before = read_cursor(query.cursor) if query.cursor else None
        wanted = RunFilter(
            status=query.status,
            script_sha256=query.script,
            batch_id=query.batch,
            endpoint_id=query.endpoint,
            created_after=query.created_after,
            created_before=query.created_before,
        )
        found = runs.page(backend, auth.caller(), query.limit, wanted, before)
        return {
            "items": [run_document(run) for run in found.runs],
            "next_cursor": write_cursor(*found.before) if found.before else None,
        }

    @bp.get("/<run_id>", summary="One run", responses={200: RunDocument, **answers(404)})
    def one(path: RunPath, query: WaitQuery) -> dict[str, Any]:
        """The run as it is, or as it is when it ends within `wait` seconds."""
        seconds = min(query.wait, backend.settings.max_wait_seconds)
        run = runs.wait(backend, auth.caller(), path.run_id, seconds, body.departure(request.environ))
        return run_document(run, runs.position(backend, run))


def _accepted(
    backend: Backend, run: Run, new: bool, wait: float, told: int
) -> tuple[dict[str, Any], int, dict[str, str]]:
    """The answer to a request that makes a run: at once, or when the run has ended in time. `told` is how many changes
    had been when it came.
    """
    if wait:
        seconds = min(wait, backend.settings.max_wait_seconds)
        run = runs.wait(backend, auth.caller(), run.id, seconds, body.departure(request.environ), (told, run))
    headers = {"Location": f"/v1/runs/{run.id}"} | ({} if new else {"Idempotency-Replayed": "true"})
    return run_document(run, runs.position(backend, run)), 200 if run.status.final else 202, headers
