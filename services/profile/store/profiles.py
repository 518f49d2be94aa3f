"""Profiles: their versions, who waits to be published, what was published.

`profile` is the consumers' row and `view` the publisher's; a `mark` is there while a profile waits to be published. The
publisher claims profiles by advisory locks, not by row locks: a consumer that marks a profile never waits until Kafka
has acknowledged the last publication of it. A claim ends with its transaction, so that of a process that dies nothing
stays claimed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

import msgspec
from sqlalchemy import text

from services.profile.domain.linking import Settled
from services.profile.domain.publication import Publication
from shared.db import Work
from shared.identifiers import Identifier

CREATE = text("""
    WITH made AS (
        INSERT INTO profile (profile_id, version) SELECT unnest(CAST(:ids AS uuid[])), 1
        ON CONFLICT DO NOTHING RETURNING profile_id
    ), marked AS (
        INSERT INTO mark (profile_id, marked_at, patient) SELECT profile_id, :now, false FROM made
    )
    SELECT profile_id FROM made
""")
# A mark is put and removed only under its profile's lock. One that says so already is left as it is. (`patient` of
# `profile` is for readers of the version before.)
MARK = text("""
    WITH locked AS (
        SELECT profile_id FROM profile WHERE profile_id = ANY(CAST(:ids AS uuid[]))
        ORDER BY profile_id FOR NO KEY UPDATE
    ), moved AS (
        UPDATE profile SET version = version + 1, patient = false FROM locked
        WHERE profile.profile_id = locked.profile_id
        RETURNING profile.profile_id, version
    ), marked AS (
        INSERT INTO mark (profile_id, marked_at, patient) SELECT profile_id, :now, false FROM moved
        ON CONFLICT (profile_id) DO UPDATE
        SET marked_at = least(mark.marked_at, excluded.marked_at), patient = false
        WHERE mark.patient OR mark.marked_at > excluded.marked_at
    )
    SELECT profile_id, version FROM moved
""")
# A profile that is marked for something else is told of both together, as soon as for the other.
MARK_LATER = text("""
    WITH locked AS (
        SELECT profile_id FROM profile WHERE profile_id = ANY(CAST(:ids AS uuid[]))
        ORDER BY profile_id FOR NO KEY UPDATE
    ), moved AS (
        UPDATE profile SET version = version + 1 FROM locked WHERE profile.profile_id = locked.profile_id
        RETURNING profile.profile_id
    )
    INSERT INTO mark (profile_id, marked_at, patient) SELECT profile_id, :until, true FROM moved
    ON CONFLICT (profile_id) DO UPDATE SET marked_at = excluded.marked_at WHERE mark.marked_at > excluded.marked_at
""")
SETTLE = text("""
    UPDATE profile SET version = new.version, redirect = new.redirect
    FROM unnest(CAST(:ids AS uuid[]), CAST(:versions AS bigint[]), CAST(:redirects AS uuid[]))
        AS new (profile_id, version, redirect)
    WHERE profile.profile_id = new.profile_id
""")
# Only patient marks lie ahead on purpose: any other was made by a process whose clock is fast, and is not waited for.
# The candidates are fixed first, so that no more of them are locked than are taken. 8002 sets our locks apart from
# those that others in this database may take on the same ids.
CLAIM = text("""
    WITH waiting AS MATERIALIZED (
        SELECT profile_id, marked_at FROM mark
        WHERE marked_at <= :until OR (marked_at > :now AND NOT patient)
        ORDER BY marked_at LIMIT 10 * :limit
    ), claimed AS MATERIALIZED (
        SELECT * FROM waiting WHERE pg_try_advisory_xact_lock(hashtextextended(profile_id::text, 8002)) LIMIT :limit
    )
    SELECT profile_id, marked_at FROM claimed
