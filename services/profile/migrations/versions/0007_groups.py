"""Groups: what is known of each, and who is in it; and the words of a trait found without walking a whole timeline."""

from __future__ import annotations

from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.execute("""
        CREATE TABLE group_fragment (
            group_id text COLLATE "C" PRIMARY KEY,
            state json NOT NULL
        ) WITH (fillfactor = 70)
    """)
    op.execute("""
        CREATE TABLE group_member (
            profile_id uuid NOT NULL,
            group_id text COLLATE "C" NOT NULL,
            since timestamptz NOT NULL,
            PRIMARY KEY (profile_id, group_id)
        )
    """)
    op.execute("CREATE INDEX group_member_by_group ON group_member (group_id, profile_id)")
    # What is there already has no words of traits: it is walked once, and nothing is written.
    op.execute("""
        CREATE INDEX timeline_by_trait ON timeline (kind, value, at, touchpoint_id, source) WHERE traits IS NOT NULL
    """)


def downgrade() -> None:
    raise NotImplementedError("what is known of groups would be lost: restore a backup instead")
