"""What is told about a profile when something about it changed: its view, its membership, its signals."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Literal
from uuid import uuid5

import msgspec

from services.profile.domain import stages
from services.profile.domain.computed.answers import NOTHING, Held
from services.profile.domain.fragment import Fragment, fold
from services.profile.domain.graph import Standing
from services.profile.domain.identity import NAMESPACE
from services.profile.domain.segments import Asked, Found, found
from services.profile.domain.view import facts, view
from shared.clock import rfc3339
from shared.events import InSegment, Membership, ShownScores, Signal, Signalled, Stage, View
from shared.rules import Given, next_change

SOURCE = "profile"
"""Of every event that this service gives."""


class Entered(msgspec.Struct, frozen=True):
    """Since when somebody is in a segment or a stage: the time of the publication that first said so."""

    name: str
    since: datetime


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """What a publication is made from. `redirect`: the profile that absorbed this one, which then has no members."""

    profile_id: str
    version: int
    redirect: str | None = None
    members: tuple[Standing, ...] = ()
    fragments: tuple[Fragment, ...] = ()
    scores: ShownScores | None = None
    segments: tuple[Entered, ...] = ()
    stage: Entered | None = None
    computed: Held = NOTHING


class Publication(msgspec.Struct, frozen=True, kw_only=True):
    """What is told. `unknown`: how many segment rules could not be known, which counted as false.

    `due`: when it is to be told anew though nothing happened, because time alone may have changed it; None: never.
    """

    view: View
    membership: Membership
    segments: tuple[Entered, ...] = ()
    stage: Entered | None = None
    signals: tuple[Signalled, ...] = ()
    unknown: int = 0
    due: datetime | None = None


def published(known: Known, rules: Asked, at: datetime) -> Publication:
    """What to tell about a profile as of `at`; `rules` are the segments'."""
    if known.redirect is not None or not known.members:
        return _absorbed(known, at)
    plain, seen = looked_at(known, at, with_provenance=rules.asks_for_provenance)
    now_in_stage = seen.facts["stage"]
    now_in = found(rules, seen)

    segments = _entered(known.segments, now_in, at)
    in_stage = known.stage if known.stage and known.stage.name == now_in_stage else Entered(now_in_stage, at)
    return Publication(
        view=msgspec.structs.replace(
            plain,
            segments=_shown(segments),
            stage=Stage(in_stage.name, rfc3339(in_stage.since)),
        ),
        membership=Membership(
            profile_id=known.profile_id,
            version=known.version,
            identifiers=tuple(sorted(member.identifier for member in known.members)),
        ),
        segments=segments,
        stage=in_stage,
        signals=tuple(_signals(known, segments, in_stage, at)),
        unknown=now_in.unknown,
        due=_due(known, rules, seen.but(segments=list(now_in.plain)), at),
    )


def looked_at(known: Known, at: datetime, *, with_provenance: bool) -> tuple[View, Given]:
    """The view of somebody who has members, before anybody's rules; and what rules see of it, the stage included.

    `with_provenance`: whether a rule asks for it.
    """
    folded = fold(known.fragments)
    plain = view(known.profile_id, known.version, known.members, folded, known.scores)
    plain = msgspec.structs.replace(plain, computed={**plain.computed, **known.computed.values(at)})
    seen = Given(facts(plain, folded, at, with_provenance=with_provenance))
    return plain, seen.but(stage=stages.stage(seen))


def _shown(segments: Iterable[Entered]) -> tuple[InSegment, ...]:
    """Many are entered at the same moment: it is written out once."""
    texts = {since: rfc3339(since) for since in {each.since for each in segments}}
    return tuple(InSegment(each.name, texts[each.since]) for each in segments)


def _due(known: Known, rules: Asked, seen: Given, at: datetime) -> datetime | None:
    """When a rule may change, or a day leaves the window of a computed trait."""
    moments = (known.computed.due(at), next_change(rules.due, seen))
    return min((moment for moment in moments if moment is not None), default=None)


def _absorbed(known: Known, at: datetime) -> Publication:
    """An absorbed profile is in no segment and no stage. It left its segments, and says into whom: whoever counts what
    a profile entered and left has who is in it. Whether the person is still there, the other profile's signals tell.
    """
    why = {} if known.redirect is None else {"absorbed_by": known.redirect}
    left = sorted(each.name for each in known.segments)
    return Publication(
        view=View(profile_id=known.profile_id, version=known.version, redirect=known.redirect),
        membership=Membership(profile_id=known.profile_id, version=known.version, redirect=known.redirect),
        signals=tuple(_signal(known, "segment_left", name, {"segment": name, **why}, at) for name in left),
    )


def _entered(before: Iterable[Entered], now_in: Found, at: datetime) -> tuple[Entered, ...]:
    since = {each.name: each.since for each in before}
    return tuple(Entered(name, since.get(name, at)) for name in sorted(now_in.ids))


def _signals(known: Known, segments: Iterable[Entered], in_stage: Entered, at: datetime) -> Iterable[Signalled]:
    before, after = {each.name for each in known.segments}, {each.name for each in segments}
    for name in sorted(after - before):
        yield _signal(known, "segment_entered", name, {"segment": name}, at)
    for name in sorted(before - after):
        yield _signal(known, "segment_left", name, {"segment": name}, at)
    old = known.stage.name if known.stage else None
    if old != in_stage.name:
        yield _signal(known, "stage_changed", in_stage.name, {"from": old, "to": in_stage.name}, at)


def _signal(
    known: Known,
    name: Literal["segment_entered", "segment_left", "stage_changed"],
    what: str,
    attributes: dict[str, Any],
    at: datetime,
) -> Signalled:
    """Its id follows from what it says, so that telling it twice is telling it once."""
    return Signalled(
        id=str(uuid5(NAMESPACE, f"{known.profile_id}/{name}/{what}/{known.version}")),
        source=SOURCE,
        time=at,
        subject=known.profile_id,
        data=Signal(profile_id=known.profile_id, name=name, attributes=attributes),
    )
