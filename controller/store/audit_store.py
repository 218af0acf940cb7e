"""What the audit log is: who did what, and from where, in rows that are only added. Each row's hash covers the one
before it, so whoever changes, removes or inserts a row must write all later ones anew, and cannot where somebody has
kept the last one's hash (docs/decisions/0013-audit-chain.md).

Nothing here knows a database: an exported log is checked by the same functions.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any, Protocol

from controller.model import Word

FIRST = "0" * 64
"""What stands before the first row."""


class Entry(Word):
    """What is to be written down. `tenant_id` and `key_id` are who: empty for a stranger, and for the server itself;
    `subject` is the id of what it was done to; `details` are values of JSON, and never a secret."""

    action: str
    at: datetime
    subject: str = ""
    tenant_id: str = ""
    key_id: str = ""
    address: str = ""
    request_id: str = ""
    details: dict[str, Any] = {}


class AuditRow(Word):
    """A row as it is stored: all text, `details` as canonical JSON."""

    number: int
    at: str
    tenant_id: str
    key_id: str
    action: str
    subject: str
    address: str
    request_id: str
    details: str
    hash: str

    def document(self) -> dict[str, Any]:
        """As the API and an export show it; details that are no JSON, as only tampering leaves, as the text."""
        try:
            details = json.loads(self.details)
        except ValueError:
            details = self.details
        return self.model_dump() | {"details": details}


class Broken(Word):
    """The first row that is not what was written."""

    number: int
    why: str


class Head(Word):
    """The last row: whoever keeps it elsewhere can tell later that nothing up to it was changed."""

    number: int
    hash: str


class AuditFilter(Word):
    """Which rows a list shows; what is None does not matter."""

    action: str | None = None
    tenant_id: str | None = None
    before: int | None = None


def next_row(entry: Entry, last: Head) -> AuditRow:
    """The row of an entry, behind the last one."""
    fields = {
        "number": last.number + 1,
        "at": entry.at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        **{name: getattr(entry, name) for name in ("tenant_id", "key_id", "action", "address", "request_id")},
        "subject": entry.subject[:100],
        "details": _canonical(entry.details),
    }
    return AuditRow(**fields, hash=_hash(last.hash, fields))


def row_of(document: dict[str, Any]) -> AuditRow:
    """The row that an export's line shows. ValueError when it is none."""
    details = document.get("details")
    return AuditRow.model_validate(document | {"details": details if isinstance(details, str) else _canonical(details)})


def verify(rows: Iterable[AuditRow], kept: Head | None = None) -> Head | Broken:
    """Follow the chain from the first row: its head, or the first row that is broken.

    `kept` is a head that was written down earlier: that row must still be there, with its hash.
    """
    last = Head(number=0, hash=FIRST)
    for row in rows:
        if row.number != last.number + 1:
            return Broken(number=last.number + 1, why=f"is missing: row {row.number} follows row {last.number}")
        fields = row.model_dump(exclude={"hash"})
        if row.hash != _hash(last.hash, fields):
            return Broken(number=row.number, why="was changed, or what stood before it was")
        last = Head(number=row.number, hash=row.hash)
        if kept is not None and kept.number == row.number and kept.hash != row.hash:
            return Broken(number=row.number, why="is not the row that was there when its hash was kept")
    if kept is not None and kept.number > last.number:
        return Broken(number=last.number + 1, why=f"is missing: the log once had {kept.number} rows")
    return last


def _hash(previous: str, fields: dict[str, Any]) -> str:
    return hashlib.sha256(f"{previous}\n{_canonical(fields)}".encode()).hexdigest()


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


class Audit(Protocol):
    """Every such store keeps tests/contract/audit_store_contract.py. A change and its entry are one transaction: the
    other stores take the entry along."""

    def append(self, entry: Entry) -> None:
        """What goes with no change of a row: a refusal, a run that was killed."""

    def page(self, wanted: AuditFilter, limit: int) -> list[AuditRow]:
        """Newest first."""

    def rows(self) -> Iterator[AuditRow]:
        """All of them, the first first, as they are in the database; read in parts."""
