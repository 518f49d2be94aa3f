"""Fragments, who is who, scores, models."""

from alembic import op

from shared.stream import TABLES_V1

revision = "0001"
down_revision = None

DDL = (
    """
    CREATE TABLE fragment (
        kind text COLLATE "C" NOT NULL,
        value text COLLATE "C" NOT NULL,
        state jsonb NOT NULL,
        buys boolean NOT NULL,
        PRIMARY KEY (kind, value)
    ) WITH (fillfactor = 70)
    """,
    """
    CREATE TABLE membership (
        profile_id text COLLATE "C" PRIMARY KEY,
        version bigint NOT NULL,
        redirect text
    ) WITH (fillfactor = 90)
    """,
    """
    CREATE TABLE member (
        kind text COLLATE "C" NOT NULL,
        value text COLLATE "C" NOT NULL,
        profile_id text COLLATE "C" NOT NULL,
        PRIMARY KEY (kind, value, profile_id)
    )
    """,
    "CREATE INDEX member_by_profile ON member (profile_id)",
    """
    CREATE TABLE score (
        profile_id text COLLATE "C" PRIMARY KEY,
        version bigint NOT NULL,
        published bigint NOT NULL,
        marked_at timestamptz NOT NULL,
        buys boolean NOT NULL,
        scored_on date
    ) WITH (fillfactor = 70)
    """,
    "CREATE INDEX score_dirty ON score (marked_at) WHERE version > published",
    "CREATE INDEX score_aging ON score (scored_on) WHERE buys",
    "CREATE INDEX score_buying ON score (profile_id) WHERE buys",
    """
    CREATE TABLE model (
        id text COLLATE "C" PRIMARY KEY,
        status text NOT NULL CHECK (status IN ('fitting', 'ready', 'active', 'retired', 'failed')),
        as_of timestamptz NOT NULL,
        activate boolean NOT NULL,
        requested_at timestamptz NOT NULL,
        leased_until timestamptz,
        attempts integer NOT NULL,
        finished_at timestamptz,
        fit_seconds double precision,
        reason text,
        state jsonb,
        marked_through text COLLATE "C"
    )
    """,
    "CREATE UNIQUE INDEX model_active ON model (status) WHERE status = 'active'",
)


def upgrade() -> None:
    for statement in (*TABLES_V1, *DDL):
        op.execute(statement)
