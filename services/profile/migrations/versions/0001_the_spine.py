"""The spine: fragments, the identity graph, views, timeline, segments."""

from __future__ import annotations

from alembic import op

from shared.stream import TABLES_V1

revision = "0001"
down_revision = None

TABLES = (
    """
    CREATE TABLE fragment (
        kind text COLLATE "C" NOT NULL,
        value text COLLATE "C" NOT NULL,
        state json NOT NULL,
        PRIMARY KEY (kind, value)
    ) WITH (fillfactor = 70)
    """,
    """
    CREATE TABLE identifier (
        kind text COLLATE "C" NOT NULL,
        value text COLLATE "C" NOT NULL,
        seen_at timestamptz,
        seen_id text COLLATE "C",
        owner_kind text COLLATE "C",
        owner_value text COLLATE "C",
        claimed_at timestamptz,
        claimed_id text COLLATE "C",
        profile_id uuid,
        joined bigint NOT NULL DEFAULT 0,
        PRIMARY KEY (kind, value)
    ) WITH (fillfactor = 85)
    """,
    "CREATE INDEX identifier_by_profile ON identifier (profile_id)",
    """
    CREATE INDEX identifier_by_owner ON identifier (owner_kind, owner_value, kind, claimed_at, claimed_id, value)
    WHERE owner_value IS NOT NULL
    """,
    """
    CREATE TABLE edge (
        member_kind text COLLATE "C" NOT NULL,
        member_value text COLLATE "C" NOT NULL,
        owner_kind text COLLATE "C" NOT NULL,
        owner_value text COLLATE "C" NOT NULL,
        kind text COLLATE "C" NOT NULL,
        at timestamptz NOT NULL,
        touchpoint_id text COLLATE "C" NOT NULL,
        PRIMARY KEY (member_kind, member_value, owner_kind, owner_value, kind)
    )
    """,
    """
    CREATE TABLE profile (
        profile_id uuid PRIMARY KEY,
        version bigint NOT NULL,
        redirect uuid,
        marked_at timestamptz,
        membership bytea
    ) WITH (fillfactor = 70)
    """,
    "CREATE INDEX profile_marked ON profile (marked_at) WHERE marked_at IS NOT NULL",
    """
    CREATE TABLE view (
        profile_id uuid PRIMARY KEY,
        version bigint NOT NULL,
        body json NOT NULL,
        stage text COLLATE "C",
        stage_since timestamptz
    ) WITH (fillfactor = 70)
    """,
    """
    CREATE TABLE score (
        profile_id uuid PRIMARY KEY,
        version bigint NOT NULL,
        engagement double precision,
        ltv double precision,
        churn_risk double precision
    ) WITH (fillfactor = 70)
    """,
    """
    CREATE TABLE timeline (
        kind text COLLATE "C" NOT NULL,
        value text COLLATE "C" NOT NULL,
        at timestamptz NOT NULL,
        touchpoint_id text COLLATE "C" NOT NULL,
        source text COLLATE "C" NOT NULL,
        received_at timestamptz NOT NULL,
        type text COLLATE "C" NOT NULL,
        name text COLLATE "C",
        channel text COLLATE "C" NOT NULL,
        properties json NOT NULL,
        identifiers json NOT NULL,
        PRIMARY KEY (kind, value, at, touchpoint_id, source)
    )
    """,
    """
    CREATE TABLE segment (
        id text COLLATE "C" PRIMARY KEY,
        name text COLLATE "C" NOT NULL,
        rule text COLLATE "C" NOT NULL,
        saved_at timestamptz NOT NULL,
        filling boolean NOT NULL,
        filled_to uuid
    )
    """,
    """
    CREATE TABLE segment_member (
        profile_id uuid NOT NULL,
        segment_id text COLLATE "C" NOT NULL,
        since timestamptz NOT NULL,
        PRIMARY KEY (profile_id, segment_id)
    )
    """,
    "CREATE INDEX segment_member_by_segment ON segment_member (segment_id, profile_id)",
    """
    CREATE TABLE signal (
        profile_id uuid NOT NULL,
        id uuid NOT NULL,
        body json NOT NULL,
        PRIMARY KEY (profile_id, id)
    )
    """,
)


def upgrade() -> None:
    for statement in (*TABLES_V1, *TABLES):
        op.execute(statement)


def downgrade() -> None:
    raise NotImplementedError("there is nothing before the first migration: drop the schema instead")
