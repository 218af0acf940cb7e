"""What a receipt says, word for word (docs/receipts.md explains each)."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from controller.model import (
    Compression,
    Dtypes,
    Environment,
    Format,
    Limits,
    Profile,
    Reading,
    Reason,
    Slice,
    Status,
    Timings,
    Usage,
    Word,
)


class FileHash(Word):
    """A file's bytes, by their SHA-256 and number; both are null when the file was no longer there."""

    sha256: str | None
    bytes: int | None


class ReceiptInput(FileHash):
    """A table as it was handed in."""

    port: int
    format: Format
    compression: Compression | None
    slice: Slice | None
    reading: Reading


class ReceiptTable(FileHash):
    """A table that the run wrote."""

    port: int
    format: Format


class ReceiptImage(FileHash):
    """An image that the run left."""

    name: str
    type: str


class ReceiptLog(FileHash):
    """The log as the API gives it as text."""

    truncated: bool


class ReceiptOutputs(Word):
    tables: tuple[ReceiptTable, ...]
    images: tuple[ReceiptImage, ...]
    log: ReceiptLog


class ReceiptEngine(Word):
    """What the engine said of itself when the receipt was made; `controls` are the walls in force."""

    name: str
    version: str
    runtime: str
    runtime_version: str | None
    cgroup_version: str
    cgroup_driver: str
    controls: dict[str, bool]


class Receipt(Word):
    """All of a receipt that is signed."""

    version: Literal[1] = 1
    airlock_version: str
    issued_at: datetime
    run_id: str
    tenant_id: str
    status: Status
    reason: Reason | None
    error_code: str | None
    warnings: tuple[str, ...]
    attempt: int
    reused_from: str | None
    rerun_of: str | None
    batch_id: str | None
    item: int | None
    script_sha256: str
    inputs: tuple[ReceiptInput, ...]
    bundle: FileHash | None
    parameters_sha256: str
    profile: Profile
    dtypes: Dtypes
    environment: Environment
    engine: ReceiptEngine | None
    limits: Limits
    usage: Usage
    timings: Timings
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    outputs: ReceiptOutputs


class ReceiptSignature(Word):
    """`key_id` is the SHA-256 of the raw public key; the other two are base64."""

    algorithm: Literal["Ed25519"]
    key_id: str
    public_key: str
    signature: str


class SignedReceipt(Receipt):
    """A receipt."""

    signature: ReceiptSignature
