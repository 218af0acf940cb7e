"""Stored scripts: their versions and tags, and which of them a run executes.

Revision ID: 0006
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.create_table(
        "script_versions",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("tenant_id", sa.String(40), nullable=False),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("description", sa.String(1000), nullable=False),
        sa.Column("script_sha256", sa.String(64), nullable=False),
        sa.Column("script_bytes", sa.BigInteger(), nullable=False),
        sa.Column("bundle_sha256", sa.String(64)),
        sa.Column("bundle_bytes", sa.BigInteger(), nullable=False),
        sa.Column("defaults", sa.JSON(), nullable=False),
        sa.Column("parameters", sa.JSON()),
        sa.Column("samples", sa.JSON(), nullable=False),
        sa.Column("digest", sa.String(200)),
        sa.Column("content_sha256", sa.String(64), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("deleted_at", sa.DateTime()),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_script_versions_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_script_versions")),
        sa.UniqueConstraint("tenant_id", "name", "version", name=op.f("uq_script_versions_tenant_id_name_version")),
    )
    listed = ["tenant_id", "created_at", "id"]
    op.create_index(op.f("ix_script_versions_" + "_".join(listed)), "script_versions", listed)
    op.create_table(
        "script_tags",
        sa.Column("tenant_id", sa.String(40), nullable=False),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("tag", sa.String(50), nullable=False),
        sa.Column("version_id", sa.String(40), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_script_tags_tenant_id")),
        sa.ForeignKeyConstraint(["version_id"], ["script_versions.id"], name=op.f("fk_script_tags_version_id")),
        sa.PrimaryKeyConstraint("tenant_id", "name", "tag", name=op.f("pk_script_tags")),
    )
    op.create_index(op.f("ix_script_tags_version_id"), "script_tags", ["version_id"])
    op.add_column("runs", sa.Column("script", sa.JSON()))
