"""Keys are told to the other services: what they have been told of each."""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.execute("ALTER TABLE source_key ADD COLUMN told_end timestamptz")
    op.execute("""
        CREATE INDEX source_key_untold ON source_key (id)
        WHERE told_end IS DISTINCT FROM coalesce(ends_at, 'infinity')
    """)


def downgrade() -> None:
    raise NotImplementedError("nobody would know what the other services were told: restore a backup instead")
