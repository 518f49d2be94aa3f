"""Marks in a table of their own: marking a profile and telling it touch no index of `profile` any more."""

from __future__ import annotations

from alembic import op

revision = "0011"
down_revision = "0010"

STATEMENTS = (
    # Nobody marks from here on until all of it is done: what is marked between two statements would be marked nowhere.
    "LOCK TABLE profile IN SHARE ROW EXCLUSIVE MODE",
    # Rows come and go by the thousand a second, so what is left of them is swept by their number and not by a share.
    """
    CREATE TABLE mark (
        profile_id uuid PRIMARY KEY,
        marked_at timestamptz NOT NULL,
        patient boolean NOT NULL
    ) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000, autovacuum_vacuum_cost_delay = 0)
    """,
    "CREATE INDEX mark_by_time ON mark (marked_at)",
    "INSERT INTO mark SELECT profile_id, marked_at, patient FROM profile WHERE marked_at IS NOT NULL",
    "UPDATE profile SET marked_at = NULL WHERE marked_at IS NOT NULL",
    # In a rolling deploy, processes of the version before go on marking as they did: nobody else would see it.
    """
    CREATE FUNCTION pass_mark_on() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO mark VALUES (NEW.profile_id, NEW.marked_at, NEW.patient)
        ON CONFLICT (profile_id) DO UPDATE SET
            marked_at = least(mark.marked_at, excluded.marked_at), patient = mark.patient AND excluded.patient;
        RETURN NULL;
    END $$
    """,
    """
    CREATE TRIGGER profile_marked_before AFTER INSERT OR UPDATE OF marked_at ON profile FOR EACH ROW
    WHEN (NEW.marked_at IS NOT NULL) EXECUTE FUNCTION pass_mark_on()
    """,
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    raise NotImplementedError("a version before this one does not see what is marked here: publish it all first")
