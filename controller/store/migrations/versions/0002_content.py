"""What a run's result depends on, so that an equal run finds it."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("runs", sa.Column("content_sha256", sa.String(64)))
    op.create_index(op.f("ix_runs_tenant_id_content_sha256"), "runs", ["tenant_id", "content_sha256"])