""")
# Who is due later than they were stays due as before: then it is looked again once too often, and told anew when. A
# view whose due moment stays is updated without touching an index; most people's moves with all that they do.
WRITE = text("""
    INSERT INTO view (profile_id, version, body, stage, stage_since, due_at)
    SELECT * FROM unnest(
        CAST(:ids AS uuid[]), CAST(:versions AS bigint[]), CAST(:bodies AS json[]),
        CAST(:stages AS text[]), CAST(:stages_since AS timestamptz[]), CAST(:dues AS timestamptz[])
    )
    ON CONFLICT (profile_id) DO UPDATE
    SET (version, body, stage, stage_since) = (excluded.version, excluded.body, excluded.stage, excluded.stage_since),
        due_at = CASE WHEN excluded.due_at IS NOT NULL THEN least(view.due_at, excluded.due_at) END
""")
# What a consumer holds is being marked again: its mark must stay, and there is nothing to wait for. Whoever was marked
# again meanwhile waits since they were told, and not since before: or who is always busy would always come first.
CLEAR = text("""
    WITH told AS (
        SELECT * FROM unnest(CAST(:ids AS uuid[]), CAST(:versions AS bigint[]), CAST(:memberships AS bytea[]))
            AS told (profile_id, version, membership)
    ), unmoved AS (
        SELECT profile.profile_id, told.membership FROM profile JOIN told USING (profile_id)
        WHERE profile.version = told.version
        ORDER BY profile.profile_id FOR NO KEY UPDATE OF profile SKIP LOCKED
    ), unmarked AS (
        DELETE FROM mark USING unmoved WHERE mark.profile_id = unmoved.profile_id
    ), busy AS (
        SELECT profile_id FROM mark JOIN told USING (profile_id)
        WHERE marked_at < :at AND NOT patient AND profile_id NOT IN (SELECT profile_id FROM unmoved)
        FOR UPDATE OF mark SKIP LOCKED
    ), waiting AS (
        UPDATE mark SET marked_at = :at FROM busy WHERE mark.profile_id = busy.profile_id
    )
    UPDATE profile SET membership = unmoved.membership
    FROM unmoved
    WHERE profile.profile_id = unmoved.profile_id AND profile.membership IS DISTINCT FROM unmoved.membership
""")
BACKLOG = text("SELECT count(*), min(marked_at) FROM mark")
WAITING = text("SELECT count(*) FROM (SELECT FROM mark WHERE marked_at <= :now LIMIT :most) AS marked")
OLDER = text("""
    SELECT EXISTS (SELECT FROM mark WHERE marked_at <= :than OR (marked_at > :now AND NOT patient))
""")
BY_IDENTIFIER = text("""
    SELECT profile.profile_id, CASE WHEN mark.patient THEN identifier.joined ELSE profile.version END,
        identifier.joined,
        view.version AS shown, CAST(view.body AS text) AS body
    FROM identifier JOIN profile USING (profile_id)
    LEFT JOIN mark USING (profile_id) LEFT JOIN view USING (profile_id)
    WHERE identifier.kind = :kind AND identifier.value = :value
""")
BY_ID = text("""
    SELECT profile.profile_id, CASE WHEN mark.patient THEN 1 ELSE profile.version END, 1 AS joined,
        view.version AS shown, CAST(view.body AS text) AS body
    FROM profile AS asked
    JOIN profile ON profile.profile_id = coalesce(asked.redirect, asked.profile_id)
    LEFT JOIN mark ON mark.profile_id = profile.profile_id
    LEFT JOIN view ON view.profile_id = profile.profile_id
    WHERE asked.profile_id = CAST(:profile_id AS uuid)
""")
NEXT_CHUNK = text("""
    SELECT profile_id FROM profile
    WHERE CAST(:after AS uuid) IS NULL OR profile_id > CAST(:after AS uuid)
    ORDER BY profile_id LIMIT :limit
