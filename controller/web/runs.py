"""/v1/runs: each view parses, calls one service function, and shapes the answer."""

from __future__ import annotations

import base64
import codecs
import itertools
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from flask import Response, request, send_file
from flask_openapi import APIBlueprint, Schema, Tag
from werkzeug.exceptions import PreconditionFailed

from controller.errors import InvalidRequest, NotAcceptable, NotFound
from controller.model import OUTPUT_FORMATS, Caller, Format, Run
from controller.runlog import STDERR
from controller.services import runs
from controller.services.backend import Backend
from controller.web import auth, body
from controller.web.documents import (
    ImageList,
    ImagePath,
    ListQuery,
    LogQuery,
    NoQuery,
    Problem,
    RunDocument,
    RunList,
    RunPath,
    SubmitBody,
    WaitQuery,
    run_document,
)
from controller.web.submission import receive

HEARTBEAT_SECONDS = 10.0
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
_TABLES = {format.media_type: {"schema": _BINARY} for format in OUTPUT_FORMATS}
_LOG = {"description": "the log", "content": {"text/plain": {}, "text/event-stream": {}}}
_REFUSED = "refused: docs/errors.md says what each `code` means"
_PROBLEM = {
    "description": _REFUSED,
    "content": {"application/problem+json": {"schema": {"$ref": f"{_SCHEMAS}/{Problem.__name__}"}}},
}


def _answers(*statuses: int) -> dict[str | int, Any]:
    return {str(status): _PROBLEM for status in sorted((401, 403, 422, 503, *statuses))}


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
    _results(bp, backend)
    return bp


