"""/v1/admin: the operator's routes, each needing a key with the scope `admin`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from flask import Response
from flask_openapi import APIBlueprint, Tag

from controller.services import administration
from controller.services.audit import entry, note
from controller.services.backend import Backend
from controller.services.environments import Environments
from controller.services.submission import ENVIRONMENT
from controller.store.audit_store import AuditFilter
from controller.store.base import RunFilter
from controller.web import admin_server, admin_tenants, auth
from controller.web.admin_documents import (
    AdminEnvironmentList,
    AdminRunDocument,
    AdminRunList,
    AdminRunsQuery,
    AuditList,
    AuditQuery,
    UsageList,
    UsageQuery,
    admin_run_document,
)
from controller.web.cursors import read_cursor, write_cursor
from controller.web.documents import NoQuery, RunPath
from controller.web.key_documents import UsageDayDocument
from controller.web.refusals import answers

PREFIX = "/v1/admin"
NDJSON = "application/x-ndjson"
_EXPORT: dict[str | int, Any] = {
    200: {
        "description": "all rows, the first first, one JSON object a line",
        "content": {NDJSON: {"schema": {"type": "string"}}},
    },
    **answers(),
}


def blueprint(backend: Backend, pepper: bytes) -> APIBlueprint:
    bp = APIBlueprint("admin", __name__, url_prefix=PREFIX, abp_tags=[Tag(name="admin")], abp_security=auth.SECURITY)
    bp.before_request(auth.requires(backend, pepper, "admin"))
    admin_tenants.routes(bp, backend, pepper)
    admin_server.routes(bp, backend)
    _runs(bp, backend)
    _records(bp, backend)
    _audit(bp, backend)
    return bp


def _runs(bp: APIBlueprint, backend: Backend) -> None:
    @bp.get("/runs", summary="Everybody's runs, newest first", responses={200: AdminRunList, **answers()})
    def everybodys_runs(query: AdminRunsQuery) -> dict[str, Any]:
        """Whatever is executed, ingests and other work of the server's for its tenants included."""
        before = read_cursor(query.cursor) if query.cursor else None
        wanted = RunFilter(
            status=query.status,
            script_sha256=query.script,
            batch_id=query.batch,
            endpoint_id=query.endpoint,
            created_after=query.created_after,
            created_before=query.created_before,
        )
        found = administration.runs(backend, query.limit, wanted, before, query.tenant)
        return {
            "items": [admin_run_document(run) for run in found.runs],
            "next_cursor": write_cursor(*found.before) if found.before else None,
        }

    @bp.post("/runs/<run_id>/kill", summary="Stop a run", responses={202: AdminRunDocument, **answers(404, 409)})
    def kill_run(path: RunPath, query: NoQuery) -> tuple[dict[str, Any], int]:
        """A queued run is cancelled at once, a running one within a second."""
        return admin_run_document(administration.kill(backend, auth.caller(), path.run_id)), 202


def _records(bp: APIBlueprint, backend: Backend) -> None:
    environments = Environments(backend)

    @bp.get("/environments", summary="The images", responses={200: AdminEnvironmentList, **answers()})
    def admin_environments(query: NoQuery) -> dict[str, Any]:
        """Which image each environment is, and which is the default."""
        items = [
            {
                "name": found.name,
                "default": found.name == ENVIRONMENT,
                "image": backend.settings.image,
                "digest": found.digest,
                "packages": len(found.inventory.packages),
            }
            for found in environments.all()
        ]
        return {"items": items, "next_cursor": None}

    @bp.get("/usage", summary="What each tenant used, by day", responses={200: UsageList, **answers()})
    def admin_usage(query: UsageQuery) -> dict[str, Any]:
        """Newest day first."""
        moment, tenant_id = read_cursor(query.cursor) if query.cursor else (None, "")
        before = (moment.date(), tenant_id) if moment else None
        found = backend.tenants.usage(query.limit, query.tenant, query.since, before)
        following = found.before and (datetime(*found.before[0].timetuple()[:3], tzinfo=UTC), found.before[1])
        return {
            "items": [UsageDayDocument(**day.model_dump()).model_dump(mode="json") for day in found.days],
            "next_cursor": write_cursor(*following) if following else None,
        }


def _audit(bp: APIBlueprint, backend: Backend) -> None:
    @bp.get("/audit", summary="The audit log, newest first", responses={200: AuditList, **answers()})
    def audit(query: AuditQuery) -> dict[str, Any]:
        """Every change of tenants, keys and the server's state, and every refused attempt."""
        before = int(query.cursor) if query.cursor else None
        wanted = AuditFilter(action=query.action, tenant_id=query.tenant, before=before)
        found = backend.audit.page(wanted, query.limit + 1)
        shown = found[: query.limit]
        more = len(found) > query.limit
        return {
            "items": [row.document() for row in shown],
            "next_cursor": str(shown[-1].number) if more else None,
        }

    @bp.get("/audit/export", summary="All of the audit log", responses=_EXPORT)
    def export_audit(query: NoQuery) -> Response:
        """To be kept elsewhere, and to be checked: `airlock admin audit verify` follows the chain of hashes."""
        note(backend, entry(auth.caller(), "audit.export"))

        def lines() -> Iterator[str]:
            for row in backend.audit.rows():
                yield json.dumps(row.document()) + "\n"

        return Response(lines(), mimetype=NDJSON)
