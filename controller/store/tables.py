"""The tables. A change here needs a migration beside it (`make migration`); a test compares the two."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    false,
)
from sqlalchemy.engine import Dialect

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)


class UtcTime(TypeDecorator[datetime]):
    """A moment, always with its zone in Python and always UTC in the database (SQLite keeps no zones)."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return value.astimezone(UTC).replace(tzinfo=None) if value else None

    def process_result_value(self, value: Any | None, dialect: Dialect) -> datetime | None:
        return value.replace(tzinfo=UTC) if value else None


tenants = Table(
    "tenants",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("name", String(100), nullable=False, unique=True),
    Column("created_at", UtcTime, nullable=False),
    Column("quotas", JSON, nullable=False, server_default="{}"),  # those that differ from the server's
    Column("suspended_at", UtcTime),
    Column("deleting_at", UtcTime),  # its deletion was asked for, and is under way
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("tenant_id", ForeignKey("tenants.id"), nullable=False, index=True),
    Column("name", String(100), nullable=False),
    Column("mac", String(64), nullable=False),  # HMAC-SHA-256 of the secret, keyed with the server's pepper
    Column("scopes", JSON, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("expires_at", UtcTime),
    Column("revoked_at", UtcTime),
    Column("last_used_at", UtcTime),  # by the minute
    Column("replaced_by", String(40)),  # the key that it was rotated to
)

usage_days = Table(
    "usage_days",
    metadata,
    Column("tenant_id", ForeignKey("tenants.id"), primary_key=True),
    Column("day", Date, primary_key=True),  # UTC
    Column("runs", Integer, nullable=False),
    Column("run_seconds", Float, nullable=False),
    Column("cpu_seconds", Float, nullable=False),
    Index(None, "day", "tenant_id"),
)

server_state = Table(
    "server_state",
    metadata,
    Column("name", String(40), primary_key=True),
    Column("value", JSON, nullable=False),
    Column("changed_at", UtcTime, nullable=False),
)

# Text only, so that a row that somebody tampered with can still be read and shown. Triggers refuse UPDATE and DELETE.
audit_log = Table(
    "audit_log",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False),  # without gaps, from 1
    Column("at", String(40), nullable=False),
    Column("tenant_id", String(40), nullable=False),  # who: both are empty where nobody was known
    Column("key_id", String(40), nullable=False),
    Column("action", String(40), nullable=False),
    Column("subject", String(100), nullable=False),
    Column("address", String(100), nullable=False),
    Column("request_id", String(40), nullable=False),
    Column("details", Text, nullable=False),
    Column("hash", String(64), nullable=False),
    Index(None, "action", "number"),
    Index(None, "tenant_id", "number"),
)

