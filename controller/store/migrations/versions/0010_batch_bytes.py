"""A batch's own files count for its tenant's quota: how many bytes they have, with an index to sum them by.

Batches of before have 0: what they keep is removed with them.

Revision ID: 0010
"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"

_SUMMED = ["tenant_id", "own_bytes"]


def upgrade() -> None:
    op.add_column("batches", sa.Column("own_bytes", sa.BigInteger(), nullable=False, server_default="0"))
    op.create_index(op.f("ix_batches_" + "_".join(_SUMMED)), "batches", _SUMMED)
