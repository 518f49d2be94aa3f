"""Rulings: what a person merged and split; and edges found by their owner, so that a graph can be explained."""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.execute("""
        CREATE TABLE ruling (
            member_kind text COLLATE "C" NOT NULL,
            member_value text COLLATE "C" NOT NULL,
            owner_kind text COLLATE "C" NOT NULL,
            owner_value text COLLATE "C" NOT NULL,
            at timestamptz NOT NULL,
            id text COLLATE "C" NOT NULL,
            ruling text COLLATE "C" NOT NULL CHECK (ruling IN ('merge', 'split')),
            who text COLLATE "C" NOT NULL,
            why text COLLATE "C" NOT NULL,
            PRIMARY KEY (member_kind, member_value, owner_kind, owner_value, at, id)
        )
    """)
    op.execute("CREATE INDEX ruling_by_owner ON ruling (owner_kind, owner_value)")
    op.execute("CREATE INDEX ruling_by_time ON ruling (at, id)")
    op.execute("CREATE INDEX edge_by_owner ON edge (owner_kind, owner_value, member_kind, member_value)")


def downgrade() -> None:
    raise NotImplementedError("what people ruled would be lost: restore a backup instead")
