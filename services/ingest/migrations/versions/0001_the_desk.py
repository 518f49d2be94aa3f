"""The desk: sources with their keys, the tracking plan, rejected events, and who changed what."""

from __future__ import annotations

from alembic import op

from shared.stream import TABLES_V1

revision = "0001"
down_revision = None

TABLES = (
    """
    CREATE TABLE source (
        name text COLLATE "C" PRIMARY KEY,
        usual text COLLATE "C" NOT NULL,
        origins text[] COLLATE "C" NOT NULL,
        rate double precision,
        quota bigint,
        unplanned text COLLATE "C" NOT NULL,
        made_at timestamptz NOT NULL
    )
    """,
    """
    CREATE TABLE source_key (
        id text COLLATE "C" PRIMARY KEY,
        source text COLLATE "C" NOT NULL REFERENCES source (name),
        digest bytea NOT NULL UNIQUE,
        hint text COLLATE "C" NOT NULL,
        scopes text[] COLLATE "C" NOT NULL,
        made_at timestamptz NOT NULL,
        ends_at timestamptz
    )
    """,
    "CREATE INDEX source_key_by_source ON source_key (source)",
    """
    CREATE TABLE quota_use (
        source text COLLATE "C" NOT NULL,
        day date NOT NULL,
        calls bigint NOT NULL,
        PRIMARY KEY (source, day)
    ) WITH (fillfactor = 70)
    """,
    """
    CREATE TABLE planned_event (
        source text COLLATE "C" NOT NULL,
        type text COLLATE "C" NOT NULL,
        name text COLLATE "C" NOT NULL,
        version integer NOT NULL,
        mode text COLLATE "C" NOT NULL,
        schema json NOT NULL,
        saved_at timestamptz NOT NULL,
        saved_by text COLLATE "C" NOT NULL,
        PRIMARY KEY (source, type, name, version)
    )
    """,
    """
    CREATE TABLE plan_violation (
        source text COLLATE "C" NOT NULL,
        type text COLLATE "C" NOT NULL,
        name text COLLATE "C" NOT NULL,
        day date NOT NULL,
        mode text COLLATE "C" NOT NULL,
        path text COLLATE "C" NOT NULL,
        calls bigint NOT NULL,
        PRIMARY KEY (source, type, name, day, mode, path)
    ) WITH (fillfactor = 70)
    """,
    """
    CREATE TABLE rejected (
        id text COLLATE "C" PRIMARY KEY,
        source text COLLATE "C" NOT NULL,
        received_at timestamptz NOT NULL,
        type text COLLATE "C",
        name text COLLATE "C",
        message_id text COLLATE "C",
        code text COLLATE "C" NOT NULL,
        status text COLLATE "C" NOT NULL,
        body bytea NOT NULL,
        refusal json NOT NULL,
        history jsonb NOT NULL,
        size integer NOT NULL,
        digest bytea
    )
    """,
    # With the size, so that what is to go is found in the index alone.
    "CREATE INDEX rejected_by_time ON rejected (received_at, id) INCLUDE (size)",
    "CREATE INDEX rejected_by_code ON rejected (code, received_at, id)",
    "CREATE INDEX rejected_by_source ON rejected (source, received_at, id)",
    "CREATE INDEX rejected_by_message ON rejected (message_id)",
    # For those who replay, the oldest first.
    "CREATE INDEX rejected_waiting ON rejected (received_at, id) WHERE status = 'waiting'",
    # The same call, sent again while it waits, waits once.
    "CREATE UNIQUE INDEX rejected_once ON rejected (digest) WHERE status = 'waiting'",
    """
    CREATE TABLE audit (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        at timestamptz NOT NULL,
        actor text COLLATE "C" NOT NULL,
        action text COLLATE "C" NOT NULL,
        object text COLLATE "C" NOT NULL,
        before json,
        after json
    )
    """,
    # Append-only, for whoever gets at it with the service's own role, too.
    """
    CREATE FUNCTION audit_is_append_only() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'audit is append-only'; END $$
    """,
    """
    CREATE TRIGGER audit_stays BEFORE UPDATE OR DELETE OR TRUNCATE ON audit
    FOR EACH STATEMENT EXECUTE FUNCTION audit_is_append_only()
    """,
    # The two sources of the keys that settings give; a person may change them as any other.
    """
    INSERT INTO source (name, usual, origins, unplanned, made_at)
    VALUES ('web', 'unknown', '{}', 'allow', now()), ('server', 'server', '{}', 'allow', now())
    """,
)


def upgrade() -> None:
    for statement in (*TABLES_V1, *TABLES):
        op.execute(statement)


def downgrade() -> None:
    raise NotImplementedError("there is nothing before the first version")
