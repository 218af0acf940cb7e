"""/v1/datasets: tables that are kept under a name, in versions."""

from __future__ import annotations

from typing import Any

from flask import Response, jsonify, request
from flask_openapi import APIBlueprint, Tag

from controller.model import DatasetStatus, Format
from controller.services import datasets, uploads
from controller.services.backend import Backend
from controller.store.dataset_store import Dataset
from controller.web import auth, body
from controller.web.cursors import read_cursor, write_cursor
from controller.web.dataset_documents import (
    DatasetDocument,
    DatasetList,
    DatasetPath,
    DatasetsQuery,
    DeleteQuery,
    OneQuery,
    PutQuery,
    VersionQuery,
    VersionsQuery,
    dataset_document,
)
from controller.web.documents import CreateHeader
from controller.web.idempotency import idempotency_key
from controller.web.refusals import answers
from controller.web.tables import BINARY, TABLE_ANSWERS, TABLES, download, negotiated, table
from controller.web.upload import expected, receive

_JSON = "application/json"
_PUT = {
    "required": True,
    "content": {
        **TABLES,
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["file"],
                "additionalProperties": False,
                "properties": {
                    "file": {**BINARY, "description": "the table; its format by Content-Type, else by name"},
                    "options": {"type": "string", "description": "JSON: how it is to be read, as for a run's table"},
                },
            }
        },
    },
}
_PUT_ANSWERS: dict[str | int, Any] = {
    200: DatasetDocument,
    201: DatasetDocument,
    202: DatasetDocument,
    **answers(404, 409, 412, 413, 415, 429, 507),
}
_JSON_ANSWERS: dict[str | int, Any] = {
    200: {"description": "the document that the sandbox wrote", "content": {_JSON: {"schema": {"type": "object"}}}},
    206: {"description": "the part of it that `Range` asks for"},
    304: {"description": "it is the one that `If-None-Match` names"},
    **answers(404, 409, 412, 416),
}


def blueprint(backend: Backend, pepper: bytes) -> APIBlueprint:
    """The routes, each needing a key with the scope `run`."""
    bp = APIBlueprint(
        "datasets", __name__, url_prefix="/v1/datasets", abp_tags=[Tag(name="datasets")], abp_security=auth.SECURITY
    )
    bp.before_request(auth.requires(backend, pepper, "run"))
    _changing(bp, backend)
    _asking(bp, backend)
    _reading(bp, backend)
    return bp


def _changing(bp: APIBlueprint, backend: Backend) -> None:
    @bp.put(
        "/<name>",
        summary="Put a version of a dataset",
        request_body=_PUT,
        responses=_PUT_ANSWERS,
    )
    def put(path: DatasetPath, query: PutQuery, header: CreateHeader) -> Response:
        """The body is the file itself, or multipart. 202 while it is ingested, 201 when that ended within `wait`
        seconds, well or not (`status` says); 200 when the newest version has the same content: then there is no new
        one. `If-None-Match: *` puts only what is not there, `If-Match` only over the version that it names."""
        caller, key, wanted = auth.caller(), idempotency_key(request), expected(request)
        if key is None:  # the first request of a key has changed what is expected
            uploads.check(backend, caller, path.name, wanted)
        with backend.workspaces.stage() as staging:
            upload = receive(request, staging, backend.settings, path.name, query)
            found, made = uploads.put(backend, caller, staging, upload, wanted, key=key, waits=query.wait > 0)
        found = _waited(backend, found, query.wait)
        response = _one(found)
        response.status_code = _status(found, made)
        response.headers["Location"] = f"/v1/datasets/{path.name}?version={found.version.version}"
        if made == "replayed":
            response.headers["Idempotency-Replayed"] = "true"
        return response

    @bp.delete("/<name>", summary="Delete a dataset, or a version", responses={204: None, **answers(404, 409)})
    def delete(path: DatasetPath, query: DeleteQuery) -> tuple[str, int]:
        """Runs that took its table keep it. Its numbers are never given again."""
        datasets.delete(backend, auth.caller(), path.name, query.version)
        return "", 204


def _asking(bp: APIBlueprint, backend: Backend) -> None:
    @bp.get("", summary="List datasets, newest first", responses={200: DatasetList, **answers()})
    def page(query: DatasetsQuery) -> dict[str, Any]:
        """The newest version of each."""
        before = read_cursor(query.cursor) if query.cursor else None
        found = datasets.page(backend, auth.caller(), query.limit, query.prefix, before)
        return {
            "items": [dataset_document(one) for one in found.datasets],
            "next_cursor": write_cursor(*found.before) if found.before else None,
        }

    @bp.get("/<name>", summary="One dataset", responses={200: DatasetDocument, **answers(404)})
    def one(path: DatasetPath, query: OneQuery) -> Response:
        """The version that is asked for; else the newest that is ready, or when none is, the newest. With `wait`, as
        it is when it has been ingested."""
        found = datasets.get(backend, auth.caller(), path.name, query.version)
        return _one(_waited(backend, found, query.wait))

    @bp.get("/<name>/versions", summary="Its versions, newest first", responses={200: DatasetList, **answers(404)})
    def versions(path: DatasetPath, query: VersionsQuery) -> dict[str, Any]:
        below = int(query.cursor) if query.cursor else None
        found = datasets.versions(backend, auth.caller(), path.name, query.limit, below)
        return {
            "items": [dataset_document(one) for one in found.datasets],
            "next_cursor": str(found.below) if found.below else None,
        }


def _reading(bp: APIBlueprint, backend: Backend) -> None:
    @bp.get("/<name>/data", summary="Its table", responses=TABLE_ANSWERS)
    def data(path: DatasetPath, query: VersionQuery) -> Response:
        """In the format that `Accept` asks for: the Arrow file format if it asks for nothing. Ranges and ETags work."""
        wanted = negotiated(Format.ARROW)
        found, file = datasets.table(backend, auth.caller(), path.name, query.version, wanted)
        return table(file, found.version.id, wanted, f"{path.name}-{found.version.version}")

    @bp.get("/<name>/preview", summary="Its first rows", responses=_JSON_ANSWERS)
    def preview(path: DatasetPath, query: VersionQuery) -> Response:
        """At most 100 rows and 256 KiB of JSON: `columns`, `rows`, `total_rows`, `truncated`."""
        return _document(path, query, "preview")

    @bp.get("/<name>/statistics", summary="What its columns hold", responses=_JSON_ANSWERS)
    def statistics(path: DatasetPath, query: VersionQuery) -> Response:
        """Of each column: missing and distinct values, extremes, mean, deviation, the most frequent values."""
        return _document(path, query, "statistics")

    def _document(path: DatasetPath, query: VersionQuery, name: str) -> Response:
        found, file = datasets.document(backend, auth.caller(), path.name, query.version, f"{name}.json")
        return download(file, f"{found.version.id}.{name}", _JSON)


def _waited(backend: Backend, dataset: Dataset, seconds: float) -> Dataset:
    if not seconds or dataset.status is not DatasetStatus.INGESTING:
        return dataset
    seconds = min(seconds, backend.settings.max_wait_seconds)
    return uploads.wait(backend, auth.caller(), dataset, seconds, body.departure(request.environ))


def _one(dataset: Dataset) -> Response:
    """A version, with the ETag that If-Match of a PUT takes."""
    response = jsonify(dataset_document(dataset))
    response.set_etag(dataset.version.id)
    return response


def _status(dataset: Dataset, made: str) -> int:
    if dataset.status is DatasetStatus.INGESTING:
        return 202
    return 200 if made == "same" else 201
