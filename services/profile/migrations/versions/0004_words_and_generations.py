"""What touchpoints said of traits stays in the timeline, and so does the generation of the definitions they met."""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    # Both without touching a row: the traits of what is there are not known, and there was no definition yet.
    op.execute("ALTER TABLE timeline ADD COLUMN traits json, ADD COLUMN generation integer NOT NULL DEFAULT 0")


def downgrade() -> None:
    raise NotImplementedError("the history of traits would be lost: restore a backup instead")
