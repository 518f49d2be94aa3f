"""Who changed which segment and computed trait, and who ruled what."""

from __future__ import annotations

from alembic import op

from shared.audit import TABLES_V1

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    for statement in TABLES_V1:
        op.execute(statement)


def downgrade() -> None:
    raise NotImplementedError("what is written down there is kept for good: restore a backup instead")
