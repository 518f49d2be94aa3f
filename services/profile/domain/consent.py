"""Consent, per purpose and channel: what the person last said, by the time they said it, with its evidence.

`Consent Changed` without a channel speaks of every channel and is kept under `*`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

import msgspec

from shared.events import Touchpoint

CHANGED = "Consent Changed"

EVERY_CHANNEL = "*"


class Verdict(msgspec.Struct, frozen=True, order=True, array_like=True):
    """One statement of consent. Ordered by event time, ties by touchpoint id and source: the greatest counts."""

    at: datetime
    touchpoint_id: str
    source: str
    granted: bool


Consents = Mapping[str, Mapping[str, Verdict]]
"""purpose → channel → verdict."""


class _Properties(msgspec.Struct):
    purpose: str
    granted: bool
    channel: str | None = None


def stated(touchpoint: Touchpoint) -> Consents:
    """What `touchpoint` states. Nothing where it is malformed: consent is never guessed."""
    if touchpoint.data.name != CHANGED or touchpoint.data.type != "track":
        return {}
    try:
        said = msgspec.json.decode(touchpoint.data.properties, type=_Properties)
    except msgspec.ValidationError:
        return {}
    verdict = Verdict(touchpoint.at, touchpoint.id, touchpoint.source, said.granted)
    return {said.purpose: {said.channel or EVERY_CHANNEL: verdict}}


def fold(sides: Iterable[Consents]) -> Consents:
    """The last verdict on each purpose and channel, over all sides."""
    last: dict[str, dict[str, Verdict]] = {}
    for side in sides:
        for purpose, channels in side.items():
            verdicts = last.setdefault(purpose, {})
            for channel, verdict in channels.items():
                verdicts[channel] = max(verdict, verdicts.get(channel, verdict))
    return last
