"""Proposals: profiles that are likely one person's, and what people decided about them."""

from __future__ import annotations

from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.execute("""
        CREATE TABLE proposal (
            one_kind text COLLATE "C" NOT NULL,
            one_value text COLLATE "C" NOT NULL,
            other_kind text COLLATE "C" NOT NULL,
            other_value text COLLATE "C" NOT NULL,
            id text COLLATE "C" NOT NULL,
            weight double precision NOT NULL,
            probability double precision NOT NULL,
            reasons json NOT NULL,
            proposed_at timestamptz NOT NULL,
            status text COLLATE "C" NOT NULL CHECK (status IN ('open', 'accepted', 'refused', 'gone')),
            decided_at timestamptz,
            who text COLLATE "C",
            why text COLLATE "C",
            PRIMARY KEY (one_kind, one_value, other_kind, other_value)
        )
    """)
    op.execute("CREATE INDEX proposal_by_id ON proposal (id)")
    op.execute("CREATE INDEX proposal_by_weight ON proposal (status, weight, id)")


def downgrade() -> None:
    raise NotImplementedError("what people decided would be lost: restore a backup instead")
