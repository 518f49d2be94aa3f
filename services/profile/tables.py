"""The tables of profile. The migrations make them; a test holds both against each other.

Facts: `fragment`, `identifier` (but for its `profile_id` and `joined`), `edge`, `ruling`, `timeline`, `score`,
`segment`, `retention`, `computed_definition`, `generation`, `group_fragment`, `audit`; and of a `proposal` what was
decided.
Everything else follows from them and can be made anew.

- Text that is compared is in collation C: PostgreSQL must order ids exactly as Python does.
- JSON that is only ever read whole is `json`, not `jsonb`: what was written is what is read, byte for byte, and neither
  direction costs a conversion. None of it is indexed: a GIN index would end HOT updates.
- `profile` is what consumers update on every touchpoint, so it is narrow; the wide `view` is the publisher's own. So
  neither waits for the other's rows.
- Every key begins with the identifier, the profile id or the group's id: all of it can be spread by them.
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
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    Uuid,
    text,
)

from shared.audit import add_table
from shared.dead_letter_store import add_dead_letters
from shared.stream import add_tables

METADATA = MetaData()
add_tables(METADATA)
add_dead_letters(METADATA)

# Who changed which segment and computed trait, and who ruled what, for good.
AUDIT = add_table(METADATA)

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
# of that profile from which on it shows there. `..._rank`, `..._at`, `..._happened_at` and `..._id` are the place of a
# statement (domain/precedence.py), here and in `edge`; no `happened_at`: the event time is the time that counts.
IDENTIFIER = Table(
    "identifier",
    METADATA,
    Column("kind", _TEXT, primary_key=True),
    Column("value", _TEXT, primary_key=True),
    Column("seen_rank", SmallInteger, nullable=False, server_default=text("0")),
    Column("seen_at", _TIME),
    Column("seen_happened_at", _TIME),
    Column("seen_id", _TEXT),
    Column("owner_kind", _TEXT),
    Column("owner_value", _TEXT),
    Column("claimed_rank", SmallInteger, nullable=False, server_default=text("0")),
    Column("claimed_at", _TIME),
    Column("claimed_happened_at", _TIME),
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
        "claimed_rank",
        "claimed_at",
        "claimed_happened_at",
        "claimed_id",
        "value",
        postgresql_where=text("owner_value IS NOT NULL"),
    ),
)

# The evidence: every login, claim and alias where it was first made, those that lost included.
EDGE = Table(
    "edge",
    METADATA,
    Column("member_kind", _TEXT, primary_key=True),
    Column("member_value", _TEXT, primary_key=True),
    Column("owner_kind", _TEXT, primary_key=True),
    Column("owner_value", _TEXT, primary_key=True),
    Column("kind", _TEXT, primary_key=True),
    Column("rank", SmallInteger, nullable=False, server_default=text("0")),
    Column("at", _TIME, nullable=False),
    Column("happened_at", _TIME),
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

# Profiles that are likely one person's, by the identifiers that name them, the lesser one first; `id` follows from them
# (domain/proposals.py). `decided_at`, `who` and `why`: of what became of it.
PROPOSAL = Table(
    "proposal",
    METADATA,
    Column("one_kind", _TEXT, primary_key=True),
    Column("one_value", _TEXT, primary_key=True),
    Column("other_kind", _TEXT, primary_key=True),
    Column("other_value", _TEXT, primary_key=True),
    Column("id", _TEXT, nullable=False),
    Column("weight", Float, nullable=False),
    Column("probability", Float, nullable=False),
    Column("reasons", JSON, nullable=False),
    Column("proposed_at", _TIME, nullable=False),
    Column("status", _TEXT, nullable=False),
    Column("decided_at", _TIME),
    Column("who", _TEXT),
    Column("why", _TEXT),
    Index("proposal_by_id", "id"),
    Index("proposal_by_weight", "status", "weight", "id"),
)

# `membership`: a digest of what Kafka was last told of its members. `marked_at` and `patient` are for processes of the
# version before `mark`, whose marks a trigger passes on; they go, with their index, once none of those runs.
PROFILE = Table(
    "profile",
    METADATA,
    Column("profile_id", Uuid, primary_key=True),
    Column("version", BigInteger, nullable=False),
    Column("redirect", Uuid),
    Column("marked_at", _TIME),
    Column("patient", Boolean, nullable=False, server_default=text("false")),
    Column("membership", LargeBinary),
    Index("profile_marked", "marked_at", postgresql_where=text("marked_at IS NOT NULL")),
)

# Who waits to be published, and from when on. `patient`: whether that lies ahead, and all that changed may wait until
# then. By itself, so that neither a mark nor its end touches an index of `profile`: these are few rows, however many
# profiles there are.
MARK = Table(
    "mark",
    METADATA,
    Column("profile_id", Uuid, primary_key=True),
    Column("marked_at", _TIME, nullable=False),
    Column("patient", Boolean, nullable=False),
    Index("mark_by_time", "marked_at"),
)

# `due_at`: when it is to be told anew although nothing happens, because time alone may change a segment or the stage.
VIEW = Table(
    "view",
    METADATA,
    Column("profile_id", Uuid, primary_key=True),
    Column("version", BigInteger, nullable=False),
    Column("body", JSON, nullable=False),
    Column("stage", _TEXT),
    Column("stage_since", _TIME),
    Column("due_at", _TIME),
    Index("view_due", "due_at", postgresql_where=text("due_at IS NOT NULL")),
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

# Every touchpoint under its owner, in partitions by time (domain/periods.py): retention drops one, and no page looks
# into more of them than it has rows from. Partitions cost inserts nothing that can be measured.
#
# - The key is the order of pages. Who sent a touchpoint and its id name it for ever, and when it happened is part of
#   what was sent: the same one again has the same key, in the same partition, and stays one row.
# - `timeline_by_name`: names are many, most of them rare, and people ask for them. It costs an insert a third more
#   (17 ms for 1,000 rows instead of 12, of about 120 that absorbing them takes), and 180 bytes a row beside 340 of the
#   row and 170 of the key.
# - `traits`: what it claimed for its person, where it claimed something: the history of traits.
# - `generation`: the newest definitions of computed traits that it met when it was absorbed. What has met a definition
#   is counted by it already; all before is filled in from here.
# - Channels and types are few, and most are common: for them `presence` says which months to look into, and there a
#   page walks down the key, so many rows at most, and says where it stopped. An index for each would cost as much.
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
    Column("traits", JSON),
    Column("generation", Integer, nullable=False, server_default=text("0")),
    Column("trust", _TEXT, nullable=False, server_default=text("'server'")),
    Index(
        "timeline_by_name",
        "kind",
        "value",
        "name",
        "at",
        "touchpoint_id",
        "source",
        postgresql_where=text("name IS NOT NULL"),
    ),
    # The history of a trait: few touchpoints say anything of traits, and only those are in it.
    Index(
        "timeline_by_trait",
        "kind",
        "value",
        "at",
        "touchpoint_id",
        "source",
        postgresql_where=text("traits IS NOT NULL"),
    ),
    postgresql_partition_by="RANGE (at)",
)

# In which months an identifier has touchpoints, by which channels and of which types: so a page of a merged profile
# asks only those partitions and identifiers that have something, however many there are. A trigger on `timeline` keeps
# it: what is inserted there is here, whoever inserted it. What says something of traits is there once more, as the type
# `traits`: that finds the history of a trait. 3 ms for 1,000 touchpoints of people who come often, 10 where
# each is somebody new; a month is its number since the year 0, as in domain/periods.py.
PRESENCE = Table(
    "presence",
    METADATA,
    Column("kind", _TEXT, primary_key=True),
    Column("value", _TEXT, primary_key=True),
    Column("month", Integer, primary_key=True),
    Column("channel", _TEXT, primary_key=True),
    Column("type", _TEXT, primary_key=True),
    Index("presence_by_month", "month", postgresql_using="brin"),
)

# Before which moment retention has removed what happened. It never goes back: what was removed is gone.
RETENTION = Table(
    "retention",
    METADATA,
    Column("what", _TEXT, primary_key=True),
    Column("removed_before", _TIME, nullable=False),
)

# Computed traits. Each change is a row of its own: the one before shows until the new one is filled. `phase`:
#
# - filling: history is being read into its parts, `fill` says how far; events that happen meanwhile count already;
# - showing: it is whole and shows in every view from now on, and profiles up to `marked_to` were marked to follow;
# - ready: all of them were;
# - leaving: it shows no more, and profiles are being marked; gone: nobody sees it, and its parts are being deleted.
#
# `revision` is the generation that it was saved in. `since`: the first day that counts, as a number.
COMPUTED_DEFINITION = Table(
    "computed_definition",
    METADATA,
    Column("id", _TEXT, primary_key=True),
    Column("revision", Integer, primary_key=True),
    Column("name", _TEXT, nullable=False),
    Column("formula", JSON, nullable=False),
    Column("since", Integer),
    Column("saved_at", _TIME, nullable=False),
    Column("phase", _TEXT, nullable=False),
    Column("fill", JSON, nullable=False),
    Column("complete_from", _TIME),
    Column("marked_to", Uuid),
)

# What the events of an identifier add up to for one definition. The index is for deleting all of a definition: its keys
# repeat, so it is small; and `+ 0` keeps it from being taken for a way to single parts, which it is a bad one for.
COMPUTED_PART = Table(
    "computed_part",
    METADATA,
    Column("kind", _TEXT, primary_key=True),
    Column("value", _TEXT, primary_key=True),
    Column("trait", _TEXT, primary_key=True),
    Column("revision", Integer, primary_key=True),
    Column("state", JSON, nullable=False),
    Index("computed_part_by_revision", text("(revision + 0)"), "trait"),
)

# How often what is `computed` was defined anew, shown or deleted. It never goes back, and changes only while nobody
# absorbs or publishes: what `timeline.generation` says of a touchpoint is what it was counted by.
GENERATION = Table(
    "generation",
    METADATA,
    Column("what", _TEXT, primary_key=True),
    Column("value", Integer, nullable=False),
)

# `filling`: whether profiles are still being marked for its newest rule, and `filled_to` the last one that was.
# `deleted_at`: nobody sees it any more, and it goes once its last member has been told to have left.
SEGMENT = Table(
    "segment",
    METADATA,
    Column("id", _TEXT, primary_key=True),
    Column("name", _TEXT, nullable=False),
    Column("rule", _TEXT, nullable=False),
    Column("saved_at", _TIME, nullable=False),
    Column("filling", Boolean, nullable=False),
    Column("filled_to", Uuid),
    Column("deleted_at", _TIME),
)

SEGMENT_MEMBER = Table(
    "segment_member",
    METADATA,
    Column("profile_id", Uuid, primary_key=True),
    Column("segment_id", _TEXT, primary_key=True),
    Column("since", _TIME, nullable=False),
    Index("segment_member_by_segment", "segment_id", "profile_id"),
)

# What the group calls of everybody add up to, for each group (domain/groups.py): its own traits.
GROUP_FRAGMENT = Table(
    "group_fragment",
    METADATA,
    Column("group_id", _TEXT, primary_key=True),
    Column("state", JSON, nullable=False),
)

# Who is in which group, as their view says. That is decided from fragments: it follows them through merges by itself.
GROUP_MEMBER = Table(
    "group_member",
    METADATA,
    Column("profile_id", Uuid, primary_key=True),
    Column("group_id", _TEXT, primary_key=True),
    Column("since", _TIME, nullable=False),
    Index("group_member_by_group", "group_id", "profile_id"),
)

# How many were in a segment when the hour `at` began.
SEGMENT_COUNT = Table(
    "segment_count",
    METADATA,
    Column("segment_id", _TEXT, primary_key=True),
    Column("at", _TIME, primary_key=True),
    Column("members", BigInteger, nullable=False),
)

# How many came into a segment and went in the hour `at`. `slot`: one of a few, so that publishers seldom wait here.
SEGMENT_CHANGE = Table(
    "segment_change",
    METADATA,
    Column("segment_id", _TEXT, primary_key=True),
    Column("at", _TIME, primary_key=True),
    Column("slot", SmallInteger, primary_key=True),
    Column("entered", BigInteger, nullable=False),
    Column("gone", BigInteger, nullable=False),
)

# Signals that Kafka has not acknowledged yet.
SIGNAL = Table(
    "signal",
    METADATA,
    Column("profile_id", Uuid, primary_key=True),
    Column("id", Uuid, primary_key=True),
    Column("body", JSON, nullable=False),
)
