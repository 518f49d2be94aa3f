"""Groups: what is known of each, and who is in it.

Who is in a group is written with their view, as the members of segments are, so that the two never disagree; and a page
of a company's people is a walk down an index, however many they are.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Row, text

from services.profile.domain.groups import Group, fold_group
from services.profile.domain.publication import Publication
from shared.db import Work

# As with fragments (store/fragments.py): a new one is its first addition, and the others are locked in their order.
BEGIN = text("""
    INSERT INTO group_fragment (group_id, state)
    SELECT * FROM unnest(CAST(:ids AS text[]), CAST(:states AS json[]))
    ON CONFLICT DO NOTHING RETURNING group_id
""")
LOCK = text("""
    SELECT group_id, CAST(state AS text) AS state
    FROM group_fragment WHERE group_id = ANY(CAST(:ids AS text[])) ORDER BY group_id FOR NO KEY UPDATE
""")
PUT = text("""
    UPDATE group_fragment SET state = new.state
    FROM unnest(CAST(:ids AS text[]), CAST(:states AS json[])) AS new (group_id, state)
    WHERE group_fragment.group_id = new.group_id
""")
FIND = text("SELECT CAST(state AS text) AS state FROM group_fragment WHERE group_id = :id")
PAGE = text("""
    SELECT group_id, CAST(state AS text) AS state FROM group_fragment
    WHERE group_id > :after ORDER BY group_id LIMIT :limit
""")
COUNT = text("SELECT count(*) FROM group_member WHERE group_id = :id")
# The first moment there is stands in the database as -infinity, and is to be read as what it was.
MEMBERS = text("""
    SELECT profile_id, greatest(since, timestamptz '0001-01-01 00:00+00') AS since FROM group_member
    WHERE group_id = :id AND (CAST(:after AS uuid) IS NULL OR profile_id > CAST(:after AS uuid))
    ORDER BY profile_id LIMIT :limit
""")
LEAVE = text("""
    DELETE FROM group_member
    WHERE profile_id = ANY(CAST(:published AS uuid[])) AND NOT EXISTS (
        SELECT FROM unnest(CAST(:ids AS uuid[]), CAST(:groups AS text[])) AS still (profile_id, group_id)
        WHERE still.profile_id = group_member.profile_id AND still.group_id = group_member.group_id
    )
""")
ENTER = text("""
    INSERT INTO group_member (profile_id, group_id, since)
    SELECT * FROM unnest(CAST(:ids AS uuid[]), CAST(:groups AS text[]), CAST(:sinces AS timestamptz[]))
    ON CONFLICT (profile_id, group_id) DO UPDATE SET since = excluded.since
    WHERE group_member.since <> excluded.since
""")

_decoder = msgspec.json.Decoder(Group)


async def add(work: Work, additions: Mapping[str, Group]) -> None:
    """Fold `additions` into what is known of the groups."""
    if not additions:
        return
    begun = set((await work.execute(BEGIN, _rows(additions))).scalars())
    if rest := additions.keys() - begun:
        known = await _lock(work, rest)
        await work.execute(PUT, _rows({id: fold_group([old, additions[id]]) for id, old in known.items()}))


async def _lock(work: Work, ids: Collection[str]) -> dict[str, Group]:
    return {row.group_id: _decoder.decode(row.state) for row in await work.execute(LOCK, {"ids": sorted(ids)})}


async def find(work: Work, group_id: str) -> Group | None:
    state = (await work.execute(FIND, {"id": group_id})).scalar_one_or_none()
    return None if state is None else _decoder.decode(state)


async def page(work: Work, after: str, limit: int) -> list[tuple[str, Group]]:
    """Groups by id, those past `after`."""
    rows = await work.execute(PAGE, {"after": after, "limit": limit})
    return [(row.group_id, _decoder.decode(row.state)) for row in rows]


async def count(work: Work, group_id: str) -> int:
    """How many profiles are in the group."""
    counted: int = (await work.execute(COUNT, {"id": group_id})).scalar_one()
    return counted


async def members(work: Work, group_id: str, after: str | None, limit: int) -> Sequence[Row[Any]]:
    """Who is in the group, by profile id, those past `after`."""
    return (await work.execute(MEMBERS, {"id": group_id, "after": after, "limit": limit})).all()


async def change(work: Work, publications: Collection[Publication]) -> None:
    """Bring the members to what `publications` say. Whoever publishes a profile is alone with its rows."""
    published = sorted(each.view.profile_id for each in publications)
    stays = sorted((each.view.profile_id, group.id, group.since) for each in publications for group in each.view.groups)
    keys = {"ids": [profile_id for profile_id, _, _ in stays], "groups": [group_id for _, group_id, _ in stays]}
    await work.execute(LEAVE, {"published": published, **keys})
    if stays:
        await work.execute(ENTER, {**keys, "sinces": [datetime.fromisoformat(since) for _, _, since in stays]})


def _rows(groups: Mapping[str, Group]) -> dict[str, list[str]]:
    ordered = sorted(groups.items())
    return {
        "ids": [group_id for group_id, _ in ordered],
        "states": [msgspec.json.encode(group).decode() for _, group in ordered],
    }
