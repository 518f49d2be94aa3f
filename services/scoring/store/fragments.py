"""What is known of each identifier."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence

import msgspec
from sqlalchemy import text

from services.scoring.domain import fragment
from services.scoring.domain.fragment import Fragment
from services.scoring.domain.purchases import Days, merged
from shared.db import Work
from shared.identifiers import Identifier

# A row that is not there can't be locked: first make it, then lock it.
ENSURE = text("""
    INSERT INTO fragment (kind, value, state, buys)
    SELECT kind, value, '{}', false FROM unnest(CAST(:kinds AS text[]), CAST(:values AS text[])) AS key (kind, value)
    ON CONFLICT DO NOTHING
""")
LOCK = text("""
    SELECT kind, value, CAST(state AS text) FROM fragment
    WHERE (kind, value) IN (SELECT * FROM unnest(CAST(:kinds AS text[]), CAST(:values AS text[])))
    ORDER BY kind, value FOR UPDATE
""")
HOLD = text("""
    SELECT count(*) FROM (
        SELECT 1 FROM fragment
        WHERE (kind, value) IN (SELECT * FROM unnest(CAST(:kinds AS text[]), CAST(:values AS text[])))
        ORDER BY kind, value FOR SHARE
    ) AS held
""")
PUT = text("""
    UPDATE fragment SET state = new.state, buys = new.buys
    FROM unnest(
        CAST(:kinds AS text[]), CAST(:values AS text[]), CAST(:states AS jsonb[]), CAST(:buys AS boolean[])
    ) AS new (kind, value, state, buys)
    WHERE fragment.kind = new.kind AND fragment.value = new.value
""")
OF_PROFILES = text("""
    SELECT member.profile_id, CAST(fragment.state AS text) FROM member JOIN fragment USING (kind, value)
    WHERE member.profile_id = ANY(CAST(:profiles AS text[])) AND fragment.state <> '{}'
""")
PURCHASES = text("""
    SELECT member.profile_id, CAST(fragment.state -> 'days' AS text) AS days
    FROM member JOIN fragment USING (kind, value)
    WHERE fragment.buys ORDER BY member.profile_id
""")

CHUNK = 2_000
"""Rows that a long reading brings at once: some milliseconds of decoding, then others have their turn."""

_fragment = msgspec.json.Decoder(Fragment)
_days = msgspec.json.Decoder(Days)
_encode = msgspec.json.Encoder().encode


async def lock(work: Work, owners: Sequence[Identifier]) -> dict[Identifier, Fragment]:
    """The fragments of `owners` (sorted), made where missing, and nobody else's to change until `work` ends."""
    await work.execute(ENSURE, _keys(owners))
    rows = await work.execute(LOCK, _keys(owners))
    return {Identifier(row.kind, row.value): _fragment.decode(row.state) for row in rows}


async def hold(work: Work, owners: Sequence[Identifier]) -> None:
    """Wait for whoever is changing these fragments (sorted), and let nobody change them until `work` ends."""
    if owners:
        await work.execute(ENSURE, _keys(owners))
        await work.execute(HOLD, _keys(owners))


async def put(work: Work, fragments: Mapping[Identifier, Fragment]) -> None:
    """Write the fragments, each of which `work` has locked."""
    states = [_encode(each).decode() for each in fragments.values()]
    buys = [each.buys for each in fragments.values()]
    await work.execute(PUT, _keys(list(fragments)) | {"states": states, "buys": buys})


async def of_profiles(work: Work, profiles: Sequence[str]) -> dict[str, Fragment]:
    """Each profile's fragments in one; nothing for profiles without any."""
    sides: dict[str, list[Fragment]] = {}
    for row in await work.execute(OF_PROFILES, {"profiles": list(profiles)}):
        sides.setdefault(row.profile_id, []).append(_fragment.decode(row.state))
    return {profile_id: fragment.merged(each) for profile_id, each in sides.items()}


async def purchases(work: Work) -> AsyncIterator[list[tuple[str, Days]]]:
    """Everybody who ever bought: (profile id, days), in chunks, in the order of ids, as of one moment."""
    rows = await work.stream(PURCHASES)
    waiting: dict[str, list[Days]] = {}
    async for chunk in rows.partitions(CHUNK):
        for profile_id, days in chunk:
            waiting.setdefault(profile_id, []).append(_days.decode(days))
        last, sides = waiting.popitem()  # more of this profile may be in the next chunk
        yield [(profile_id, merged(*each)) for profile_id, each in waiting.items()]
        waiting = {last: sides}
    yield [(profile_id, merged(*each)) for profile_id, each in waiting.items()]


def _keys(identifiers: Sequence[Identifier]) -> dict[str, list[str]]:
    return {"kinds": [each.kind for each in identifiers], "values": [each.value for each in identifiers]}
