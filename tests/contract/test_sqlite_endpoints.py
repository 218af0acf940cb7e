"""The store of endpoints on SQLite keeps its contract."""

from __future__ import annotations

import pytest
from endpoint_store_contract import EndpointStoreContract

from controller.store.endpoints import SqlEndpoints
from controller.store.scripts import SqlScripts


@pytest.fixture
def scripts(database):
    return SqlScripts(database)


@pytest.fixture
def endpoints(database):
    return SqlEndpoints(database)


class TestSqliteEndpoints(EndpointStoreContract):
    pass
