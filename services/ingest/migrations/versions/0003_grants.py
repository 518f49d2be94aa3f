"""Sources have a trust, and grants of what they may state.

A source that ever had a secret key sends from a system of the company's own: it is a server, as is that of the
settings' secret key. One whose keys are all public, or that has none, is a client; so is that of the settings' write
key, which stands in pages, whatever other keys it has. What a client may no longer state waits as rejected, and says
how it is granted.
"""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    # The defaults are for processes of the version before, which go on to make sources while this one comes up.
    op.execute("""
        ALTER TABLE source
            ADD COLUMN trust text COLLATE "C" NOT NULL DEFAULT 'client',
            ADD COLUMN may text[] COLLATE "C",
            ADD COLUMN identity_proof text COLLATE "C" NOT NULL DEFAULT 'none'
    """)
    op.execute("""
        UPDATE source SET trust = 'server'
        WHERE name = 'server' OR (
            name <> 'web'
            AND EXISTS (SELECT FROM source_key WHERE source_key.source = source.name AND NOT scopes <@ '{write}')
        )
    """)


def downgrade() -> None:
    raise NotImplementedError("what a source may not state would be stated again: restore a backup instead")
