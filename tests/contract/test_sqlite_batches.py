"""The store of batches on SQLite keeps its contract."""

from __future__ import annotations

import pytest
from batch_store_contract import BatchStoreContract

from controller.store.batches import SqlBatches
from controller.store.datasets import SqlDatasets


@pytest.fixture
def datasets(database):
    return SqlDatasets(database)


@pytest.fixture
def batches(database):
    return SqlBatches(database)


class TestSqliteBatches(BatchStoreContract):
    pass
