"""The present words for traits, of all identifiers of a profile; what was said before is in the timeline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import Row, text

from services.profile.domain.traits import Winner, Word, fold, fold_clients
from services.profile.domain.traits import winners as counting
from shared.db import Work

ONE = text("""
    SELECT
        CAST(state -> 'traits' -> CAST(:name AS text) AS text) AS by_server,
        CAST(state -> 'client_traits' -> CAST(:name AS text) AS text) AS by_client
    FROM identifier JOIN fragment USING (kind, value)
    WHERE identifier.profile_id = CAST(:profile_id AS uuid)
""")
ALL = text("""
    SELECT CAST(state -> 'traits' AS text) AS by_servers, CAST(state -> 'client_traits' AS text) AS by_clients
    FROM identifier JOIN fragment USING (kind, value)
    WHERE identifier.profile_id = CAST(:profile_id AS uuid)
""")

_word = msgspec.json.Decoder(Word)
_words = msgspec.json.Decoder(dict[str, Word])


async def winner(work: Work, profile_id: str, name: str) -> Winner | None:
    """The word that counts for one trait; None where nobody ever said one."""
    rows = (await work.execute(ONE, {"profile_id": profile_id, "name": name})).all()
    by_servers, by_clients = (
        [{name: _word.decode(row[place])} for row in rows if row[place] is not None] for place in (0, 1)
    )
    servers = fold(by_servers)
    return counting(servers, fold_clients(by_clients, servers)).get(name)


async def winners(work: Work, profile_id: str) -> dict[str, Winner]:
    """The word that counts for each trait."""
    rows: Sequence[Row[Any]] = (await work.execute(ALL, {"profile_id": profile_id})).all()
    by_servers, by_clients = ([_words.decode(row[place]) for row in rows if row[place] is not None] for place in (0, 1))
    servers = fold(by_servers)
    return counting(servers, fold_clients(by_clients, servers))
