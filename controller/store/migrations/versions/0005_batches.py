"""Batches: what their runs have in common, their items, and the datasets that they take tables from.

Revision ID: 0005
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.create_table(
        "batches",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("tenant_id", sa.String(40), nullable=False),
        sa.Column("template", sa.JSON(), nullable=False),
        sa.Column("source", sa.JSON(), nullable=False),
        sa.Column("parallel", sa.Integer(), nullable=False),
        sa.Column("total", sa.Integer()),
        sa.Column("cancel_requested", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("error", sa.JSON()),
        sa.Column("group_run_id", sa.String(40)),
        sa.Column("output_run_id", sa.String(40)),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("begun_at", sa.DateTime()),
        sa.Column("finished_at", sa.DateTime()),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_batches_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_batches")),
    )
    op.create_index(op.f("ix_batches_tenant_id_created_at_id"), "batches", ["tenant_id", "created_at", "id"])
    op.create_index(op.f("ix_batches_finished_at"), "batches", ["finished_at"])
    op.create_table(
        "batch_items",
        sa.Column("batch_id", sa.String(40), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("label", sa.JSON(), nullable=False),
        sa.Column("dataset", sa.JSON()),
        sa.Column("first_row", sa.BigInteger()),
        sa.Column("rows", sa.BigInteger()),
        sa.Column("run_id", sa.String(40)),
        sa.Column("retries", sa.Integer(), nullable=False, server_default="0"),
        sa.ForeignKeyConstraint(["batch_id"], ["batches.id"], name=op.f("fk_batch_items_batch_id")),
        sa.PrimaryKeyConstraint("batch_id", "number", name=op.f("pk_batch_items")),
    )
    op.create_index(
        op.f("ix_batch_items_batch_id_run_id_number"), "batch_items", ["batch_id", "run_id", "number"]
    )
    op.create_table(
        "batch_datasets",
        sa.Column("batch_id", sa.String(40), nullable=False),
        sa.Column("version_id", sa.String(40), nullable=False),
        sa.ForeignKeyConstraint(["batch_id"], ["batches.id"], name=op.f("fk_batch_datasets_batch_id")),
        sa.PrimaryKeyConstraint("batch_id", "version_id", name=op.f("pk_batch_datasets")),
    )
    op.create_index(op.f("ix_batch_datasets_version_id"), "batch_datasets", ["version_id"])
    counted = ["batch_id", "status", "item", "finished_at"]
    op.create_index(op.f("ix_runs_" + "_".join(counted)), "runs", counted)
