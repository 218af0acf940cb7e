"""Contract suites are plain modules beside the tests that inherit them; what is SQLite's is made here."""

import sys
from pathlib import Path

import pytest

from controller.store.database import Database
from controller.store.sql import SqlStore
from controller.store.tenants import SqlTenants

sys.path.insert(0, str(Path(__file__).parent))


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
def tenants(database):
    """The tenants in the store that a test works with."""
    return SqlTenants(database)
