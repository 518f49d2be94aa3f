"""Dead letters: what the consumer could not process, until somebody has replayed or discarded it."""

from __future__ import annotations

from alembic import op

from shared.dead_letter_store import TABLES_V1

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    for statement in TABLES_V1:
        op.execute(statement)


def downgrade() -> None:
    raise NotImplementedError("what waits there would be lost: restore a backup instead")