""")


class Claimed(NamedTuple):
    """A profile taken for publication, and since when it waits."""

    profile_id: str
    marked_at: datetime


class Found(NamedTuple):
    """A profile as a reader finds it: the version of its last change that somebody may wait for (not of one that is
    itself told later); the version from which the identifier asked for shows; the view.
    """

    profile_id: str
    version: int
    joined: int
    shown: int | None
    body: str | None


async def create(work: Work, ids: Collection[str], now: datetime) -> dict[str, int]:
    """Those of `ids` that did not exist, now there and marked: their versions."""
    if not ids:
        return {}
    rows = await work.execute(CREATE, {"ids": sorted(ids), "now": now})
    return {str(row.profile_id): 1 for row in rows.all()}


async def mark(work: Work, ids: Collection[str], now: datetime) -> dict[str, int]:
    """Mark those of `ids` that exist, each with its next version, and lock them. Gives the versions."""
    if not ids:
        return {}
    rows = await work.execute(MARK, {"ids": sorted(ids), "now": now})
    return {str(profile_id): version for profile_id, version in rows.all()}


async def mark_later(work: Work, ids: Collection[str], until: datetime) -> None:
    """Mark those of `ids` that exist, each with its next version, to be published at `until`, if not sooner."""
    if ids:
        await work.execute(MARK_LATER, {"ids": sorted(ids), "until": until})


async def settle(work: Work, profiles: Mapping[str, Settled]) -> None:
    """Write what became of locked profiles."""
    if not profiles:
        return
    rows = sorted(profiles.items())
    await work.execute(
        SETTLE,
        {
            "ids": [profile_id for profile_id, _ in rows],
            "versions": [settled.version for _, settled in rows],
            "redirects": [settled.redirect for _, settled in rows],
        },
    )


async def claim(work: Work, limit: int, now: datetime, hold: timedelta) -> list[Claimed]:
    """Some profiles that have waited to be published for `hold`, the longest waiting first; nobody else's while `work`
    lasts.
    """
    rows = await work.execute(CLAIM, {"limit": limit, "now": now, "until": now - hold})
    return [Claimed(str(profile_id), marked_at) for profile_id, marked_at in rows.all()]


async def write(work: Work, publications: Iterable[Publication]) -> None:
    """Write the views."""
    rows = sorted(publications, key=lambda each: each.view.profile_id)
    await work.execute(
        WRITE,
        {
            "ids": [each.view.profile_id for each in rows],
            "versions": [each.view.version for each in rows],
            "bodies": [msgspec.json.encode(each.view).decode() for each in rows],
            "stages": [each.stage and each.stage.name for each in rows],
            "stages_since": [each.stage and each.stage.since for each in rows],
            "dues": [each.due for each in rows],
        },
    )


async def clear(work: Work, told: Sequence[tuple[str, int, bytes]], at: datetime) -> None:
    """Unmark the profiles that still have the version that Kafka was told, with the digest of their membership.

    `at`: as of when it was told. The others wait since then.
    """
    await work.execute(
        CLEAR,
        {
            "ids": [profile_id for profile_id, _, _ in told],
            "versions": [version for _, version, _ in told],
            "memberships": [digest for _, _, digest in told],
            "at": at,
        },
    )


async def waiting(work: Work, most: int, now: datetime) -> int:
    """How many could be published `now`; those past `most` are not counted."""
    counted: int = (await work.execute(WAITING, {"most": most, "now": now})).scalar_one()
    return counted


async def older(work: Work, than: datetime, now: datetime) -> bool:
    """Whether anybody who was marked up to that moment waits to be published. Who was marked by a fast clock may be
    one of them: so they count, too.
    """
    found: bool = (await work.execute(OLDER, {"than": than, "now": now})).scalar_one()
    return found


async def backlog(work: Work) -> tuple[int, datetime | None]:
    """How many wait to be published, and since when the first of them."""
    count, oldest = (await work.execute(BACKLOG)).one()
    return count, oldest


async def find(work: Work, identifier: Identifier) -> Found | None:
    """The profile that has `identifier`."""
    row = (await work.execute(BY_IDENTIFIER, {"kind": identifier.kind, "value": identifier.value})).one_or_none()
    return None if row is None else Found(str(row.profile_id), *row[1:])


async def find_by_id(work: Work, profile_id: str) -> Found | None:
    """The profile with this id, or the one that absorbed it."""
    row = (await work.execute(BY_ID, {"profile_id": profile_id})).one_or_none()
    return None if row is None else Found(str(row.profile_id), *row[1:])


async def next_chunk(work: Work, after: str | None, limit: int) -> list[str]:
    """The next profile ids, in their order."""
    return [str(id) for id in (await work.execute(NEXT_CHUNK, {"after": after, "limit": limit})).scalars()]
