"""The spine: offers, customers, exposures, decisions, outcomes, evidence."""

from __future__ import annotations

from alembic import op

from shared.stream import TABLES_V1

revision = "0001"
down_revision = None

TABLES = (
    """
    CREATE TABLE offer (
        offer_id text COLLATE "C" PRIMARY KEY,
        version bigint NOT NULL,
        body json NOT NULL,
        deleted_at timestamptz,
        written_by xid8 NOT NULL DEFAULT pg_current_xact_id()
    )
    """,
    "CREATE INDEX offer_written ON offer (written_by)",
    """
    CREATE TABLE customer (
        profile_id text COLLATE "C" PRIMARY KEY,
        version bigint NOT NULL,
        redirect text COLLATE "C",
        view json,
        orders bigint NOT NULL,
        order_value double precision NOT NULL
    ) WITH (fillfactor = 70)
    """,
    """
    CREATE TABLE customer_identifier (
        kind text COLLATE "C" NOT NULL,
        value text COLLATE "C" NOT NULL,
        profile_id text COLLATE "C" NOT NULL,
        PRIMARY KEY (kind, value, profile_id)
    )
    """,
    "CREATE INDEX customer_identifier_by_profile ON customer_identifier (profile_id)",
    """
    CREATE TABLE exposure (
        kind text COLLATE "C" NOT NULL,
        value text COLLATE "C" NOT NULL,
        offer_id text COLLATE "C" NOT NULL,
        decision_id text COLLATE "C" NOT NULL,
        shown_at timestamptz NOT NULL,
        accepted_at timestamptz,
        dismissed_at timestamptz,
        PRIMARY KEY (kind, value, offer_id, decision_id)
    ) WITH (fillfactor = 90)
    """,
    # Rows arrive in the order of time: a block range index is all that pruning needs, and costs inserts nothing.
    "CREATE INDEX exposure_by_time ON exposure USING brin (shown_at)",
    """
    CREATE TABLE decision (
        decision_id text COLLATE "C" PRIMARY KEY,
        profile_id text COLLATE "C",
        decided_at timestamptz NOT NULL,
        holdout boolean NOT NULL,
        record json NOT NULL
    )
    """,
    "CREATE INDEX decision_by_time ON decision USING brin (decided_at)",
    """
    CREATE TABLE participant (
        profile_id text COLLATE "C" PRIMARY KEY,
        decided_at timestamptz NOT NULL,
        holdout boolean NOT NULL
    )
    """,
    """
    CREATE TABLE outcome (
        decision_id text COLLATE "C" NOT NULL,
        offer_id text COLLATE "C" NOT NULL,
        shown_at timestamptz,
        clicked_at timestamptz,
        accepted_at timestamptz,
        dismissed_at timestamptz,
        placement text COLLATE "C",
        channel text COLLATE "C",
        version integer,
        features double precision[],
        shown smallint NOT NULL DEFAULT 0,
        clicked smallint NOT NULL DEFAULT 0,
        considered smallint NOT NULL DEFAULT 0,
        accepted smallint NOT NULL DEFAULT 0,
        due_at timestamptz,
        PRIMARY KEY (decision_id, offer_id)
    ) WITH (fillfactor = 80)
    """,
    "CREATE INDEX outcome_by_time ON outcome USING brin (shown_at)",
    "CREATE INDEX outcome_due ON outcome (due_at) WHERE due_at IS NOT NULL",
    """
    CREATE TABLE evidence (
        placement text COLLATE "C" NOT NULL,
        version integer NOT NULL,
        offer_id text COLLATE "C" NOT NULL,
        features double precision[] NOT NULL,
        shown bigint NOT NULL,
        clicked bigint NOT NULL,
        considered bigint NOT NULL,
        accepted bigint NOT NULL,
        written_by xid8 NOT NULL DEFAULT pg_current_xact_id(),
        PRIMARY KEY (placement, version, offer_id, features)
    ) WITH (fillfactor = 70)
    """,
    "CREATE INDEX evidence_written ON evidence (written_by)",
)


def upgrade() -> None:
    for statement in (*TABLES_V1, *TABLES):
        op.execute(statement)
