"""Who asked for which model, and which ones were activated."""

from __future__ import annotations

from alembic import op

from shared.audit import TABLES_V1

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    for statement in TABLES_V1:
        op.execute(statement)


def downgrade() -> None:
    raise NotImplementedError("what is written down there is kept for good: restore a backup instead")
