"""Marks that may wait: new scores are told a little later, together with what touchpoints change meanwhile."""

from __future__ import annotations

from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    # Without touching a row: what waits now was marked by touchpoints, or is told at once as if it were.
    op.execute("ALTER TABLE profile ADD COLUMN patient boolean NOT NULL DEFAULT false")


def downgrade() -> None:
    raise NotImplementedError("a version before this one needs no other table: leave the column where it is")
