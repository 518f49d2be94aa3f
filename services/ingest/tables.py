"""The tables of ingest. The migrations make them; a test holds both against each other.

Nothing here is read or written while a client waits for its answer: what a request needs of `source`, `source_key` and
`planned_event` every process holds in memory (service/registry.py), and what a request leaves for `quota_use` and
`plan_violation` is added up and written once a second. `audit` and every version of a planned event stay for ever.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    Date,
    DateTime,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from shared.audit import add_table
from shared.dead_letter_store import add_dead_letters
from shared.stream import add_tables

METADATA = MetaData()
add_tables(METADATA)
add_dead_letters(METADATA)

_TEXT = Text(collation="C")
_TIME = DateTime(timezone=True)

# Where calls come from. `usual` is the channel where nothing else tells it; `origins` are those that browsers may send
# from, all where it is empty; `rate` is calls a second and `quota` calls a day, without limit where they are null.
# `may` is what it may state; null stands for what is usual for its `trust`. The defaults are for processes of the
# version before, which know nothing of trust.
SOURCE = Table(
    "source",
    METADATA,
    Column("name", _TEXT, primary_key=True),
    Column("usual", _TEXT, nullable=False),
    Column("origins", ARRAY(_TEXT), nullable=False),
    Column("rate", Float),
    Column("quota", BigInteger),
    Column("unplanned", _TEXT, nullable=False),
    Column("made_at", _TIME, nullable=False),
    Column("trust", _TEXT, nullable=False, server_default="client"),
    Column("may", ARRAY(_TEXT)),
    Column("identity_proof", _TEXT, nullable=False, server_default="none"),
)

# Of a key only its SHA-256 is kept, and its first characters to know it again by. It ends at `ends_at`: revoked then,
# or replaced by another; null while nobody has ended it. It opens `services`, and of ingest what is `sources`'; all of
# them where those are null. `told_end` is the end that the other services were told of:
# infinity where there was none, null before they were told anything.
SOURCE_KEY = Table(
    "source_key",
    METADATA,
    Column("id", _TEXT, primary_key=True),
    Column("source", _TEXT, ForeignKey("source.name"), nullable=False),
    Column("digest", LargeBinary, nullable=False, unique=True),
    Column("hint", _TEXT, nullable=False),
    Column("scopes", ARRAY(_TEXT), nullable=False),
    Column("services", ARRAY(Text())),
    Column("sources", ARRAY(Text())),
    Column("made_at", _TIME, nullable=False),
    Column("ends_at", _TIME),
    Column("told_end", _TIME),
    Index("source_key_by_source", "source"),
    Index("source_key_untold", "id", postgresql_where=text("told_end IS DISTINCT FROM coalesce(ends_at, 'infinity')")),
)

# Calls taken from a source on a day (UTC), over all processes.
QUOTA_USE = Table(
    "quota_use",
    METADATA,
    Column("source", _TEXT, primary_key=True),
    Column("day", Date, primary_key=True),
    Column("calls", BigInteger, nullable=False),
)

# The tracking plan. `source` is `*` where it holds for all; `name` is empty for calls without one (identify, group).
# The highest version is in force; where its mode is `removed`, the event is not in the plan any more.
PLANNED_EVENT = Table(
    "planned_event",
    METADATA,
    Column("source", _TEXT, primary_key=True),
    Column("type", _TEXT, primary_key=True),
    Column("name", _TEXT, primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("mode", _TEXT, nullable=False),
    Column("schema", JSON, nullable=False),
    Column("saved_at", _TIME, nullable=False),
    Column("saved_by", _TEXT, nullable=False),
)

# How often a day (UTC) which part of the plan was departed from by calls of a source, and how that was dealt with
# (`observe`, `enforce`). `name` is empty for events that the plan does not know.
PLAN_VIOLATION = Table(
    "plan_violation",
    METADATA,
    Column("source", _TEXT, primary_key=True),
    Column("type", _TEXT, primary_key=True),
    Column("name", _TEXT, primary_key=True),
    Column("day", Date, primary_key=True),
    Column("mode", _TEXT, primary_key=True),
    Column("path", _TEXT, primary_key=True),
    Column("calls", BigInteger, nullable=False),
)

# Rejected events, as they came through the topic: `refusal` is that record's data but for the body. `status` is
# waiting, replayed or discarded; `history` what people tried, oldest first. `size` is the bytes of both; `digest` is
# the same for a call that its client sends again in the same words, and null where no message id says that it did.
REJECTED = Table(
    "rejected",
    METADATA,
    Column("id", _TEXT, primary_key=True),
    Column("source", _TEXT, nullable=False),
    Column("received_at", _TIME, nullable=False),
    Column("type", _TEXT),
    Column("name", _TEXT),
    Column("message_id", _TEXT),
    Column("code", _TEXT, nullable=False),
    Column("status", _TEXT, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("refusal", JSON, nullable=False),
    Column("history", JSONB, nullable=False),
    Column("size", Integer, nullable=False),
    Column("digest", LargeBinary),
    Index("rejected_by_time", "received_at", "id", postgresql_include=["size"]),
    Index("rejected_by_code", "code", "received_at", "id"),
    Index("rejected_by_source", "source", "received_at", "id"),
    Index("rejected_by_message", "message_id"),
    Index("rejected_waiting", "received_at", "id", postgresql_where=text("status = 'waiting'")),
    Index("rejected_once", "digest", unique=True, postgresql_where=text("status = 'waiting'")),
)

# Who changed what: a source, a key, the plan; who replayed what. Its highest id is the revision of the registry.
AUDIT = add_table(METADATA)
