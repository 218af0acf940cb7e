"""/v1/batches: one script over many tables."""

from __future__ import annotations

from typing import Any

from flask import Response, request
from flask_openapi import APIBlueprint, Schema, Tag

from controller.model import Format
from controller.services import batch_submission, batches
from controller.services.backend import Backend
from controller.services.batch_output import output as put_together
from controller.store.batch_store import Batch
from controller.web import auth, body
from controller.web.batch_body import receive
from controller.web.batch_documents import (
    BatchBody,
    BatchDocument,
    BatchesQuery,
    BatchList,
    BatchPath,
    BatchWaitQuery,
    ItemList,
    ItemsQuery,
    OutputQuery,
    batch_document,
    item_document,
)
from controller.web.cursors import read_cursor, write_cursor
from controller.web.documents import CreateHeader, NoQuery
from controller.web.idempotency import idempotency_key
from controller.web.refusals import answers
from controller.web.small_body import schemas
from controller.web.tables import BINARY, TABLE_ANSWERS, negotiated, table

_SCHEMAS = "#/components/schemas"
_ANSWERS: dict[str | int, Any] = {200: BatchDocument, 202: BatchDocument}
_SUBMIT = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["batch"],
                "additionalProperties": False,
                "properties": {
                    "script": {"type": "string", "description": "Python source that defines azureml_main"},
                    "script_ref": {"type": "string", "description": "instead of it, a stored one: `name`, `name@3`"},
                    "batch": {"type": "string", "description": "JSON, as `batch` of the JSON body"},
                    "dataframe2": {"type": "string", "description": 'JSON: {"dataset": "name", "version": 1}'},
                    "bundle": {**BINARY, "description": "a zip of modules"},
                    "options": {"type": "string", "description": "JSON, as `options` of the JSON body"},
                },
            }
        },
        "application/json": {"schema": {"$ref": f"{_SCHEMAS}/{BatchBody.__name__}"}},
    },
}
_OUTPUT_ANSWERS: dict[str | int, Any] = {**TABLE_ANSWERS, **answers(404, 406, 409, 410, 412, 416, 507)}


def component_schemas() -> dict[str, Schema]:
    """The schemas that only bodies speak of."""
    return schemas(BatchBody)


def blueprint(backend: Backend, pepper: bytes) -> APIBlueprint:
    """The routes, each needing a key with the scope `run`."""
    bp = APIBlueprint(
        "batches", __name__, url_prefix="/v1/batches", abp_tags=[Tag(name="batches")], abp_security=auth.SECURITY
    )
    bp.before_request(auth.requires(backend, pepper, "run"))
    _changing(bp, backend)
    _asking(bp, backend)
    return bp


def _changing(bp: APIBlueprint, backend: Backend) -> None:
    @bp.post(
        "",
        summary="Submit a batch",
        request_body=_SUBMIT,
        responses=_ANSWERS | answers(404, 409, 413, 415, 429, 507),
    )
    def submit(query: BatchWaitQuery, header: CreateHeader) -> tuple[dict[str, Any], int, dict[str, str]]:
        """202 with the accepted batch, or 200 when it ended within `wait` seconds. With an `Idempotency-Key` that was
        used before, the batch that the first request made."""
        key = idempotency_key(request)
        with backend.workspaces.stage() as staging:
            wanted = receive(request, staging, backend.settings)
            batch, new = batch_submission.submit(backend, auth.caller(), staging, wanted, key)
        batch = _waited(backend, batch, query.wait)
        headers = {"Location": f"/v1/batches/{batch.id}"} | ({} if new else {"Idempotency-Replayed": "true"})
        return _document(backend, batch), 200 if batch.finished_at else 202, headers

    @bp.post("/<batch_id>/cancel", summary="Stop a batch", responses={202: BatchDocument, **answers(404, 409)})
    def cancel(path: BatchPath, query: NoQuery) -> tuple[dict[str, Any], int]:
        """What is under way is stopped within a second, the other items are never begun."""
        return _document(backend, batches.cancel(backend, auth.caller(), path.batch_id)), 202

    @bp.post("/<batch_id>/retry", summary="Failed items again", responses={202: BatchDocument, **answers(404, 409)})
    def retry(path: BatchPath, query: NoQuery) -> tuple[dict[str, Any], int]:
        """Of a batch that has ended: the items that failed, were cancelled or never begun. The others stay as they
        are."""
        return _document(backend, batches.retry(backend, auth.caller(), path.batch_id)), 202

    @bp.delete("/<batch_id>", summary="Forget a batch", responses={204: None, **answers(404, 409)})
    def delete(path: BatchPath, query: NoQuery) -> tuple[str, int]:
        """With all the runs of its items. It must have ended."""
        batches.delete(backend, auth.caller(), path.batch_id)
        return "", 204


def _asking(bp: APIBlueprint, backend: Backend) -> None:
    @bp.get("", summary="List batches, newest first", responses={200: BatchList, **answers()})
    def page(query: BatchesQuery) -> dict[str, Any]:
        before = read_cursor(query.cursor) if query.cursor else None
        found = batches.page(backend, auth.caller(), query.limit, before)
        return {
            "items": [_document(backend, batch) for batch in found.batches],
            "next_cursor": write_cursor(*found.before) if found.before else None,
        }

    @bp.get("/<batch_id>", summary="One batch", responses={200: BatchDocument, **answers(404)})
    def one(path: BatchPath, query: BatchWaitQuery) -> dict[str, Any]:
        """The batch as it is, or as it is when it ends within `wait` seconds."""
        return _document(backend, _waited(backend, batches.get(backend, auth.caller(), path.batch_id), query.wait))

    @bp.get("/<batch_id>/items", summary="Its items, in their order", responses={200: ItemList, **answers(404)})
    def items(path: BatchPath, query: ItemsQuery) -> dict[str, Any]:
        after = int(query.cursor) if query.cursor else 0
        found = batches.items(backend, auth.caller(), path.batch_id, query.limit, after, query.status)
        return {
            "items": [item_document(state) for state in found.items],
            "next_cursor": str(found.after) if found.after else None,
        }

    @bp.get("/<batch_id>/output", summary="The rows of all items", responses=_OUTPUT_ANSWERS)
    def output(path: BatchPath, query: OutputQuery) -> Response:
        """The results of all items, one after the other in their order; with `partial`, of those that succeeded. Put
        together in a sandbox when first asked for. Formats, ranges and ETags as of a run's output."""
        wanted, gone = negotiated(Format.ARROW), body.departure(request.environ)
        caller, batch_id = auth.caller(), path.batch_id
        run, file = put_together(backend, caller, batch_id, wanted, gone, partial=query.partial)
        return table(file, run.id, wanted, batch_id)


def _document(backend: Backend, batch: Batch) -> dict[str, Any]:
    return batch_document(batch, batches.counts(backend, batch))


def _waited(backend: Backend, batch: Batch, seconds: float) -> Batch:
    seconds = min(seconds, backend.settings.max_wait_seconds)
    return batches.wait(backend, auth.caller(), batch.id, seconds, body.departure(request.environ))
