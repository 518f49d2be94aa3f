"""Computed traits: what is defined, and what the events of each identifier add up to for it."""

from __future__ import annotations

from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.execute("""
        CREATE TABLE computed_definition (
            id text COLLATE "C" NOT NULL,
            revision integer NOT NULL,
            name text COLLATE "C" NOT NULL,
            formula json NOT NULL,
            since integer,
            saved_at timestamptz NOT NULL,
            phase text COLLATE "C" NOT NULL
                CHECK (phase IN ('filling', 'showing', 'ready', 'leaving', 'gone')),
            fill json NOT NULL,
            complete_from timestamptz,
            marked_to uuid,
            PRIMARY KEY (id, revision)
        )
    """)
    # Parts grow in place: room in each page lets most updates stay there.
    op.execute("""
        CREATE TABLE computed_part (
            kind text COLLATE "C" NOT NULL,
            value text COLLATE "C" NOT NULL,
            trait text COLLATE "C" NOT NULL,
            revision integer NOT NULL,
            state json NOT NULL,
            PRIMARY KEY (kind, value, trait, revision)
        ) WITH (fillfactor = 80)
    """)
    op.execute("CREATE INDEX computed_part_by_trait ON computed_part (trait, revision)")
    op.execute("""
        CREATE TABLE generation (
            what text COLLATE "C" PRIMARY KEY,
            value integer NOT NULL
        )
    """)


def downgrade() -> None:
    raise NotImplementedError(
        "what was defined, and what retention has removed, would be lost: restore a backup instead"
    )
