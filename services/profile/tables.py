"""The tables of profile. The migrations make them; a test holds both against each other.

Facts: `fragment`, `identifier` (but for its `profile_id` and `joined`), `edge`, `ruling`, `timeline`, `score`,
`segment`. Everything else follows from them and can be made anew.

- Text that is compared is in collation C: PostgreSQL must order ids exactly as Python does.
- JSON that is only ever read whole is `json`, not `jsonb`: what was written is what is read, byte for byte, and neither
  direction costs a conversion. None of it is indexed: a GIN index would end HOT updates.
- `profile` is what consumers update on every touchpoint, so it is narrow; the wide `view` is the publisher's own. So
  neither waits for the other's rows.
- Every key begins with the identifier or the profile id: all of it can be spread by them.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Float,
    Index,
    LargeBinary,
    MetaData,
    Table,
    Text,
    Uuid,
    text,
)

from shared.stream import add_tables

METADATA = MetaData()
add_tables(METADATA)

_TEXT = Text(collation="C")
_TIME = DateTime(timezone=True)

FRAGMENT = Table(
    "fragment",
    METADATA,
    Column("kind", _TEXT, primary_key=True),
    Column("value", _TEXT, primary_key=True),
    Column("state", JSON, nullable=False),
)

# What is known of an identifier (domain/graph.py, Standing), and what was decided from it: its profile, and the version
# of that profile from which on it shows there.
IDENTIFIER = Table(
    "identifier",
    METADATA,
    Column("kind", _TEXT, primary_key=True),
    Column("value", _TEXT, primary_key=True),
    Column("seen_at", _TIME),
    Column("seen_id", _TEXT),
    Column("owner_kind", _TEXT),
    Column("owner_value", _TEXT),
    Column("claimed_at", _TIME),
    Column("claimed_id", _TEXT),
    Column("profile_id", Uuid),
    Column("joined", BigInteger, nullable=False, server_default=text("0")),
    Index("identifier_by_profile", "profile_id"),
    # All that one identifier owns, of each kind the earliest claims first.
    Index(
        "identifier_by_owner",
        "owner_kind",
        "owner_value",
        "kind",
        "claimed_at",
        "claimed_id",
        "value",
        postgresql_where=text("owner_value IS NOT NULL"),
    ),
)

# The evidence: every login, claim and alias with its first moment, those that lost included.
EDGE = Table(
    "edge",
    METADATA,
    Column("member_kind", _TEXT, primary_key=True),
    Column("member_value", _TEXT, primary_key=True),
    Column("owner_kind", _TEXT, primary_key=True),
    Column("owner_value", _TEXT, primary_key=True),
    Column("kind", _TEXT, primary_key=True),
    Column("at", _TIME, nullable=False),
    Column("touchpoint_id", _TEXT, nullable=False),
    Index("edge_by_owner", "owner_kind", "owner_value", "member_kind", "member_value"),
)

# What people ruled (domain/rulings.py). Nothing is ever changed or deleted here: the last of a pair holds.
RULING = Table(
    "ruling",
    METADATA,
    Column("member_kind", _TEXT, primary_key=True),
    Column("member_value", _TEXT, primary_key=True),
    Column("owner_kind", _TEXT, primary_key=True),
    Column("owner_value", _TEXT, primary_key=True),
    Column("at", _TIME, primary_key=True),
    Column("id", _TEXT, primary_key=True),
    Column("ruling", _TEXT, nullable=False),
    Column("who", _TEXT, nullable=False),
    Column("why", _TEXT, nullable=False),
    Index("ruling_by_owner", "owner_kind", "owner_value"),
    Index("ruling_by_time", "at", "id"),
)

# `marked_at`: since when it waits to be published. `membership`: a digest of what Kafka was last told of its members.
PROFILE = Table(
    "profile",
    METADATA,
    Column("profile_id", Uuid, primary_key=True),
    Column("version", BigInteger, nullable=False),
    Column("redirect", Uuid),
    Column("marked_at", _TIME),
    Column("membership", LargeBinary),
    Index("profile_marked", "marked_at", postgresql_where=text("marked_at IS NOT NULL")),
)

VIEW = Table(
    "view",
    METADATA,
    Column("profile_id", Uuid, primary_key=True),
    Column("version", BigInteger, nullable=False),
    Column("body", JSON, nullable=False),
    Column("stage", _TEXT),
    Column("stage_since", _TIME),
)

SCORE = Table(
    "score",
    METADATA,
    Column("profile_id", Uuid, primary_key=True),
    Column("version", BigInteger, nullable=False),
    Column("engagement", Float),
    Column("ltv", Float),
    Column("churn_risk", Float),
)

TIMELINE = Table(
    "timeline",
    METADATA,
    Column("kind", _TEXT, primary_key=True),
    Column("value", _TEXT, primary_key=True),
    Column("at", _TIME, primary_key=True),
    Column("touchpoint_id", _TEXT, primary_key=True),
    Column("source", _TEXT, primary_key=True),
    Column("received_at", _TIME, nullable=False),
    Column("type", _TEXT, nullable=False),
    Column("name", _TEXT),
    Column("channel", _TEXT, nullable=False),
    Column("properties", JSON, nullable=False),
    Column("identifiers", JSON, nullable=False),
)

# `filling`: whether profiles are still being marked for its newest rule, and `filled_to` the last one that was.
SEGMENT = Table(
    "segment",
    METADATA,
    Column("id", _TEXT, primary_key=True),
    Column("name", _TEXT, nullable=False),
    Column("rule", _TEXT, nullable=False),
    Column("saved_at", _TIME, nullable=False),
    Column("filling", Boolean, nullable=False),
    Column("filled_to", Uuid),
)

SEGMENT_MEMBER = Table(
    "segment_member",
    METADATA,
    Column("profile_id", Uuid, primary_key=True),
    Column("segment_id", _TEXT, primary_key=True),
    Column("since", _TIME, nullable=False),
    Index("segment_member_by_segment", "segment_id", "profile_id"),
)

# Signals that Kafka has not acknowledged yet.
SIGNAL = Table(
    "signal",
    METADATA,
    Column("profile_id", Uuid, primary_key=True),
    Column("id", Uuid, primary_key=True),
    Column("body", JSON, nullable=False),
)
