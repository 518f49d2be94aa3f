"""The personalize schema, as SQLAlchemy sees it. The migrations make it; a test holds the two against each other."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    ARRAY,
    JSON,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Double,
    Index,
    Integer,
    MetaData,
    SmallInteger,
    Table,
    Text,
    text,
)
from sqlalchemy.types import UserDefinedType

from shared.audit import add_table
from shared.dead_letter_store import add_dead_letters
from shared.ledger import add_tables

METADATA = MetaData()

# Sorted by code point everywhere, as Python sorts: locks are then taken in one order.
_Name = Text(collation="C")
_Moment = DateTime(timezone=True)


class _TransactionId(UserDefinedType[str]):
    """xid8: which transaction wrote the row last. See `store.changes`."""

    cache_ok = True

    def get_col_spec(self, **kw: Any) -> str:
        return "xid8"


def _written_by() -> Column[str]:
    return Column("written_by", _TransactionId(), nullable=False, server_default=text("pg_current_xact_id()"))


# `deleted_at`: withdrawn, and kept, because decisions of the past speak of it.
OFFER = Table(
    "offer",
    METADATA,
    Column("offer_id", _Name, primary_key=True),
    Column("version", BigInteger, nullable=False),
    Column("body", JSON, nullable=False),
    Column("deleted_at", _Moment),
    _written_by(),
)
Index("offer_written", OFFER.c.written_by)

# What profiles look like, as the profile service last said: one row a profile, one row an identifier of it.
CUSTOMER = Table(
    "customer",
    METADATA,
    Column("profile_id", _Name, primary_key=True),
    Column("version", BigInteger, nullable=False),
    Column("redirect", _Name),
    Column("view", JSON),
    # Of the view, what lift is computed from.
    Column("orders", BigInteger, nullable=False),
    Column("order_value", Double, nullable=False),
)
CUSTOMER_IDENTIFIER = Table(
    "customer_identifier",
    METADATA,
    Column("kind", _Name, primary_key=True),
    Column("value", _Name, primary_key=True),
    # Part of the key: while an identifier moves, two profiles may claim it until both have been heard.
    Column("profile_id", _Name, primary_key=True),
)
Index("customer_identifier_by_profile", CUSTOMER_IDENTIFIER.c.profile_id)

# What was put before whom. By the identifier that the feedback came under: who that is, is asked when deciding.
EXPOSURE = Table(
    "exposure",
    METADATA,
    Column("kind", _Name, primary_key=True),
    Column("value", _Name, primary_key=True),
    Column("offer_id", _Name, primary_key=True),
    Column("decision_id", _Name, primary_key=True),
    Column("shown_at", _Moment, nullable=False),
    Column("accepted_at", _Moment),
    Column("dismissed_at", _Moment),
)
Index("exposure_by_time", EXPOSURE.c.shown_at, postgresql_using="brin")

DECISION = Table(
    "decision",
    METADATA,
    Column("decision_id", _Name, primary_key=True),
    Column("profile_id", _Name),
    Column("decided_at", _Moment, nullable=False),
    Column("holdout", Boolean, nullable=False),
    Column("record", JSON, nullable=False),
)
Index("decision_by_time", DECISION.c.decided_at, postgresql_using="brin")

# Who has ever been decided for, and their side of the holdout in the first of those decisions.
PARTICIPANT = Table(
    "participant",
    METADATA,
    Column("profile_id", _Name, primary_key=True),
    Column("decided_at", _Moment, nullable=False),
    Column("holdout", Boolean, nullable=False),
)

# One offer of one decision: when what happened, what it is about, what of it has been counted as evidence.
OUTCOME = Table(
    "outcome",
    METADATA,
    Column("decision_id", _Name, primary_key=True),
    Column("offer_id", _Name, primary_key=True),
    Column("shown_at", _Moment),
    Column("clicked_at", _Moment),
    Column("accepted_at", _Moment),
    Column("dismissed_at", _Moment),
    # The subject, from the decision's record. It may come after the feedback.
    Column("placement", _Name),
    Column("channel", _Name),
    Column("version", Integer),
    Column("features", ARRAY(Double)),
    Column("shown", SmallInteger, nullable=False, server_default=text("0")),
    Column("clicked", SmallInteger, nullable=False, server_default=text("0")),
    Column("considered", SmallInteger, nullable=False, server_default=text("0")),
    Column("accepted", SmallInteger, nullable=False, server_default=text("0")),
    # When silence becomes an answer; null where the passing of time changes nothing.
    Column("due_at", _Moment),
)
Index("outcome_by_time", OUTCOME.c.shown_at, postgresql_using="brin")
Index("outcome_due", OUTCOME.c.due_at, postgresql_where=text("due_at IS NOT NULL"))

EVIDENCE = Table(
    "evidence",
    METADATA,
    Column("placement", _Name, primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("offer_id", _Name, primary_key=True),
    Column("features", ARRAY(Double), primary_key=True),
    Column("shown", BigInteger, nullable=False),
    Column("clicked", BigInteger, nullable=False),
    Column("considered", BigInteger, nullable=False),
    Column("accepted", BigInteger, nullable=False),
    _written_by(),
)
Index("evidence_written", EVIDENCE.c.written_by)

# Who changed which offer, for good.
AUDIT = add_table(METADATA)

add_tables(METADATA)
add_dead_letters(METADATA)
