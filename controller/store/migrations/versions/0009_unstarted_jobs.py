"""Jobs that were not started are counted: the index of an endpoint's jobs says which they are.

Revision ID: 0009
"""

from alembic import op

revision = "0009"
down_revision = "0008"

_COUNTED = ["endpoint_id", "run_id", "cancelled"]


def upgrade() -> None:
    op.drop_index(op.f("ix_jobs_endpoint_id"), "jobs")
    op.create_index(op.f("ix_jobs_" + "_".join(_COUNTED)), "jobs", _COUNTED)
