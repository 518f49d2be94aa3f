"""The timeline in partitions by time, so that retention is a dropped partition and a page never grows dearer.

Every touchpoint is kept: all rows are copied, counted, and only then is the old table dropped. Nobody reads or writes
the timeline meanwhile: the service, if it runs, waits five seconds for it at a time, backs off, and loses nothing. A
million rows take about twenty seconds on two cores, and until the end as much disk again as the timeline has.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

SET_ASIDE = (
    "LOCK TABLE timeline IN ACCESS EXCLUSIVE MODE",
    "ALTER TABLE timeline RENAME TO timeline_0001",
    "ALTER TABLE timeline_0001 RENAME CONSTRAINT timeline_pkey TO timeline_0001_pkey",
)

TABLES = (
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
        identifiers json NOT NULL
    ) PARTITION BY RANGE (at)
    """,
    "CREATE TABLE timeline_rest PARTITION OF timeline DEFAULT",
    """
    CREATE TABLE presence (
        kind text COLLATE "C" NOT NULL,
        value text COLLATE "C" NOT NULL,
        month integer NOT NULL,
        channel text COLLATE "C" NOT NULL,
        type text COLLATE "C" NOT NULL
    )
    """,
    """
    CREATE TABLE retention (
        what text COLLATE "C" PRIMARY KEY,
        removed_before timestamptz NOT NULL
    )
    """,
    # -infinity is how the first moment of the year 1 arrives from Python.
    """
    CREATE FUNCTION month_of(at timestamptz) RETURNS integer LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN
        CAST(12 * extract(year FROM greatest(at, '0001-01-01 00:00:00+00') AT TIME ZONE 'UTC')
            + extract(month FROM greatest(at, '0001-01-01 00:00:00+00') AT TIME ZONE 'UTC') - 1 AS integer)
    """,
)

# The layout as it is when this runs (later: domain/periods.py). Months that are not near stay in the rest.
PERIODS = sa.text("""
    SELECT DISTINCT
        CASE WHEN year < 1970 THEN 'before_1970' WHEN year < 2020 THEN to_char(starts, 'YYYY')
            ELSE to_char(starts, 'YYYY_MM') END AS name,
        CASE WHEN year < 1970 THEN 'MINVALUE' ELSE quote_literal(to_char(starts, 'YYYY-MM-DD') || ' 00:00+00') END
            AS starts,
        CASE WHEN year < 1970 THEN '1970-01-01 00:00+00'
            ELSE to_char(starts + CASE WHEN year < 2020 THEN interval '1 year' ELSE interval '1 month' END,
                'YYYY-MM-DD') || ' 00:00+00' END AS ends
    FROM (
        SELECT DISTINCT
            extract(year FROM at AT TIME ZONE 'UTC') AS year,
            date_trunc(
                CASE WHEN at < '2020-01-01 00:00+00' THEN 'year' ELSE 'month' END, at AT TIME ZONE 'UTC'
            ) AS starts
        FROM timeline_0001
        WHERE at AT TIME ZONE 'UTC' < date_trunc('month', now() AT TIME ZONE 'UTC') + interval '2 months'
    ) AS present
    ORDER BY name
""")

# Keys and indexes after the rows: made in one go they take a third of the time.
FILL = (
    "INSERT INTO timeline SELECT * FROM timeline_0001",
    "ALTER TABLE timeline ADD PRIMARY KEY (kind, value, at, touchpoint_id, source)",
    """
    CREATE INDEX timeline_by_name ON timeline (kind, value, name, at, touchpoint_id, source) WHERE name IS NOT NULL
    """,
    "INSERT INTO presence SELECT DISTINCT kind, value, month_of(at), channel, type FROM timeline",
    "ALTER TABLE presence ADD PRIMARY KEY (kind, value, month, channel, type)",
    "CREATE INDEX presence_by_month ON presence USING brin (month)",
    """
    DO $$
    BEGIN
        IF (SELECT count(*) FROM timeline) <> (SELECT count(*) FROM timeline_0001) THEN
            RAISE 'rows of the timeline are missing after they were copied: nothing was changed';
        END IF;
    END
    $$
    """,
    "DROP TABLE timeline_0001",
)

# Kept by the database, as an index is: so it is whole whoever writes, a service of the version before included.
PRESENCE = (
    """
    CREATE FUNCTION note_presence() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
    BEGIN
        INSERT INTO presence (kind, value, month, channel, type)
        SELECT DISTINCT kind, value, month_of(at), channel, type FROM added ORDER BY 1, 2, 3, 4, 5
        ON CONFLICT DO NOTHING;
        RETURN NULL;
    END
    $$
    """,
    """
    CREATE TRIGGER presence AFTER INSERT ON timeline
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION note_presence()
    """,
)


def upgrade() -> None:
    for statement in (*SET_ASIDE, *TABLES):
        op.execute(statement)
    for period in op.get_bind().execute(PERIODS).all():
        op.execute(
            f"CREATE TABLE timeline_{period.name} PARTITION OF timeline "
            f"FOR VALUES FROM ({period.starts}) TO ('{period.ends}')"
        )
    for statement in (*FILL, *PRESENCE):
        op.execute(statement)


def downgrade() -> None:
    raise NotImplementedError("what retention has removed can't come back: restore a backup instead")
