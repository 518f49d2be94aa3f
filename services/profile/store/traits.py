"""The present words for traits, of all identifiers of a profile; what was said before is in the timeline."""

from __future__ import annotations

import msgspec
from sqlalchemy import text

from services.profile.domain.traits import Traits, Word, fold
from shared.db import Work

ONE = text("""
    SELECT CAST(state -> 'traits' -> CAST(:name AS text) AS text)
    FROM identifier JOIN fragment USING (kind, value)
    WHERE identifier.profile_id = CAST(:profile_id AS uuid)
        AND state -> 'traits' -> CAST(:name AS text) IS NOT NULL
""")
ALL = text("""
    SELECT CAST(state -> 'traits' AS text)
    FROM identifier JOIN fragment USING (kind, value)
    WHERE identifier.profile_id = CAST(:profile_id AS uuid) AND state -> 'traits' IS NOT NULL
""")

_word = msgspec.json.Decoder(Word)
_words = msgspec.json.Decoder(dict[str, Word])


async def winner(work: Work, profile_id: str, name: str) -> Word | None:
    """The last word for one trait; None where nobody ever said one."""
    words = (await work.execute(ONE, {"profile_id": profile_id, "name": name})).scalars()
    return fold([{name: _word.decode(word)} for word in words]).get(name)


async def winners(work: Work, profile_id: str) -> Traits:
    """The last word for each trait."""
    words = (await work.execute(ALL, {"profile_id": profile_id})).scalars()
    return fold([_words.decode(each) for each in words])
