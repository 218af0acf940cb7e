"""The stores of tenants and of the audit log on SQLite keep their contracts, and what only SQLite can be asked."""

from __future__ import annotations

import contextlib
import sqlite3

import pytest
import tenant_store_contract
from audit_store_contract import AuditStoreContract
from store_contract import a_run as make_run
from tenant_store_contract import NOW, TenantStoreContract, an_entry

from controller.errors import StoreError
from controller.store import trail
from controller.store.audit import SqlAudit
from controller.store.audit_store import Broken, Head, verify
from controller.store.erasure import owned
from controller.store.state import SqlState
from controller.store.tables import metadata

NOBODYS = {"audit_log", "server_state"}


@pytest.fixture
def audit(database):
    return SqlAudit(database)


@pytest.fixture
def a_run():
    return make_run


@pytest.fixture
def refuse_audit(monkeypatch):
    """Within it, no row of the audit log can be written."""

    @contextlib.contextmanager
    def refuse():
        def append(db, entry):
            raise StoreError("no room in the log")

        with monkeypatch.context() as patch:
            patch.setattr(trail, "append", append)
            yield

    return refuse


class TestSqliteTenants(TenantStoreContract):
    def test_every_table_belongs_to_tenants_or_is_known_not_to(self):
        """A table that is added later is deleted with its tenant, or somebody has said why not."""
        kept = {table.name for table in metadata.sorted_tables if owned(table, "ten_a") is None}

        assert kept == NOBODYS

    def test_a_day_of_a_leap_year_and_a_clock_set_back_are_nothing_special(self, store, tenants):
        """What began after now has run for no time."""
        store.add_run(make_run("run_1"), 10)
        store.claim("run_1", tenant_store_contract.CLAIM, tenant_store_contract.LATER)

        assert tenants.in_use("ten_a", NOW).run_seconds == 0


class TestSqliteAudit(AuditStoreContract):
    @pytest.mark.parametrize("statement", ["UPDATE audit_log SET action = 'b'", "DELETE FROM audit_log"])
    def test_the_database_refuses_to_change_the_log(self, audit, tmp_path, statement):
        """To any program, unless it removes the triggers first."""
        audit.append(an_entry())

        with (
            contextlib.closing(sqlite3.connect(tmp_path / "airlock.db")) as other,
            pytest.raises(sqlite3.IntegrityError, match="only added to"),
        ):
            other.execute(statement)

    @pytest.mark.parametrize(
        ("statement", "number", "why"),
        [
            ("UPDATE audit_log SET action = 'b' WHERE number = 3", 3, "changed"),
            ("UPDATE audit_log SET details = '{\"n\":2}' WHERE number = 1", 1, "changed"),
            ("UPDATE audit_log SET details = 'no JSON' WHERE number = 4", 4, "changed"),
            ("UPDATE audit_log SET hash = 'x' WHERE number = 2", 2, "changed"),
            ("DELETE FROM audit_log WHERE number = 3", 3, "missing"),
            ("DELETE FROM audit_log WHERE number = 1", 1, "missing"),
            ("DELETE FROM audit_log WHERE number > 3", 4, "missing"),
            ("UPDATE audit_log SET number = 9 WHERE number = 5", 5, "missing"),
        ],
    )
    def test_what_was_tampered_with_is_named(self, audit, tmp_path, statement, number, why):
        """The first row that is not what was written; of rows cut off at the end, by a head that was kept."""
        for n in range(5):
            audit.append(an_entry(details={"n": n}))
        kept = verify(audit.rows())
        assert isinstance(kept, Head)
        with contextlib.closing(sqlite3.connect(tmp_path / "airlock.db", isolation_level=None)) as other:
            for event in ("update", "delete"):
                other.execute(f"DROP TRIGGER audit_log_no_{event}")
            other.execute(statement)

        found = verify(audit.rows(), kept)

        assert isinstance(found, Broken)
        assert (found.number, why in found.why) == (number, True)

    def test_a_log_written_anew_differs_from_a_head_that_was_kept(self, audit):
        """Whoever has the database can make a whole chain, but not one with the hash that somebody else wrote down."""
        audit.append(an_entry())

        assert verify(audit.rows(), Head(number=1, hash="0" * 64)).number == 1
        assert isinstance(verify(audit.rows(), Head(number=1, hash="0" * 64)), Broken)


def test_the_servers_own_values_are_kept(database, audit):
    """The last one of each name, with its entry; what nobody wanted has none."""
    state = SqlState(database)
    assert state.get("mode") is None

    for n in range(2):
        state.put("mode", {"n": n}, an_entry(f"put.{n}"))

    assert state.get("mode") == {"n": 1}
    assert [row.action for row in audit.rows()] == ["put.0", "put.1"]
    state.note("mode", {"n": 2}, NOW)
    assert state.get("mode") == {"n": 2}
    assert len(list(audit.rows())) == 2
