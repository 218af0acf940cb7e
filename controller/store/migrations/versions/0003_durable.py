"""Leases, retries, priorities, batches and retention of runs; idempotency keys."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_COLUMNS: tuple[sa.Column[Any], ...] = (
    sa.Column("task", sa.String(16), nullable=False, server_default="run"),
    sa.Column("priority", sa.String(16), nullable=False, server_default="normal"),
    sa.Column("at_most_once", sa.Boolean(), nullable=False, server_default=sa.false()),
    sa.Column("failures", sa.Integer(), nullable=False, server_default="0"),
    sa.Column("not_before", sa.DateTime()),
    sa.Column("owner", sa.String(40)),
    sa.Column("lease_until", sa.DateTime()),
    sa.Column("rerun_of", sa.String(40)),
    sa.Column("batch_id", sa.String(40)),
    sa.Column("item", sa.Integer()),
    sa.Column("input_bytes", sa.BigInteger(), nullable=False, server_default="0"),
    sa.Column("output_bytes", sa.BigInteger(), nullable=False, server_default="0"),
    sa.Column("log_file_bytes", sa.BigInteger(), nullable=False, server_default="0"),
    sa.Column("removed", sa.JSON(), nullable=False, server_default="[]"),
)
_INDEXES = (
    ("tenant_id", "task", "created_at", "id"),
    ("tenant_id", "task", "status", "created_at", "id"),
    ("tenant_id", "task", "script_sha256", "created_at", "id"),
    ("batch_id", "created_at", "id"),
    ("tenant_id", "finished_at"),
)


def upgrade() -> None:
    for column in _COLUMNS:
        op.add_column("runs", column)
    op.drop_index(op.f("ix_runs_tenant_id_created_at_id"), "runs")
    for columns in _INDEXES:
        op.create_index(op.f("ix_runs_" + "_".join(columns)), "runs", list(columns))
    op.create_table(
        "idempotency_keys",
        sa.Column("tenant_id", sa.String(40), nullable=False),
        sa.Column("key", sa.String(255), nullable=False),
        sa.Column("payload_sha256", sa.String(64), nullable=False),
        sa.Column("resource_id", sa.String(40), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_idempotency_keys_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "key", name=op.f("pk_idempotency_keys")),
    )
    op.create_index(op.f("ix_idempotency_keys_resource_id"), "idempotency_keys", ["resource_id"])
    op.create_index(op.f("ix_idempotency_keys_created_at"), "idempotency_keys", ["created_at"])
