"""Endpoints: scripts that are published as services, their calls counted, and the jobs of their batch interface.

Revision ID: 0007
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.create_table(
        "endpoints",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("tenant_id", sa.String(40), nullable=False),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("script", sa.JSON(), nullable=False),
        sa.Column("previous", sa.JSON()),
        sa.Column("config", sa.JSON(), nullable=False),
        sa.Column("signature", sa.JSON()),
        sa.Column("primary_id", sa.String(40), nullable=False),
        sa.Column("primary_mac", sa.String(64), nullable=False),
        sa.Column("secondary_id", sa.String(40), nullable=False),
        sa.Column("secondary_mac", sa.String(64), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("updated_at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_endpoints_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_endpoints")),
        sa.UniqueConstraint("tenant_id", "name", name=op.f("uq_endpoints_tenant_id_name")),
        sa.UniqueConstraint("primary_id", name=op.f("uq_endpoints_primary_id")),
        sa.UniqueConstraint("secondary_id", name=op.f("uq_endpoints_secondary_id")),
    )
    op.create_table(
        "endpoint_calls",
        sa.Column("endpoint_id", sa.String(40), nullable=False),
        sa.Column("day", sa.String(10), nullable=False),
        sa.Column("ending", sa.String(16), nullable=False),
        sa.Column("bucket", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("calls", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["endpoint_id"], ["endpoints.id"], name=op.f("fk_endpoint_calls_endpoint_id")),
        sa.PrimaryKeyConstraint("endpoint_id", "day", "ending", "bucket", name=op.f("pk_endpoint_calls")),
    )
    op.create_table(
        "jobs",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("endpoint_id", sa.String(40), nullable=False),
        sa.Column("tenant_id", sa.String(40), nullable=False),
        sa.Column("request", sa.JSON(), nullable=False),
        sa.Column("run_id", sa.String(40)),
        sa.Column("cancelled", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(["endpoint_id"], ["endpoints.id"], name=op.f("fk_jobs_endpoint_id")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_jobs_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_jobs")),
    )
    for column in ("endpoint_id", "run_id", "created_at"):
        op.create_index(op.f(f"ix_jobs_{column}"), "jobs", [column])
    op.add_column("runs", sa.Column("endpoint_id", sa.String(40)))
    op.create_index(op.f("ix_runs_endpoint_id_created_at_id"), "runs", ["endpoint_id", "created_at", "id"])
