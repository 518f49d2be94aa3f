"""Keys can be narrowed to services and to sources; looking at people is a scope of its own, which old keys get."""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.execute("ALTER TABLE source_key ADD COLUMN services text[], ADD COLUMN sources text[]")
    # `read` opened people, too. Nobody who reads them today may be shut out by an update, so those keys have both now.
    op.execute("""
        UPDATE source_key SET scopes = array_append(scopes, 'read:people'), told_end = NULL
        WHERE 'read' = ANY (scopes) AND NOT 'read:people' = ANY (scopes)
    """)


def downgrade() -> None:
    raise NotImplementedError("narrowed keys would open everything: restore a backup instead")
