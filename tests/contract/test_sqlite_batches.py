"""The store of batches on SQLite keeps its contract."""

from __future__ import annotations

import pytest
from batch_store_contract import BatchStoreContract

from controller.store.batches import SqlBatches
from controller.store.database import Database
from controller.store.datasets import SqlDatasets
from controller.store.sql import SqlStore


@pytest.fixture
def database(tmp_path):
    made = Database(f"sqlite:///{tmp_path / 'airlock.db'}")
    made.migrate()
    yield made
    made.close()


@pytest.fixture
def store(database):
    return SqlStore(database)


@pytest.fixture
def datasets(database):
    return SqlDatasets(database)


@pytest.fixture
def batches(database):
    return SqlBatches(database)


class TestSqliteBatches(BatchStoreContract):
    pass
