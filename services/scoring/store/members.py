"""Who is who."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import text

from services.scoring.domain.membership import Relinked
from shared.db import Work
from shared.events import Membership
from shared.identifiers import Identifier

ENSURE = text("""
    INSERT INTO membership (profile_id, version) SELECT unnest(CAST(:profiles AS text[])), -1 ON CONFLICT DO NOTHING
""")
LOCK = text("""
    SELECT profile_id, version, redirect FROM membership WHERE profile_id = ANY(CAST(:profiles AS text[]))
    ORDER BY profile_id FOR UPDATE
""")
MEMBERS = text("""
    SELECT profile_id, kind, value FROM member WHERE profile_id = ANY(CAST(:profiles AS text[]))
    ORDER BY profile_id, kind, value
""")
PUT = text("""
    UPDATE membership SET version = new.version, redirect = new.redirect
    FROM unnest(CAST(:profiles AS text[]), CAST(:versions AS bigint[]), CAST(:redirects AS text[]))
        AS new (profile_id, version, redirect)
    WHERE membership.profile_id = new.profile_id
""")
JOIN = text("""
    INSERT INTO member (profile_id, kind, value)
    SELECT * FROM unnest(CAST(:profiles AS text[]), CAST(:kinds AS text[]), CAST(:values AS text[]))
    ON CONFLICT DO NOTHING
""")
LEAVE = text("""
    DELETE FROM member USING unnest(CAST(:profiles AS text[]), CAST(:kinds AS text[]), CAST(:values AS text[]))
        AS gone (profile_id, kind, value)
    WHERE member.profile_id = gone.profile_id AND member.kind = gone.kind AND member.value = gone.value
""")
FIND = text("""
    SELECT profile_id FROM member JOIN membership USING (profile_id)
    WHERE kind = :kind AND value = :value AND redirect IS NULL ORDER BY profile_id LIMIT 1
""")
# An absorbed profile's absorber may have been absorbed in its turn; sixteen times over is a mistake, not a person.
FOLLOW = text("""
    WITH RECURSIVE chain AS (
        SELECT profile_id, redirect, 1 AS hops FROM membership WHERE profile_id = :profile
        UNION ALL
        SELECT next.profile_id, next.redirect, chain.hops + 1
        FROM chain JOIN membership AS next ON next.profile_id = chain.redirect WHERE chain.hops < 16
    )
    SELECT profile_id FROM chain WHERE redirect IS NULL
""")


async def lock(work: Work, profiles: Sequence[str]) -> dict[str, Membership]:
    """What is known of `profiles` (sorted), locked until `work` ends; version -1 where nothing was."""
    await work.execute(ENSURE, {"profiles": list(profiles)})
    rows = (await work.execute(LOCK, {"profiles": list(profiles)})).all()
    members = await of_profiles(work, profiles)
    return {
        row.profile_id: Membership(
            profile_id=row.profile_id,
            version=row.version,
            redirect=row.redirect,
            identifiers=tuple(members.get(row.profile_id, ())),
        )
        for row in rows
    }


async def put(work: Work, relinked: Relinked) -> None:
    """Write what changed, of memberships that `work` has locked."""
    heard = relinked.heard
    await work.execute(
        PUT,
        {
            "profiles": [each.profile_id for each in heard],
            "versions": [each.version for each in heard],
            "redirects": [each.redirect for each in heard],
        },
    )
    if relinked.left:
        await work.execute(LEAVE, _rows(relinked.left))
    if relinked.joined:
        await work.execute(JOIN, _rows(relinked.joined))


async def of_profiles(work: Work, profiles: Sequence[str]) -> dict[str, list[Identifier]]:
    """The identifiers of each of `profiles`, sorted."""
    members: dict[str, list[Identifier]] = {}
    for row in await work.execute(MEMBERS, {"profiles": list(profiles)}):
        members.setdefault(row.profile_id, []).append(Identifier(row.kind, row.value))
    return members


async def find(work: Work, identifier: Identifier) -> str | None:
    """The profile that has `identifier`; for a `profile_id` that profile, or the one that absorbed it."""
    if identifier.kind == "profile_id":
        found = await work.execute(FOLLOW, {"profile": identifier.value})
    else:
        found = await work.execute(FIND, {"kind": identifier.kind, "value": identifier.value})
    profile_id: str | None = found.scalar()
    return profile_id


def _rows(pairs: Sequence[tuple[str, Identifier]]) -> dict[str, list[str]]:
    return {
        "profiles": [profile_id for profile_id, _ in pairs],
        "kinds": [identifier.kind for _, identifier in pairs],
        "values": [identifier.value for _, identifier in pairs],
    }
