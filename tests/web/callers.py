"""Tenants beside the first one, made as an operator makes them: in the server's own database."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime

import requests

from controller.model import SCOPES
from controller.services import tenants
from controller.services.key_text import mint
from controller.store.audit_store import Entry
from controller.store.database import Database
from controller.store.tenant_store import Tenant
from controller.store.tenants import SqlTenants
from tests.running import RunningServer


def add_tenant(server: RunningServer, name: str, scopes: tuple[str, ...] = SCOPES) -> RunningServer:
    """The same server in the hands of another tenant, with a key of its own."""
    database = Database(f"sqlite:///{server.data_dir / 'airlock.db'}")
    store, at = SqlTenants(database), datetime.now(UTC)
    tenant = Tenant(id=tenants.new_id("ten"), name=name, created_at=at)
    store.add(tenant, Entry(action="tenant.create", at=at, subject=tenant.id))
    pepper = tenants.read_pepper(server.data_dir / "pepper")
    minted = mint(tenants.KEY, pepper)
    key = tenants.key_of(minted, tenant.id, name, scopes, at)
    store.add_key(key, 1, Entry(action="key.create", at=at, subject=key.id))
    database.close()
    other = dataclasses.replace(server, key=minted.text, session=requests.Session())
    other.session.hooks = server.session.hooks
    return other
