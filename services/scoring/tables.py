"""The scoring schema, as SQLAlchemy sees it. The migrations make it; a test holds the two against each other."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Date, DateTime, Double, Index, Integer, MetaData, Table, Text, text
from sqlalchemy.dialects.postgresql import JSONB

from shared.audit import add_table
from shared.dead_letter_store import add_dead_letters
from shared.ledger import add_tables

METADATA = MetaData()

# Sorted by code point everywhere, as Python sorts: locks are then taken in one order.
_Name = Text(collation="C")

FRAGMENT = Table(
    "fragment",
    METADATA,
    Column("kind", _Name, primary_key=True),
    Column("value", _Name, primary_key=True),
    Column("state", JSONB, nullable=False),
    # Whether there is an order or a refund in `state`: most visitors never buy, and fits read only who does.
    Column("buys", Boolean, nullable=False),
)

# Who is who, as the profile service last said: one row a profile, one row an identifier of it.
MEMBERSHIP = Table(
    "membership",
    METADATA,
    Column("profile_id", _Name, primary_key=True),
    Column("version", BigInteger, nullable=False),
    Column("redirect", Text),
)
MEMBER = Table(
    "member",
    METADATA,
    Column("kind", _Name, primary_key=True),
    Column("value", _Name, primary_key=True),
    # Part of the key: while an identifier moves, two profiles may claim it until both have been heard.
    Column("profile_id", _Name, primary_key=True),
)
Index("member_by_profile", MEMBER.c.profile_id)

# Dirty where `version` is ahead of `published`.
SCORE = Table(
    "score",
    METADATA,
    Column("profile_id", _Name, primary_key=True),
    Column("version", BigInteger, nullable=False),
    Column("published", BigInteger, nullable=False),
    Column("marked_at", DateTime(timezone=True), nullable=False),
    # As last scored: whether there was an order or a refund, and on which of the account's days that was.
    Column("buys", Boolean, nullable=False),
    Column("scored_on", Date),
)
Index("score_dirty", SCORE.c.marked_at, postgresql_where=text("version > published"))
Index("score_aging", SCORE.c.scored_on, postgresql_where=text("buys"))
Index("score_buying", SCORE.c.profile_id, postgresql_where=text("buys"))

MODEL = Table(
    "model",
    METADATA,
    Column("id", _Name, primary_key=True),
    Column("status", Text, nullable=False),
    Column("as_of", DateTime(timezone=True), nullable=False),
    Column("activate", Boolean, nullable=False),
    Column("requested_at", DateTime(timezone=True), nullable=False),
    # A fit belongs to a process until then; a process that dies stops renewing it.
    Column("leased_until", DateTime(timezone=True)),
    Column("attempts", Integer, nullable=False),
    Column("finished_at", DateTime(timezone=True)),
    Column("fit_seconds", Double),
    Column("reason", Text),
    Column("state", JSONB),
    # The last profile that was marked for this model's scores, in the order of ids; null when all are.
    Column("marked_through", _Name),
)
Index("model_active", MODEL.c.status, unique=True, postgresql_where=text("status = 'active'"))

# Who asked for which model, and which ones were activated, for good.
AUDIT = add_table(METADATA)

add_tables(METADATA)
add_dead_letters(METADATA)
