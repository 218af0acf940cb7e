"""/v1/runs/{id}/output, /output2, /device and /images: what a run gave."""

from __future__ import annotations

from typing import Any

from flask import Response, request
from flask_openapi import APIBlueprint

from controller.model import Format
from controller.services import runs
from controller.services.backend import Backend
from controller.services.comparison import Comparison, compare
from controller.web import auth
from controller.web.documents import ComparisonQuery, ImageList, ImagePath, NoQuery, RunPath, run_document
from controller.web.refusals import answers
from controller.web.tables import ANSWERED, BINARY, BY_MEDIA_TYPE, TABLE_ANSWERS, negotiated, table

_HTML = "text/html"
_PAGE_POLICY = "default-src 'none'; img-src data:; frame-ancestors 'none'; sandbox"
_COMPARISON_ANSWERS: dict[str | int, Any] = {200: Comparison, **answers(404, 409, 410, 507)}
_DEVICE_ANSWERS = {**TABLE_ANSWERS, 200: {"description": "the port", "content": {**ANSWERED, _HTML: {}}}}


def routes(bp: APIBlueprint, backend: Backend) -> None:
    """Add what a run gave to the blueprint of runs."""

    @bp.get(
        "/<run_id>/output",
        summary="The result table",
        responses=TABLE_ANSWERS,
    )
    def output(path: RunPath, query: NoQuery) -> Response:
        """In the format that `Accept` asks for: the Arrow file format if it asks for nothing. Ranges and ETags work."""
        run = runs.get(backend, auth.caller(), path.run_id)
        wanted = negotiated(Format.ARROW)
        return table(runs.output(backend, run, 1, wanted), run.id, wanted)

    @bp.get("/<run_id>/output2", summary="The second table", responses=TABLE_ANSWERS)
    def output2(path: RunPath, query: NoQuery) -> Response:
        """Of a run with the profile `designer`: its second table. Formats, ranges and ETags as of the first."""
        run = runs.get(backend, auth.caller(), path.run_id)
        wanted = negotiated(Format.ARROW)
        return table(runs.output(backend, run, 2, wanted), f"{run.id}-2", wanted)

    @bp.get("/<run_id>/comparison", summary="Two runs' tables compared", responses=_COMPARISON_ANSWERS)
    def comparison(path: RunPath, query: ComparisonQuery) -> dict[str, Any]:
        """Whether this run and another gave the same, per table: equal in bytes, in values, or the first difference."""
        return compare(backend, auth.caller(), path.run_id, query.other).model_dump(mode="json")

    @bp.get("/<run_id>/device", summary="The device port", responses=_DEVICE_ANSWERS)
    def device(path: RunPath, query: NoQuery) -> Response:
        """What was printed and drawn as a table of one row, columns `Standard Output` and `Graphics`; or as a page."""
        run = runs.get(backend, auth.caller(), path.run_id)
        if request.accept_mimetypes.best_match([*BY_MEDIA_TYPE, _HTML]) == _HTML:
            response = Response(runs.device_page(backend, run), content_type=f"{_HTML}; charset=utf-8")
            response.headers["Content-Security-Policy"] = _PAGE_POLICY
            return response
        wanted = negotiated(Format.JSON)
        if wanted is Format.JSON:
            return Response(runs.device_records(backend, run), mimetype=wanted.media_type)
        return table(runs.device_table(backend, run, wanted), f"{run.id}-device", wanted)

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
                "content": {"image/png": {"schema": BINARY}, "image/svg+xml": {"schema": BINARY}},
            },
            **answers(404, 410),
        },
    )
    def image(path: ImagePath, query: NoQuery) -> Response:
        run = runs.get(backend, auth.caller(), path.run_id)
        found, pieces = runs.image(backend, run, path.name)
        response = Response(pieces, mimetype=found.type, headers={"Content-Length": str(found.bytes)})
        if found.type != "image/png":  # a document that may hold scripts: a browser must not show it as ours
            response.headers["Content-Disposition"] = "attachment"
        return response
