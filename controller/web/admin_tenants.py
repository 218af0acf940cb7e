"""/v1/admin/tenants: who is hosted, with which quotas and keys."""

from __future__ import annotations

from typing import Any

from flask import request
from flask_openapi import APIBlueprint

from controller.services import administration, keys
from controller.services.backend import Backend
from controller.web import auth, small_body
from controller.web.admin_documents import (
    TenantBody,
    TenantChange,
    TenantDocument,
    TenantKeyPath,
    TenantList,
    TenantPath,
    tenant_document,
)
from controller.web.cursors import read_cursor, write_cursor
from controller.web.documents import NoQuery
from controller.web.key_documents import ApiKeyBody, ApiKeyDocument, ApiKeyList, PageQuery, RotateBody, key_document
from controller.web.key_documents import new_key_document as shown_once
from controller.web.keys import NEW_KEY, key_list
from controller.web.refusals import answers

_TENANTS, _ONE = "/tenants", "/tenants/<tenant_id>"
_KEYS, _KEY = f"{_ONE}/keys", f"{_ONE}/keys/<key_id>"
_NEW: dict[str | int, Any] = {201: TenantDocument}
_CHANGED: dict[str | int, Any] = {200: TenantDocument}


def routes(bp: APIBlueprint, backend: Backend, pepper: bytes) -> None:
    _changing(bp, backend)
    _stopping(bp, backend)
    _asking(bp, backend)
    _keys(bp, backend, pepper)


def _changing(bp: APIBlueprint, backend: Backend) -> None:
    @bp.post(
        _TENANTS,
        summary="Make a tenant",
        request_body=small_body.described(TenantBody),
        responses=_NEW | answers(409, 413, 415),
    )
    def create_tenant(query: NoQuery) -> tuple[dict[str, Any], int, dict[str, str]]:
        """Its first key is made next, with POST …/keys."""
        wanted = small_body.receive(request, TenantBody)
        tenant = administration.create(backend, auth.caller(), wanted.name, wanted.quotas)
        return tenant_document(tenant), 201, {"Location": f"/v1/admin/tenants/{tenant.id}"}

    @bp.patch(
        _ONE,
        summary="Change its name or quotas",
        request_body=small_body.described(TenantChange),
        responses=_CHANGED | answers(404, 409, 413, 415),
    )
    def change_tenant(path: TenantPath, query: NoQuery) -> dict[str, Any]:
        """In force with the next request, and for whatever begins."""
        wanted = small_body.receive(request, TenantChange)
        changed = administration.change(backend, auth.caller(), path.tenant_id, wanted.name, wanted.quotas)
        return tenant_document(changed)


def _stopping(bp: APIBlueprint, backend: Backend) -> None:
    @bp.post(f"{_ONE}/suspend", summary="Suspend it", responses=_CHANGED | answers(404, 409))
    def suspend_tenant(path: TenantPath, query: NoQuery) -> dict[str, Any]:
        """Its keys are refused (403 `tenant_suspended`), what waits does not begin; what is at work goes on."""
        return tenant_document(administration.suspend(backend, auth.caller(), path.tenant_id))

    @bp.post(f"{_ONE}/resume", summary="Let it in again", responses=_CHANGED | answers(404))
    def resume_tenant(path: TenantPath, query: NoQuery) -> dict[str, Any]:
        return tenant_document(administration.resume(backend, auth.caller(), path.tenant_id))

    @bp.delete(_ONE, summary="Delete it, with all its data", responses={202: TenantDocument, **answers(404, 409)})
    def delete_tenant(path: TenantPath, query: NoQuery) -> tuple[dict[str, Any], int]:
        """At once nobody is let in, and its runs are killed; its files and rows are gone within seconds, and then it is
        not found any more. Sent again, it changes nothing."""
        return tenant_document(administration.delete(backend, auth.caller(), path.tenant_id)), 202


def _asking(bp: APIBlueprint, backend: Backend) -> None:
    @bp.get(_TENANTS, summary="List tenants, newest first", responses={200: TenantList, **answers()})
    def tenants(query: PageQuery) -> dict[str, Any]:
        found = administration.page(backend, query.limit, read_cursor(query.cursor) if query.cursor else None)
        return {
            "items": [tenant_document(tenant) for tenant in found.tenants],
            "next_cursor": write_cursor(*found.before) if found.before else None,
        }

    @bp.get(_ONE, summary="One tenant", responses=_CHANGED | answers(404))
    def tenant(path: TenantPath, query: NoQuery) -> dict[str, Any]:
        return tenant_document(administration.get(backend, path.tenant_id))


def _keys(bp: APIBlueprint, backend: Backend, pepper: bytes) -> None:
    @bp.get(_KEYS, summary="Its keys, newest first", responses={200: ApiKeyList, **answers(404)})
    def tenant_keys(path: TenantPath, query: PageQuery) -> dict[str, Any]:
        tenant = administration.get(backend, path.tenant_id)
        before = read_cursor(query.cursor) if query.cursor else None
        return key_list(keys.page(backend, tenant.id, query.limit, before))

    @bp.get(_KEY, summary="One of them", responses={200: ApiKeyDocument, **answers(404)})
    def tenant_key(path: TenantKeyPath, query: NoQuery) -> dict[str, Any]:
        return key_document(keys.get(backend, path.tenant_id, path.key_id))

    @bp.post(
        _KEYS,
        summary="Make a key for it",
        request_body=small_body.described(ApiKeyBody),
        responses=NEW_KEY | answers(404, 413, 415, 429),
    )
    def create_tenant_key(path: TenantPath, query: NoQuery) -> tuple[dict[str, Any], int, dict[str, str]]:
        """With any scopes: `admin` makes the tenant an operator."""
        wanted, tenant = small_body.receive(request, ApiKeyBody), administration.get(backend, path.tenant_id)
        scopes = tuple(wanted.scopes)
        made = keys.create(backend, auth.caller(), pepper, tenant.id, wanted.name, scopes, wanted.expires_at)
        return shown_once(*made), 201, {"Location": f"/v1/admin/tenants/{tenant.id}/keys/{made[0].id}"}

    @bp.post(
        f"{_KEY}/rotate",
        summary="A new key in its place",
        request_body=small_body.described(RotateBody),
        responses=NEW_KEY | answers(404, 409, 413, 415),
    )
    def rotate_tenant_key(path: TenantKeyPath, query: NoQuery) -> tuple[dict[str, Any], int, dict[str, str]]:
        wanted = small_body.receive(request, RotateBody)
        made = keys.rotate(backend, auth.caller(), pepper, path.tenant_id, path.key_id, wanted.grace_seconds)
        return shown_once(*made), 201, {"Location": f"/v1/admin/tenants/{path.tenant_id}/keys/{made[0].id}"}

    @bp.delete(_KEY, summary="Revoke it", responses={204: None, **answers(404, 409)})
    def revoke_tenant_key(path: TenantKeyPath, query: NoQuery) -> tuple[str, int]:
        keys.revoke(backend, auth.caller(), path.tenant_id, path.key_id)
        return "", 204
