"""Statements about identifiers with the trust of who made them; touchpoints with the trust of their source.

No row is rewritten: what was stated before counts as a server's, as it did. Only the index of claims is made anew, a
second for half a million identifiers; the service, if it runs, waits for that and loses nothing.
"""

from __future__ import annotations

from alembic import op

revision = "0012"
down_revision = "0011"

STATEMENTS = (
    """
    ALTER TABLE identifier
        ADD COLUMN seen_rank smallint NOT NULL DEFAULT 0, ADD COLUMN seen_happened_at timestamptz,
        ADD COLUMN claimed_rank smallint NOT NULL DEFAULT 0, ADD COLUMN claimed_happened_at timestamptz
    """,
    "ALTER TABLE edge ADD COLUMN rank smallint NOT NULL DEFAULT 0, ADD COLUMN happened_at timestamptz",
    "ALTER TABLE timeline ADD COLUMN trust text COLLATE \"C\" NOT NULL DEFAULT 'server'",
    "DROP INDEX identifier_by_owner",
    """
    CREATE INDEX identifier_by_owner ON identifier (
        owner_kind, owner_value, kind, claimed_rank, claimed_at, claimed_happened_at, claimed_id, value
    ) WHERE owner_value IS NOT NULL
    """,
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    raise NotImplementedError("a version before this one would take what clients state for what servers do")
