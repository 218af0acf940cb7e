"""/v1/keys and /v1/usage: a tenant's own keys, and what it uses."""

from __future__ import annotations

from typing import Any

from flask import request
from flask_openapi import APIBlueprint, Tag

from controller.services import keys
from controller.services.backend import Backend
from controller.store.tenant_store import KeyPage
from controller.web import auth, small_body
from controller.web.cursors import read_cursor, write_cursor
from controller.web.documents import NoQuery
from controller.web.key_documents import (
    ApiKeyBody,
    ApiKeyDocument,
    ApiKeyList,
    ApiKeyPath,
    NewApiKeyDocument,
    PageQuery,
    RotateBody,
    TenantUsageDocument,
    key_document,
    new_key_document,
    usage_document,
)
from controller.web.refusals import answers

NEW_KEY: dict[str | int, Any] = {201: NewApiKeyDocument}


def blueprint(backend: Backend, pepper: bytes) -> APIBlueprint:
    """The routes, each needing a key with the scope `tenant_admin`."""
    bp = APIBlueprint("keys", __name__, url_prefix="/v1", abp_tags=[Tag(name="keys")], abp_security=auth.SECURITY)
    bp.before_request(auth.requires(backend, pepper, "tenant_admin"))
    _changing(bp, backend, pepper)
    _asking(bp, backend)
    return bp


def _changing(bp: APIBlueprint, backend: Backend, pepper: bytes) -> None:
    @bp.post(
        "/keys",
        summary="Make a key",
        request_body=small_body.described(ApiKeyBody),
        responses={**NEW_KEY, **answers(413, 415, 429)},
    )
    def create(query: NoQuery) -> tuple[dict[str, Any], int, dict[str, str]]:
        """`key` is shown this once. A key gives scopes that it has itself."""
        wanted, caller = small_body.receive(request, ApiKeyBody), auth.caller()
        made = keys.create(
            backend, caller, pepper, caller.tenant_id, wanted.name, tuple(wanted.scopes), wanted.expires_at
        )
        return new_key_document(*made), 201, {"Location": f"/v1/keys/{made[0].id}"}

    @bp.post(
        "/keys/<key_id>/rotate",
        summary="A new key in its place",
        request_body=small_body.described(RotateBody),
        responses={**NEW_KEY, **answers(404, 409, 413, 415)},
    )
    def rotate(path: ApiKeyPath, query: NoQuery) -> tuple[dict[str, Any], int, dict[str, str]]:
        """Of the same name and scopes. The old one lives on for `grace_seconds`, a day if they are not given."""
        wanted, caller = small_body.receive(request, RotateBody), auth.caller()
        made = keys.rotate(backend, caller, pepper, caller.tenant_id, path.key_id, wanted.grace_seconds)
        return new_key_document(*made), 201, {"Location": f"/v1/keys/{made[0].id}"}

    @bp.delete("/keys/<key_id>", summary="Revoke a key", responses={204: None, **answers(404, 409)})
    def revoke(path: ApiKeyPath, query: NoQuery) -> tuple[str, int]:
        """From the next request on, it is refused. It stays in the list."""
        keys.revoke(backend, auth.caller(), auth.caller().tenant_id, path.key_id)
        return "", 204


def _asking(bp: APIBlueprint, backend: Backend) -> None:
    @bp.get("/keys", summary="List keys, newest first", responses={200: ApiKeyList, **answers()})
    def page(query: PageQuery) -> dict[str, Any]:
        before = read_cursor(query.cursor) if query.cursor else None
        return key_list(keys.page(backend, auth.caller().tenant_id, query.limit, before))

    @bp.get("/keys/<key_id>", summary="One key", responses={200: ApiKeyDocument, **answers(404)})
    def one(path: ApiKeyPath, query: NoQuery) -> dict[str, Any]:
        return key_document(keys.get(backend, auth.caller().tenant_id, path.key_id))

    @bp.get("/usage", summary="What the tenant uses, and may", responses={200: TenantUsageDocument, **answers()})
    def usage(query: NoQuery) -> dict[str, Any]:
        """Today's runs and seconds, what waits and runs, what is stored; and the quotas."""
        return usage_document(backend, auth.caller().tenant_id)


def key_list(found: KeyPage) -> dict[str, Any]:
    return {
        "items": [key_document(key) for key in found.keys],
        "next_cursor": write_cursor(*found.before) if found.before else None,
    }
