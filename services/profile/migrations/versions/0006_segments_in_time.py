"""Who is due because of time; and how many were in a segment, came and went, hour by hour."""

from __future__ import annotations

from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.execute("ALTER TABLE view ADD COLUMN due_at timestamptz")
    op.execute("CREATE INDEX view_due ON view (due_at) WHERE due_at IS NOT NULL")
    # When views were written before, nobody asked when they are due: look at everybody once.
    op.execute("UPDATE view SET due_at = now() WHERE stage IS NOT NULL")
    op.execute("ALTER TABLE segment ADD COLUMN deleted_at timestamptz")
    op.execute("""
        CREATE TABLE segment_count (
            segment_id text COLLATE "C" NOT NULL,
            at timestamptz NOT NULL,
            members bigint NOT NULL,
            PRIMARY KEY (segment_id, at)
        )
    """)
    op.execute("""
        CREATE TABLE segment_change (
            segment_id text COLLATE "C" NOT NULL,
            at timestamptz NOT NULL,
            slot smallint NOT NULL,
            entered bigint NOT NULL,
            gone bigint NOT NULL,
            PRIMARY KEY (segment_id, at, slot)
        )
    """)


def downgrade() -> None:
    raise NotImplementedError("the counts of past hours would be lost: restore a backup instead")