def _submitting(bp: APIBlueprint, backend: Backend) -> None:
    @bp.post(
        "",
        summary="Submit a run",
        request_body=_SUBMIT,
        responses={200: RunDocument, 202: RunDocument, **_answers(413, 415, 429, 507)},
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

    @bp.post("/<run_id>/cancel", summary="Stop a run", responses={202: RunDocument, **_answers(404, 409)})
    def cancel(path: RunPath, query: NoQuery) -> tuple[dict[str, Any], int]:
        """A queued run is cancelled at once, a running one within a second: watch its status."""
        return run_document(runs.cancel(backend, auth.caller(), path.run_id)), 202

    @bp.delete("/<run_id>", summary="Forget a run", responses={204: None, **_answers(404, 409)})
    def delete(path: RunPath, query: NoQuery) -> tuple[str, int]:
        """Its row, inputs, outputs and log are removed. It must have ended."""
        runs.delete(backend, auth.caller(), path.run_id)
        return "", 204


def _asking(bp: APIBlueprint, backend: Backend) -> None:
    @bp.get("", summary="List runs, newest first", responses={200: RunList, **_answers()})
    def page(query: ListQuery) -> dict[str, Any]:
        before = _read_cursor(query.cursor) if query.cursor else None
        found = runs.page(backend, auth.caller(), query.limit, query.status, query.created_after, before)
        return {
            "items": [run_document(run) for run in found.runs],
            "next_cursor": _write_cursor(*found.before) if found.before else None,
        }

    @bp.get("/<run_id>", summary="One run", responses={200: RunDocument, **_answers(404)})
    def one(path: RunPath, query: WaitQuery) -> dict[str, Any]:
        """The run as it is, or as it is when it ends within `wait` seconds."""
        seconds = min(query.wait, backend.settings.max_wait_seconds)
        return run_document(runs.wait(backend, auth.caller(), path.run_id, seconds, body.departure(request.environ)))

    @bp.get(
        "/<run_id>/log",
        summary="The log",
        responses={200: _LOG, **_answers(404)},
    )
    def log(path: RunPath, query: LogQuery) -> Response:
        """text/plain: stdout and stderr as they came. text/event-stream: events `stdout`, `stderr`, last `status`."""
        caller = auth.caller()
        run = runs.get(backend, caller, path.run_id)
        if request.accept_mimetypes.best_match(["text/plain", "text/event-stream"]) == "text/event-stream":
            return _stream(_events(_follow(backend, caller, run.id)), "text/event-stream")
        if query.follow == "1":
            return _stream(_text(_follow(backend, caller, run.id)), "text/plain; charset=utf-8")
        return _stream((data for _, data in runs.log(backend, run)), "text/plain; charset=utf-8")


def _results(bp: APIBlueprint, backend: Backend) -> None:
    @bp.get(
        "/<run_id>/output",
        summary="The result table",
        responses={
            200: {"description": "the table", "content": _TABLES},
            206: {"description": "the part of it that `Range` asks for", "content": _TABLES},
            304: {"description": "it is the one that `If-None-Match` names"},
            **_answers(404, 406, 409, 412, 416, 507),
        },
    )
    def output(path: RunPath, query: NoQuery) -> Response:
        """In the format that `Accept` asks for: the Arrow file format if it asks for nothing. Ranges and ETags work."""
        run = runs.get(backend, auth.caller(), path.run_id)
        wanted = _negotiated()
        file = runs.output(backend, run, wanted)
        try:
            response = send_file(
                file,
                mimetype=wanted.media_type,
                as_attachment=True,
                download_name=f"{run.id}{wanted.suffix}",
                etag=f"{run.id}{wanted.suffix}",
                conditional=True,
            )
        except FileNotFoundError as e:
            raise NotFound("the run was deleted meanwhile") from e
        if response.status_code == PreconditionFailed.code:
            response.close()
            raise PreconditionFailed("the output is not the one that `If-Match` names")
        response.headers["Cache-Control"] = "private, no-cache"
        response.headers["Vary"] = "Accept"
        return response

    @bp.get("/<run_id>/images", summary="The images", responses={200: ImageList, **_answers(404)})
    def images(path: RunPath, query: NoQuery) -> dict[str, Any]:
        run = runs.get(backend, auth.caller(), path.run_id)
        return {"items": run_document(run)["images"], "next_cursor": None}

    @bp.get(
        "/<run_id>/images/<path:name>",
        summary="One image",
        responses={200: {"description": "the PNG", "content": {"image/png": {"schema": _BINARY}}}, **_answers(404)},
    )
    def image(path: ImagePath, query: NoQuery) -> Response:
        run = runs.get(backend, auth.caller(), path.run_id)
        size, pieces = runs.image(backend, run, path.name)
        return Response(pieces, mimetype="image/png", headers={"Content-Length": str(size)})


def _negotiated() -> Format:
    """The format that the Accept header asks for."""
    offered = {format.media_type: format for format in OUTPUT_FORMATS}
    if not request.headers.get("Accept"):
        return Format.ARROW
    best = request.accept_mimetypes.best_match(list(offered))
    if best is None:
        raise NotAcceptable(f"the output can be had as {', '.join(offered)}")
    return offered[best]


def _stream(chunks: Iterator[bytes], media_type: str) -> Response:
    response = Response(chunks, content_type=media_type)
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Accel-Buffering"] = "no"  # a proxy that collects the log would make it not live
    return response


_Followed = Iterator[tuple[int, bytes] | Run | None]


def _follow(backend: Backend, caller: Caller, run_id: str) -> _Followed:
    """Begun before the answer is, so that a refusal can still be one."""
    items = runs.follow(backend, caller, run_id, body.departure(request.environ))
    return itertools.chain([next(items, None)], items)


def _text(items: _Followed) -> Iterator[bytes]:
    for item in items:
        if isinstance(item, tuple):
            yield item[1]


def _events(items: _Followed) -> Iterator[bytes]:
    decoders = {stream: codecs.getincrementaldecoder("utf-8")("replace") for stream in (0, 1, 2)}
    spoken = time.monotonic()
    for item in items:
        if isinstance(item, tuple):
            stream, data = item
            name = "stderr" if stream == STDERR else "stdout"
            yield _event(name, {"text": decoders[stream].decode(data)})
        elif isinstance(item, Run):
            yield _event("status", run_document(item))
        elif time.monotonic() - spoken < HEARTBEAT_SECONDS:
            continue
        else:
            yield b": still here\n\n"
        spoken = time.monotonic()


def _event(name: str, document: dict[str, Any]) -> bytes:
    return f"event: {name}\ndata: {json.dumps(document)}\n\n".encode()


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