runs = Table(
    "runs",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("tenant_id", ForeignKey("tenants.id"), nullable=False),
    Column("status", String(16), nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("cancel_requested", Integer, nullable=False, default=0),
    Column("script_sha256", String(64), nullable=False),
    Column("script", JSON(none_as_null=True)),  # name and version, of a stored one
    Column("content_sha256", String(64)),  # only of runs that may be reused
    Column("environment", String(100), nullable=False),
    Column("job", JSON, nullable=False),
    Column("limits", JSON, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("started_at", UtcTime),
    Column("finished_at", UtcTime),
    Column("outcome", JSON),
    Column("task", String(16), nullable=False, server_default="run"),
    Column("priority", String(16), nullable=False, server_default="normal"),
    Column("at_most_once", Boolean, nullable=False, server_default=false()),
    Column("failures", Integer, nullable=False, server_default="0"),
    Column("not_before", UtcTime),  # of a run that waits before it is begun again
    Column("owner", String(40)),  # the server process that claimed it
    Column("lease_until", UtcTime),  # after this moment, the owner is taken for dead
    Column("rerun_of", String(40)),
    Column("batch_id", String(40)),
    Column("endpoint_id", String(40)),  # of a call, or a job
    Column("item", Integer),
    Column("input_bytes", BigInteger, nullable=False, server_default="0"),
    Column("output_bytes", BigInteger, nullable=False, server_default="0"),
    Column("log_file_bytes", BigInteger, nullable=False, server_default="0"),
    Column("removed", JSON, nullable=False, server_default="[]"),
    Index(None, "status", "created_at"),
    Index(None, "tenant_id", "content_sha256"),
    # One for each filter of a list, so that each page costs the same at a million runs.
    Index(None, "tenant_id", "task", "created_at", "id"),
    Index(None, "tenant_id", "task", "status", "created_at", "id"),
    Index(None, "tenant_id", "task", "script_sha256", "created_at", "id"),
    Index(None, "batch_id", "created_at", "id"),
    Index(None, "batch_id", "status", "item", "finished_at"),  # all that is counted of a batch
    Index(None, "tenant_id", "finished_at"),
    Index(None, "tenant_id", "input_bytes", "output_bytes", "log_file_bytes"),  # summed for the quota
    Index(None, "created_at", "id"),  # everybody's, for the operator
    Index(None, "endpoint_id", "created_at", "id"),
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("tenant_id", ForeignKey("tenants.id"), primary_key=True),
    Column("key", String(255), primary_key=True),
    Column("payload_sha256", String(64), nullable=False),
    Column("resource_id", String(40), nullable=False, index=True),  # what the first request made
    Column("created_at", UtcTime, nullable=False, index=True),
)

dataset_versions = Table(
    "dataset_versions",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("tenant_id", ForeignKey("tenants.id"), nullable=False),
    Column("name", String(100), nullable=False),
    Column("version", Integer, nullable=False),
    Column("run_id", String(40), nullable=False, index=True),  # of its ingest; gone when the version was deleted
    Column("format", String(16), nullable=False),
    Column("compression", String(16)),
    Column("source_bytes", BigInteger, nullable=False),
    Column("source_sha256", String(64), nullable=False),
    Column("content_sha256", String(64), nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("deleted_at", UtcTime),  # the row stays: its number is never given again
    UniqueConstraint("tenant_id", "name", "version"),
    Index(None, "tenant_id", "created_at", "id"),
)

script_versions = Table(
    "script_versions",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("tenant_id", ForeignKey("tenants.id"), nullable=False),
    Column("name", String(100), nullable=False),
    Column("version", Integer, nullable=False),
    Column("description", String(1000), nullable=False),
    Column("script_sha256", String(64), nullable=False),
    Column("script_bytes", BigInteger, nullable=False),
    Column("bundle_sha256", String(64)),
    Column("bundle_bytes", BigInteger, nullable=False),
    Column("defaults", JSON, nullable=False),  # options of its runs
    Column("parameters", JSON(none_as_null=True)),  # those that it declares; without any, all are taken
    Column("samples", JSON, nullable=False),  # tables to try it with
    Column("digest", String(200)),  # of the environment's image when it was put
    Column("content_sha256", String(64), nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("deleted_at", UtcTime),  # the row stays: its number is never given again
    UniqueConstraint("tenant_id", "name", "version"),
    Index(None, "tenant_id", "created_at", "id"),
)

script_tags = Table(
    "script_tags",
    metadata,
    Column("tenant_id", ForeignKey("tenants.id"), primary_key=True),
    Column("name", String(100), primary_key=True),
    Column("tag", String(50), primary_key=True),
    Column("version_id", ForeignKey("script_versions.id"), nullable=False, index=True),
)

endpoints = Table(
    "endpoints",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("tenant_id", ForeignKey("tenants.id"), nullable=False),
    Column("name", String(100), nullable=False),
    Column("script", JSON, nullable=False),  # name, and a version's number or a tag
    Column("previous", JSON(none_as_null=True)),  # what it was before the last change
    Column("config", JSON, nullable=False),
    Column("signature", JSON(none_as_null=True)),  # of its tables, as its sample run had them
    Column("primary_id", String(40), nullable=False, unique=True),
    Column("primary_mac", String(64), nullable=False),
    Column("secondary_id", String(40), nullable=False, unique=True),
    Column("secondary_mac", String(64), nullable=False),
    Column("revision", Integer, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("updated_at", UtcTime, nullable=False),
    UniqueConstraint("tenant_id", "name"),
)

endpoint_calls = Table(
    "endpoint_calls",
    metadata,
    Column("endpoint_id", ForeignKey("endpoints.id"), primary_key=True),
    Column("day", String(10), primary_key=True),
    Column("ending", String(16), primary_key=True),
    Column("bucket", Integer, primary_key=True, autoincrement=False),  # of the seconds that they took
    Column("calls", BigInteger, nullable=False),
)

jobs = Table(
    "jobs",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("endpoint_id", ForeignKey("endpoints.id"), nullable=False),
    Column("tenant_id", ForeignKey("tenants.id"), nullable=False),
    Column("request", JSON, nullable=False),
    Column("run_id", String(40), index=True),  # of one that was started
    Column("cancelled", Boolean, nullable=False, server_default=false()),
    Column("created_at", UtcTime, nullable=False, index=True),
    Index(None, "endpoint_id", "run_id", "cancelled"),  # those that were not started are counted for each new one
)

batches = Table(
    "batches",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("tenant_id", ForeignKey("tenants.id"), nullable=False),
    Column("template", JSON, nullable=False),  # what all items' runs have in common
    Column("source", JSON, nullable=False),  # the tables that were asked for
    Column("parallel", Integer, nullable=False),
    Column("total", Integer),  # items; not known before the group run has ended
    Column("cancel_requested", Boolean, nullable=False, server_default=false()),
    Column("error", JSON),  # why it could not be prepared
    Column("group_run_id", String(40)),
    Column("output_run_id", String(40)),
    Column("created_at", UtcTime, nullable=False),
    Column("begun_at", UtcTime),  # or begun again
    Column("finished_at", UtcTime),
    Column("own_bytes", BigInteger, nullable=False, server_default="0"),
    Index(None, "tenant_id", "created_at", "id"),
    Index(None, "tenant_id", "own_bytes"),  # summed for the quota
    Index(None, "finished_at"),
)

batch_items = Table(
    "batch_items",
    metadata,
    Column("batch_id", ForeignKey("batches.id"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("label", JSON, nullable=False),
    Column("dataset", JSON),  # where each item has one of its own
    Column("first_row", BigInteger),  # of the slice, counted from 0
    Column("rows", BigInteger),
    Column("run_id", String(40)),  # its present run; how the item stands is what that run says
    Column("retries", Integer, nullable=False, server_default="0"),
    Index(None, "batch_id", "run_id", "number"),
)

batch_datasets = Table(
    "batch_datasets",
    metadata,
    Column("batch_id", ForeignKey("batches.id"), primary_key=True),
    Column("version_id", String(40), primary_key=True, index=True),
)
