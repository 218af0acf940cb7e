"""Tenants that are hosted: quotas, what they used, keys that rotate; the audit log; the server's own state.

Revision ID: 0008
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"

_BYTES = ["tenant_id", "input_bytes", "output_bytes", "log_file_bytes"]


def upgrade() -> None:
    op.add_column("tenants", sa.Column("quotas", sa.JSON(), nullable=False, server_default="{}"))
    op.add_column("tenants", sa.Column("suspended_at", sa.DateTime()))
    op.add_column("tenants", sa.Column("deleting_at", sa.DateTime()))
    op.add_column("api_keys", sa.Column("last_used_at", sa.DateTime()))
    op.add_column("api_keys", sa.Column("replaced_by", sa.String(40)))
    op.create_index(op.f("ix_runs_" + "_".join(_BYTES)), "runs", _BYTES)
    op.create_index(op.f("ix_runs_created_at_id"), "runs", ["created_at", "id"])
    op.create_table(
        "usage_days",
        sa.Column("tenant_id", sa.String(40), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("runs", sa.Integer(), nullable=False),
        sa.Column("run_seconds", sa.Float(), nullable=False),
        sa.Column("cpu_seconds", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_usage_days_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "day", name=op.f("pk_usage_days")),
    )
    op.create_index(op.f("ix_usage_days_day_tenant_id"), "usage_days", ["day", "tenant_id"])
    op.create_table(
        "server_state",
        sa.Column("name", sa.String(40), nullable=False),
        sa.Column("value", sa.JSON(), nullable=False),
        sa.Column("changed_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_server_state")),
    )
    _audit_log()


def _audit_log() -> None:
    op.create_table(
        "audit_log",
        sa.Column("number", sa.Integer(), nullable=False, autoincrement=False),
        *(sa.Column(name, sa.String(length), nullable=False) for name, length in _TEXTS.items()),
        sa.Column("details", sa.Text(), nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_audit_log")),
    )
    op.create_index(op.f("ix_audit_log_action_number"), "audit_log", ["action", "number"])
    op.create_index(op.f("ix_audit_log_tenant_id_number"), "audit_log", ["tenant_id", "number"])
    for event in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER audit_log_no_{event.lower()} BEFORE {event} ON audit_log "
            "BEGIN SELECT RAISE(ABORT, 'the audit log is only added to'); END"
        )


_TEXTS = {
    "at": 40,
    "tenant_id": 40,
    "key_id": 40,
    "action": 40,
    "subject": 100,
    "address": 100,
    "request_id": 40,
}
