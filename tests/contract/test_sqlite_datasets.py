"""The store of datasets on SQLite keeps its contract."""

from __future__ import annotations

import pytest
from dataset_store_contract import DatasetStoreContract

from controller.store.datasets import SqlDatasets


@pytest.fixture
def datasets(database):
    return SqlDatasets(database)


class TestSqliteDatasets(DatasetStoreContract):
    pass
