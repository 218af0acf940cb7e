"""API keys: shown once, provable, and worthless from the database alone."""

from datetime import UTC, datetime, timedelta

import pytest

from controller.errors import InvalidRequest, Unauthorized
from controller.model import SCOPES
from controller.services import key_text, tenants
from controller.services.key_text import mint
from controller.store.audit_store import Entry
from controller.store.database import Database
from controller.store.tenants import SqlTenants

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PEPPER = b"p" * 32


@pytest.fixture
def store(tmp_path):
    database = Database(f"sqlite:///{tmp_path / 'airlock.db'}")
    database.migrate()
    yield SqlTenants(database)
    database.close()


def test_the_first_key_is_made_once(store):
    """The first start gets a key with every scope; the second gets none."""
    key = tenants.first_key(store, PEPPER, NOW)

    assert tenants.authenticate(store, PEPPER, key, NOW).scopes == set(SCOPES)
    assert tenants.first_key(store, PEPPER, NOW) is None


def test_the_first_key_may_be_the_operators_own(store):
    """One that was made elsewhere, whole; anything else is refused, and makes no key."""
    own = mint("alk", b"elsewhere").text

    with pytest.raises(InvalidRequest, match="is none"):
        tenants.first_key(store, PEPPER, NOW, own[:-1])
    assert not store.has_keys()
    assert tenants.first_key(store, PEPPER, NOW, own) == own
    assert tenants.authenticate(store, PEPPER, own, NOW).scopes == set(SCOPES)


def test_the_secret_is_nowhere_in_the_database(store, tmp_path):
    """Only a keyed hash of it is stored."""
    key = tenants.first_key(store, PEPPER, NOW)

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
        tenants.authenticate(store, PEPPER, f"{body}_{key_text._checksum(body)}", NOW)


def test_another_servers_pepper_proves_nothing(store):
    """A copied database is of no use without the pepper file."""
    key = tenants.first_key(store, PEPPER, NOW)

    with pytest.raises(Unauthorized):
        tenants.authenticate(store, b"q" * 32, key, NOW)


@pytest.mark.parametrize("field", ["expires_at", "revoked_at"])
def test_an_ended_key_is_refused(store, field):
    """At the moment of its end, and in the same words as an unknown one."""
    tenants.first_key(store, PEPPER, NOW)
    tenant = store.named("default")
    minted = mint("alk", PEPPER)
    ended = {"expires_at": NOW + timedelta(hours=1), "revoked_at": NOW}[field]
    key = tenants.key_of(minted, tenant.id, "short", ("run",), NOW).model_copy(update={field: ended})
    store.add_key(key, 9, Entry(action="test", at=NOW))

    with pytest.raises(Unauthorized, match="unknown, expired or revoked"):
        tenants.authenticate(store, PEPPER, minted.text, NOW + timedelta(hours=1))


def test_the_pepper_is_made_once_and_private(tmp_path):
    """The same bytes at every start, readable by the server alone."""
    first = tenants.read_pepper(tmp_path / "pepper")

    again = tenants.read_pepper(tmp_path / "pepper")

    assert first == again
    assert len(first) == 32
    assert (tmp_path / "pepper").stat().st_mode & 0o077 == 0
