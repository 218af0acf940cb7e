"""The store of scripts on SQLite keeps its contract."""

from __future__ import annotations

import pytest
from script_store_contract import ScriptStoreContract

from controller.store.scripts import SqlScripts


@pytest.fixture
def scripts(database):
    return SqlScripts(database)


class TestSqliteScripts(ScriptStoreContract):
    pass
