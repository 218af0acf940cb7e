"""API keys: shown once, provable, and worthless from the database alone."""

from datetime import UTC, datetime, timedelta

import pytest

from controller.errors import Unauthorized
from controller.model import SCOPES
from controller.services import tenants
from controller.store.database import Database
from controller.store.sql import SqlStore

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PEPPER = b"p" * 32


@pytest.fixture
def store(tmp_path):
    database = Database(f"sqlite:///{tmp_path / 'airlock.db'}")
    database.migrate()
    yield SqlStore(database)
    database.close()


def test_the_first_key_is_made_once(store):
    """The first start gets a key with every scope; the second gets none."""
    key = tenants.first_key(store, PEPPER, NOW)

    assert tenants.authenticate(store, PEPPER, key, NOW).scopes == set(SCOPES)
    assert tenants.first_key(store, PEPPER, NOW) is None


def test_the_secret_is_nowhere_in_the_database(store, tmp_path):
    """Only a keyed hash of it is stored."""
    key = tenants.first_key(store, PEPPER, NOW)
    store.close()

    everything = b"".join(path.read_bytes() for path in tmp_path.glob("airlock.db*"))

    assert key.split("_")[2].encode() not in everything


@pytest.mark.parametrize(
    "change",
    [
        lambda key: key[:-1],
        lambda key: key + "0",
        lambda key: key.replace("alk_", "alx_"),
        lambda key: key[:25] + ("a" if key[25] != "a" else "b") + key[26:],
        lambda key: "",
        lambda key: "alk__" + "_",
        lambda key: key.upper(),
    ],
)
def test_a_changed_key_is_refused(store, change):
    """Cut, longer, other prefix, one letter different, empty."""
    key = tenants.first_key(store, PEPPER, NOW)

    with pytest.raises(Unauthorized):
        tenants.authenticate(store, PEPPER, change(key), NOW)


def test_a_forged_checksum_does_not_help(store):
    """A key whose checksum is right but whose secret is made up is refused."""
    key = tenants.first_key(store, PEPPER, NOW)
    prefix, key_id, secret, _ = key.split("_")
    body = f"{prefix}_{key_id}_{secret[::-1]}"

    with pytest.raises(Unauthorized, match="unknown, expired or revoked"):
        tenants.authenticate(store, PEPPER, f"{body}_{tenants._checksum(body)}", NOW)


def test_another_servers_pepper_proves_nothing(store):
    """A copied database is of no use without the pepper file."""
    key = tenants.first_key(store, PEPPER, NOW)

    with pytest.raises(Unauthorized):
        tenants.authenticate(store, b"q" * 32, key, NOW)


@pytest.mark.parametrize("field", ["expires_at", "revoked_at"])
def test_an_ended_key_is_refused(store, field):
    """At the moment of its end, and in the same words as an unknown one."""
    tenants.first_key(store, PEPPER, NOW)
    tenant = store.tenant_named("default")
    key = tenants.create_key(store, PEPPER, tenant, "short", ("run",), NOW)
    stored = store.key(key.split("_")[1])
    ended = {"expires_at": NOW + timedelta(hours=1), "revoked_at": NOW}[field]
    store.add_key(stored.model_copy(update={"id": "x" * 16, field: ended}))
    body = f"alk_{'x' * 16}_{key.split('_')[2]}"

    with pytest.raises(Unauthorized, match="unknown, expired or revoked"):
        tenants.authenticate(store, PEPPER, f"{body}_{tenants._checksum(body)}", NOW + timedelta(hours=1))


def test_the_pepper_is_made_once_and_private(tmp_path):
    """The same bytes at every start, readable by the server alone."""
    first = tenants.read_pepper(tmp_path / "pepper")

    again = tenants.read_pepper(tmp_path / "pepper")

    assert first == again
    assert len(first) == 32
    assert (tmp_path / "pepper").stat().st_mode & 0o077 == 0
