"""Tenants beside the first one, made as an operator makes them: in the server's own database."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime

import requests

from controller.model import SCOPES
from controller.services import tenants
from controller.store.database import Database
from controller.store.sql import SqlStore
from tests.running import RunningServer


def add_tenant(server: RunningServer, name: str, scopes: tuple[str, ...] = SCOPES) -> RunningServer:
    """The same server in the hands of another tenant, with a key of its own."""
    store = SqlStore(Database(f"sqlite:///{server.data_dir / 'airlock.db'}"))
    at = datetime.now(UTC)
    tenant_id = tenants.new_id("ten")
    store.add_tenant(tenant_id, name, at)
    pepper = tenants.read_pepper(server.data_dir / "pepper")
    key = tenants.create_key(store, pepper, tenant_id, name, scopes, at)
    store.close()
    other = dataclasses.replace(server, key=key, session=requests.Session())
    other.session.hooks = server.session.hooks
    return other
