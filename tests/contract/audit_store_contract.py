"""What every audit log promises (controller/store/audit_store.py). A test module inherits this and provides `audit`."""

from __future__ import annotations

import json
import threading

from tenant_store_contract import LATER, an_entry

from controller.store.audit_store import AuditFilter, Head, row_of, verify


class AuditStoreContract:
    def test_rows_come_back_in_order_and_chained(self, audit):
        """Number after number; each entry as it was."""
        for n in range(3):
            audit.append(an_entry(f"a.{n}", LATER, subject="run_1", tenant_id="ten_a", details={"n": n}))

        rows = list(audit.rows())

        assert [(row.number, row.action) for row in rows] == [(1, "a.0"), (2, "a.1"), (3, "a.2")]
        assert rows[2].document()["details"] == {"n": 2}
        assert rows[0].at == "2026-01-02T04:04:05.678901Z"
        assert verify(rows) == Head(number=3, hash=rows[2].hash)

    def test_many_writers_make_one_chain(self, audit):
        """Eight threads, five rows each: no number twice, none missing."""
        barrier = threading.Barrier(8)

        def race():
            barrier.wait()
            for _ in range(5):
                audit.append(an_entry())

        threads = [threading.Thread(target=race) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert verify(audit.rows()).number == 40

    def test_more_rows_than_are_read_at_once(self, audit):
        """The export has them all."""
        for _ in range(502):
            audit.append(an_entry())

        assert [row.number for row in audit.rows()] == list(range(1, 503))

    def test_lists_filter(self, audit):
        """By action, by tenant, before a number; newest first."""
        for n in range(4):
            audit.append(an_entry(f"a.{n % 2}", tenant_id=f"ten_{n // 2}"))

        def found(**wanted):
            return [row.number for row in audit.page(AuditFilter(**wanted), 10)]

        assert found() == [4, 3, 2, 1]
        assert found(action="a.1") == [4, 2]
        assert found(tenant_id="ten_0", action="a.0") == [1]
        assert found(before=3) == [2, 1]
        assert [row.number for row in audit.page(AuditFilter(), 1)] == [4]

    def test_an_export_can_be_checked_without_the_database(self, audit):
        """Line by line, as JSON, and whatever was in the details."""
        for text in ("\u00e4\u0000\x1b", "", "null"):
            audit.append(an_entry(details={"text": text, "n": 1.5, "none": None}))

        lines = [json.dumps(row.document()) for row in audit.rows()]

        assert verify(row_of(json.loads(line)) for line in lines).number == 3
