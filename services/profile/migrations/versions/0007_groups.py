"""Groups: what is known of each, and who is in it; and the words of a trait found without walking a whole timeline.

Where an identifier said something of traits is noted in `presence` as one more type of touchpoint, `traits`.
"""

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
    # What is there already has hardly any words of traits: it is walked once, and hardly anything is written.
    op.execute("""
        CREATE INDEX timeline_by_trait ON timeline (kind, value, at, touchpoint_id, source) WHERE traits IS NOT NULL
    """)
    op.execute("""
        CREATE OR REPLACE FUNCTION note_presence() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
        BEGIN
            INSERT INTO presence (kind, value, month, channel, type)
            SELECT kind, value, month_of(at), channel, type FROM added
            UNION SELECT kind, value, month_of(at), channel, 'traits' FROM added WHERE traits IS NOT NULL
            ORDER BY 1, 2, 3, 4, 5
            ON CONFLICT DO NOTHING;
            RETURN NULL;
        END
        $$
    """)
    op.execute("""
        INSERT INTO presence (kind, value, month, channel, type)
        SELECT DISTINCT kind, value, month_of(at), channel, 'traits' FROM timeline WHERE traits IS NOT NULL
        ON CONFLICT DO NOTHING
    """)


def downgrade() -> None:
    raise NotImplementedError("what is known of groups would be lost: restore a backup instead")
