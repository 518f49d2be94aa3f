"""The index that deletes a definition's parts is one that nothing else can take for the way to them."""

from __future__ import annotations

from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    # While PostgreSQL knows little of the table it cannot tell the two indexes apart, and went to each part through
    # all of its definition: a hundred times what the key costs, until the table was next analysed.
    op.execute("DROP INDEX computed_part_by_trait")
    op.execute("CREATE INDEX computed_part_by_revision ON computed_part ((revision + 0), trait)")


def downgrade() -> None:
    raise NotImplementedError("a version before this one would wait for an index: it needs the one that was here")
