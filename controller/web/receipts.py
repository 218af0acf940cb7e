"""/v1/runs/{id}/receipt, and /v1/receipt-key, by which everybody can check one."""

from __future__ import annotations

from typing import Any

from flask import Response, jsonify, request
from flask_openapi import APIBlueprint, Tag

from controller.errors import NotAcceptable
from controller.services import receipts, runs
from controller.services.backend import Backend
from controller.services.receipt_document import SignedReceipt
from controller.signing import ALGORITHM
from controller.web import auth
from controller.web.documents import Document, NoQuery, RunPath
from controller.web.refusals import answers, problems

_PEM, _JSON = "application/x-pem-file", "application/json"


class ReceiptKey(Document):
    """The public key. `key_id` is the SHA-256 of the raw key; `public_key` is the raw key as base64."""

    algorithm: str
    key_id: str
    public_key: str


_KEY_ANSWERS: dict[str | int, Any] = {
    200: {
        "description": "the public key",
        "content": {
            _PEM: {"schema": {"type": "string"}},
            _JSON: {"schema": ReceiptKey.model_json_schema()},
        },
    },
    **problems(406, 422),
}


def routes(bp: APIBlueprint, backend: Backend) -> None:
    """Add the receipt to the blueprint of runs."""

    @bp.get("/<run_id>/receipt", summary="The receipt", responses={200: SignedReceipt, **answers(404, 409, 507)})
    def receipt(path: RunPath, query: NoQuery) -> Response:
        """What the run was made of and what it gave, signed. The same bytes each time: keep them as they are."""
        run = runs.get(backend, auth.caller(), path.run_id)
        return Response(receipts.receipt(backend, run), mimetype=_JSON)


def blueprint(backend: Backend) -> APIBlueprint:
    """The public key's route. It needs no API key: whoever is handed a receipt may check it."""
    bp = APIBlueprint("receipts", __name__, url_prefix="/v1", abp_tags=[Tag(name="receipts")])
    key = backend.notary.key.public
    document = ReceiptKey(algorithm=ALGORITHM, key_id=key.key_id, public_key=key.base64).model_dump()

    @bp.get("/receipt-key", summary="The public key of this server's receipts", responses=_KEY_ANSWERS)
    def receipt_key(query: NoQuery) -> Response:
        """As a PEM file, or as JSON where `Accept` prefers that."""
        best = request.accept_mimetypes.best_match([_PEM, _JSON]) if request.headers.get("Accept") else _PEM
        if best is None:
            raise NotAcceptable(f"the key can be had as {_PEM} and as {_JSON}")
        response = jsonify(document) if best == _JSON else Response(key.pem(), mimetype=_PEM)
        response.headers["Vary"] = "Accept"
        return response

    return bp
