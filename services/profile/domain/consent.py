"""Consent, per purpose and channel: what the person last said, by the time they said it, with its evidence.

`Consent Changed` without a channel speaks of every channel and is kept under `*`. Kept are the last word of servers and
the last word of clients; which of the two holds, shared/consent.py says.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

import msgspec

from shared import consent
from shared.clock import rfc3339
from shared.events import Consent, Touchpoint, Trust

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


def shown(by_servers: Consents, by_clients: Consents) -> dict[str, dict[str, Consent]]:
    """The verdict that holds on each purpose and channel."""
    return {
        purpose: {
            channel: _shown(by_servers.get(purpose, {}).get(channel), by_clients.get(purpose, {}).get(channel))
            for channel in sorted({*by_servers.get(purpose, ()), *by_clients.get(purpose, ())})
        }
        for purpose in sorted({*by_servers, *by_clients})
    }


def _shown(by_server: Verdict | None, by_client: Verdict | None) -> Consent:
    held = consent.holding(by_server, by_client, lambda verdict: verdict)
    assert held is not None  # noqa: S101 - one of both is there
    trust: Trust = "client" if held is by_client else "server"
    return Consent(held.granted, rfc3339(held.at), held.touchpoint_id, trust)


def fold(sides: Iterable[Consents]) -> Consents:
    """The last verdict on each purpose and channel, over all sides, which are all of servers, or all of clients."""
    last: dict[str, dict[str, Verdict]] = {}
    for side in sides:
        for purpose, channels in side.items():
            verdicts = last.setdefault(purpose, {})
            for channel, verdict in channels.items():
                verdicts[channel] = max(verdict, verdicts.get(channel, verdict))
    return last
