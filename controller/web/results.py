"""/v1/runs/{id}/output, /output2, /device and /images: what a run gave."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flask import Response, request, send_file
from flask_openapi import APIBlueprint
from werkzeug.exceptions import PreconditionFailed

from controller.errors import NotAcceptable, NotFound
from controller.model import Format
from controller.services import runs
from controller.services.backend import Backend
from controller.web import auth
from controller.web.documents import ImageList, ImagePath, NoQuery, RunPath, run_document
from controller.web.refusals import answers

_BINARY = {"type": "string", "format": "binary"}
_TABLES = {format.media_type: {"schema": _BINARY} for format in Format}
_BY_MEDIA_TYPE = {format.media_type: format for format in Format}
_HTML = "text/html"
_TABLE_ANSWERS: dict[str | int, Any] = {
    200: {"description": "the table", "content": _TABLES},
    206: {"description": "the part of it that `Range` asks for", "content": _TABLES},
    304: {"description": "it is the one that `If-None-Match` names"},
    **answers(404, 406, 409, 412, 416, 507),
}
_DEVICE_ANSWERS = {**_TABLE_ANSWERS, 200: {"description": "the port", "content": {**_TABLES, _HTML: {}}}}


def routes(bp: APIBlueprint, backend: Backend) -> None:
    """Add what a run gave to the blueprint of runs."""

    @bp.get(
        "/<run_id>/output",
        summary="The result table",
        responses=_TABLE_ANSWERS,
    )
    def output(path: RunPath, query: NoQuery) -> Response:
        """In the format that `Accept` asks for: the Arrow file format if it asks for nothing. Ranges and ETags work."""
        run = runs.get(backend, auth.caller(), path.run_id)
        wanted = _negotiated(Format.ARROW)
        return _table(runs.output(backend, run, 1, wanted), run.id, wanted)

    @bp.get("/<run_id>/output2", summary="The second table", responses=_TABLE_ANSWERS)
    def output2(path: RunPath, query: NoQuery) -> Response:
        """Of a run with the profile `designer`: its second table. Formats, ranges and ETags as of the first."""
        run = runs.get(backend, auth.caller(), path.run_id)
        wanted = _negotiated(Format.ARROW)
        return _table(runs.output(backend, run, 2, wanted), f"{run.id}-2", wanted)

    @bp.get("/<run_id>/device", summary="The device port", responses=_DEVICE_ANSWERS)
    def device(path: RunPath, query: NoQuery) -> Response:
        """What was printed and drawn as a table of one row, columns `Standard Output` and `Graphics`; or as a page."""
        run = runs.get(backend, auth.caller(), path.run_id)
        if request.accept_mimetypes.best_match([*_BY_MEDIA_TYPE, _HTML]) == _HTML:
            response = Response(runs.device_page(backend, run), content_type=f"{_HTML}; charset=utf-8")
            response.headers["Content-Security-Policy"] = "default-src 'none'; img-src data:; sandbox"
            return response
        wanted = _negotiated(Format.JSON)
        if wanted is Format.JSON:
            return Response(runs.device_records(backend, run), mimetype=wanted.media_type)
        return _table(runs.device_table(backend, run, wanted), f"{run.id}-device", wanted)

    @bp.get("/<run_id>/images", summary="The images", responses={200: ImageList, **answers(404)})
    def images(path: RunPath, query: NoQuery) -> dict[str, Any]:
        run = runs.get(backend, auth.caller(), path.run_id)
        return {"items": run_document(run)["images"], "next_cursor": None}

    @bp.get(
        "/<run_id>/images/<path:name>",
        summary="One image",
        responses={
            200: {
                "description": "the PNG; an SVG, for a download only",
                "content": {"image/png": {"schema": _BINARY}, "image/svg+xml": {"schema": _BINARY}},
            },
            **answers(404),
        },
    )
    def image(path: ImagePath, query: NoQuery) -> Response:
        run = runs.get(backend, auth.caller(), path.run_id)
        found, pieces = runs.image(backend, run, path.name)
        response = Response(pieces, mimetype=found.type, headers={"Content-Length": str(found.bytes)})
        if found.type != "image/png":  # a document that may hold scripts: a browser must not show it as ours
            response.headers["Content-Disposition"] = "attachment"
            response.headers["Content-Security-Policy"] = "default-src 'none'; sandbox"
        return response


def _table(file: Path, name: str, format: Format) -> Response:
    """A table's file, as a download. NotFound when the run was deleted meanwhile."""
    try:
        response = send_file(
            file,
            mimetype=format.media_type,
            as_attachment=True,
            download_name=f"{name}{format.suffix}",
            etag=f"{name}{format.suffix}",
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


def _negotiated(default: Format) -> Format:
    """The format that the Accept header asks for; `default` when it accepts anything."""
    if not request.headers.get("Accept"):
        return default
    best = request.accept_mimetypes.best_match([default.media_type, *_BY_MEDIA_TYPE])
    if best is None:
        raise NotAcceptable(f"the output can be had as {', '.join(_BY_MEDIA_TYPE)}")
    return _BY_MEDIA_TYPE[str(best)]
