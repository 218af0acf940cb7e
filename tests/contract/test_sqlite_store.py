"""The store on SQLite keeps the store's contract, and two promises of its own."""

import sqlite3

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import event
from store_contract import NOW, StoreContract, a_run

from controller.errors import StoreError
from controller.model import Status
from controller.store.base import RunFilter
from controller.store.database import Database
from controller.store.tables import metadata


class TestSqliteStore(StoreContract):
    def test_the_migrations_make_the_tables_of_the_code(self, database):
        """Nobody changed a table and forgot its migration."""
        with database.reading() as connection:
            differences = compare_metadata(MigrationContext.configure(connection), metadata)

        assert differences == []

    @pytest.mark.parametrize(
        "wanted",
        [
            RunFilter(),
            RunFilter(status=Status.FAILED),
            RunFilter(script_sha256="0" * 64),
            RunFilter(batch_id="bat_1"),
            RunFilter(created_after=NOW, created_before=NOW),
        ],
        ids=str,
    )
    def test_a_page_is_read_from_an_index_in_its_order(self, store, database, wanted):
        """Nothing is sorted and nothing scanned, so a page costs the same at a million runs (benchmarks/lists.py)."""
        asked = []

        def remember(connection, cursor, statement, values, *_):
            asked.append((statement, values))

        with database.reading() as connection:
            event.listen(connection.engine, "before_cursor_execute", remember)
            store.runs("ten_a", 50, wanted, (NOW, "run_x"))
            event.remove(connection.engine, "before_cursor_execute", remember)
            plans = [
                row[3]
                for statement, values in asked
                for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)
            ]

        assert len(plans) == 2
        assert all(plan.startswith("SEARCH runs USING INDEX") and "TEMP" not in plan for plan in plans), plans

    def test_a_broken_database_has_a_name(self, store, tmp_path):
        """A file that is no database is a StoreError, not a driver's exception."""
        store.close()
        (tmp_path / "airlock.db").write_bytes(b"this is not a database, and it is long enough to look at" * 100)
        for suffix in ("-wal", "-shm"):
            (tmp_path / f"airlock.db{suffix}").unlink(missing_ok=True)

        with pytest.raises(StoreError, match="not a database"):
            Database(f"sqlite:///{tmp_path / 'airlock.db'}").check()

    def test_a_database_that_is_gone_or_replaced_has_a_name(self, store, tmp_path):
        """SQLite would go on writing into the deleted file: what was accepted then would be lost."""
        store.add_run(a_run("run_1"), 10)
        path = tmp_path / "airlock.db"
        path.rename(tmp_path / "elsewhere")

        with pytest.raises(StoreError, match="gone"):
            store.add_run(a_run("run_2"), 10)
        with pytest.raises(StoreError, match="gone"):
            store.run("ten_a", "run_1")
        path.write_bytes(b"")
        with pytest.raises(StoreError, match="replaced"):
            store.add_run(a_run("run_2"), 10)
        path.unlink()
        (tmp_path / "elsewhere").rename(path)

        store.add_run(a_run("run_3"), 10)
        assert store.known_runs(["run_1", "run_2", "run_3"]) == {"run_1", "run_3"}

    def test_a_database_that_is_locked_has_a_name(self, store, tmp_path, monkeypatch):
        """When another writer does not come to its end: a StoreError, and afterwards all is well."""
        monkeypatch.setattr("controller.store.database._BUSY_MILLISECONDS", 50)
        impatient = Database(f"sqlite:///{tmp_path / 'airlock.db'}")
        other = sqlite3.connect(tmp_path / "airlock.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")

        with pytest.raises(StoreError, match="locked"), impatient.writing():
            pass
        other.execute("ROLLBACK")
        other.close()

        with impatient.writing() as connection:
            assert connection.exec_driver_sql("SELECT count(*) FROM runs").scalar() == 0
        impatient.close()

    def test_a_row_that_was_looked_up_holds_nothing_open(self, store, tmp_path):
        """Whoever reads keeps the write-ahead log from being emptied: it would grow for ever."""
        store.add_run(a_run("run_1"), 10)
        other = sqlite3.connect(tmp_path / "airlock.db", isolation_level=None)

        found = [store.run("ten_a", "run_1"), store.run("ten_b", "run_1"), store.cancel_requested("run_1")]
        (busy, *_), *_ = other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        other.close()

        assert (found[0].id, found[1:], busy) == ("run_1", [None, False], 0)

    def test_what_was_accepted_is_on_the_disk(self, store, database, tmp_path):
        """A second connection, as after a crash, sees the row; commits wait for the disk (synchronous=FULL)."""
        store.add_run(a_run("run_1"), 10)

        other = sqlite3.connect(tmp_path / "airlock.db")
        ids = other.execute("SELECT id FROM runs").fetchall()
        other.close()
        with database.reading() as connection:
            synchronous = connection.exec_driver_sql("PRAGMA synchronous").scalar()

        assert (ids, synchronous) == ([("run_1",)], 2)

    def test_a_deleted_run_leaves_no_bytes_in_the_file(self, store, tmp_path):
        """Deleted means gone: neither the database nor its log holds the row's text."""
        run = a_run("run_1").model_copy(update={"script_sha256": "feedface" * 8})
        store.add_run(run, 10)
        store.request_cancel("ten_a", "run_1", NOW)

        store.delete_run("ten_a", "run_1")
        store.close()

        bytes_left = b"".join(path.read_bytes() for path in tmp_path.glob("airlock.db*"))
        assert b"feedface" not in bytes_left
