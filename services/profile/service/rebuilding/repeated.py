"""Touchpoints whose name the log had told before it was cut: they were repetitions when they came, and are left out.

A log that still has the first of a name tells by itself which ones repeat it. Where it no longer has it, what is served
remembers when it saw that name, for as long as duplicates are known.
"""

from __future__ import annotations

from services.profile.domain.rebuilt import is_repetition
from shared import ledger
from shared.db import Work
from shared.events import Touchpoint
from shared.replay import Past

Life = dict[bytes, Touchpoint]
"""Touchpoints by what names them for ever."""


async def lost_records(past: Past) -> bool:
    """Whether the log no longer has the first record of any partition."""
    return any(each.first > 0 for each in (await past.bounds()).values())


async def without_repetitions(named: Life, work: Work) -> Life:
    """Those of `named` that count. `work` searches in the live tables."""
    seen = await ledger.seen_at(work, list(named))
    return {key: each for key, each in named.items() if not is_repetition(each.data.received_at, seen.get(key))}
