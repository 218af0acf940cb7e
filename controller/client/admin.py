"""The client's hands for keys, and for the operator's routes: tenants, everybody's runs, the server, the audit log."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

from controller.client.api import Client
from controller.client.errors import ClientError, json_object

ADMIN = "/v1/admin"
Document = dict[str, Any]
"""What the server answers with, as a dict."""


class AdminClient(Client):
    """A client that knows the routes of `tenant_admin` and `admin` as well. Raises ClientError."""

    # -- the tenant's own ----------------------------------------------------------------------------------------

    def api_keys(self, tenant_id: str | None = None) -> Iterator[Document]:
        """The keys of the caller's tenant, or as an operator of another."""
        return self._pages(_keys(tenant_id), {})

    def key(self, key_id: str, tenant_id: str | None = None) -> Document:
        return self._json("GET", _key(tenant_id, key_id))

    def create_key(self, wanted: Mapping[str, Any], tenant_id: str | None = None) -> Document:
        """The new key with its secret, `key`."""
        return self._json("POST", _keys(tenant_id), json=dict(wanted))

    def rotate_key(self, key_id: str, grace_seconds: float | None, tenant_id: str | None = None) -> Document:
        """Likewise of its successor."""
        body = {} if grace_seconds is None else {"grace_seconds": grace_seconds}
        return self._json("POST", f"{_key(tenant_id, key_id)}/rotate", json=body)

    def revoke_key(self, key_id: str, tenant_id: str | None = None) -> None:
        with self._open("DELETE", _key(tenant_id, key_id)):
            pass

    def usage(self) -> Document:
        return self._json("GET", "/v1/usage")

    # -- the operator's ------------------------------------------------------------------------------------------

    def tenants(self) -> Iterator[Document]:
        return self._pages(f"{ADMIN}/tenants", {})

    def tenant_id(self, name: str) -> str:
        """The id of the tenant of this name, or the id itself. ClientError when there is none."""
        if name.startswith("ten_"):
            return name
        for tenant in self.tenants():
            if tenant["name"] == name:
                return str(tenant["id"])
        raise ClientError(f"there is no tenant named {name!r}")

    def tenant(self, tenant_id: str) -> Document:
        return self._json("GET", _tenant(tenant_id))

    def create_tenant(self, name: str, quotas: Mapping[str, Any]) -> Document:
        return self._json("POST", f"{ADMIN}/tenants", json={"name": name, "quotas": dict(quotas)})

    def change_tenant(self, tenant_id: str, changes: Mapping[str, Any]) -> Document:
        return self._json("PATCH", _tenant(tenant_id), json=dict(changes))

    def suspend_tenant(self, tenant_id: str) -> Document:
        return self._json("POST", f"{_tenant(tenant_id)}/suspend")

    def resume_tenant(self, tenant_id: str) -> Document:
        return self._json("POST", f"{_tenant(tenant_id)}/resume")

    def delete_tenant(self, tenant_id: str) -> Document:
        return self._json("DELETE", _tenant(tenant_id))

    def everybodys_runs(self, **filters: Any) -> Iterator[Document]:
        """Newest first; filters as of GET /v1/admin/runs."""
        return self._pages(f"{ADMIN}/runs", filters)

    def kill(self, run_id: str) -> Document:
        return self._json("POST", f"{ADMIN}/runs/{quote(run_id, safe='')}/kill")

    def engine(self) -> Document:
        return self._json("GET", f"{ADMIN}/engine")

    def set_mode(self, action: str, body: Mapping[str, Any] | None = None) -> Document:
        """`drain`, `resume`, or `maintenance` with its message."""
        return self._json("POST", f"{ADMIN}/engine/{action}", **({"json": dict(body)} if body else {}))

    def admin_environments(self) -> list[Document]:
        return list(self._json("GET", f"{ADMIN}/environments")["items"])

    def sweep(self) -> int:
        return int(self._json("POST", f"{ADMIN}/sweep")["removed"])

    def days(self, **filters: Any) -> Iterator[Document]:
        """What each tenant used by day; filters as of GET /v1/admin/usage."""
        return self._pages(f"{ADMIN}/usage", filters)

    def audit(self, **filters: Any) -> Iterator[Document]:
        """Rows of the audit log, newest first; filters as of GET /v1/admin/audit."""
        return self._pages(f"{ADMIN}/audit", filters)

    def export_audit(self) -> Iterator[Document]:
        """All rows, the first first, as they come."""
        with self._open("GET", f"{ADMIN}/audit/export") as answer:
            rest = b""
            for chunk in answer.iter_content(64 * 1024):
                *lines, rest = (rest + chunk).split(b"\n")
                yield from map(json_object, lines)
            if rest:
                yield json_object(rest)


def line_of(row: Document) -> str:
    """A row as a line of an export."""
    return json.dumps(row)


def _tenant(tenant_id: str) -> str:
    return f"{ADMIN}/tenants/{quote(tenant_id, safe='')}"


def _keys(tenant_id: str | None) -> str:
    return "/v1/keys" if tenant_id is None else f"{_tenant(tenant_id)}/keys"


def _key(tenant_id: str | None, key_id: str) -> str:
    return f"{_keys(tenant_id)}/{quote(key_id, safe='')}"
