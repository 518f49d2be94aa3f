"""What the events of one identifier add up to for one definition: days, each with its cell.

Parts fold like fragments: those of all identifiers of a person are the person's, merged or taken apart. Of the days
only the newest are kept. Which those are, and what is in each, depends on the set of events alone: a day that is kept
in the end was among the newest of every set that it was ever part of.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec

from services.profile.domain.computed.cells import Cell
from services.profile.domain.computed.definitions import ALL_TIME, Defined, Definition, Occurrence, day, usable_filter
from services.profile.domain.identity import Owned
from shared.rules import holding

Days = Mapping[int, Cell]


class Key(NamedTuple):
    """Whose part it is, and of which definition. Sorts as the database does."""

    kind: str
    value: str
    trait: str
    revision: int


Parts = Mapping[Key, Days]


def occurrences(batch: Iterable[Owned], defined: Defined) -> Iterator[Occurrence]:
    """Those of a batch that some definition is about."""
    events = defined.by_event
    for each in batch:
        call = each.touchpoint.data
        if call.type == "track" and call.name is not None and call.name in events:
            point = each.touchpoint
            yield Occurrence(
                each.owner, point.at, point.id, point.source, call.name, call.channel, call.properties, call.trust
            )


def counted(happened: Iterable[Occurrence], defined: Defined) -> Parts:
    """What these events, each given once, add to the parts of their owners."""
    cells: defaultdict[Key, defaultdict[int, list[Cell]]] = defaultdict(lambda: defaultdict(list))
    for event in happened:
        for definition, on, cell in _cells(event, defined):
            cells[Key(event.owner.kind, event.owner.value, *definition.key)][on].append(cell)
    return {key: _folded(defined.by_key[key[2:]], days) for key, days in cells.items()}


def fold(definition: Definition, sides: Sequence[Days]) -> Days:
    """All sides as one. They must not share an event: counts add up."""
    if len(sides) == 1:
        return sides[0]
    days: defaultdict[int, list[Cell]] = defaultdict(list)
    for side in sides:
        for on, cell in side.items():
            days[on].append(cell)
    return _folded(definition, days)


def encoded(days: Days) -> str:
    """As it is stored: the same days are the same text."""
    return msgspec.json.encode(days).decode()


def decoded(definition: Definition, state: str) -> Days:
    """From its stored text."""
    days: Days = _decoder(definition.aggregate.days).decode(state)
    return days


def _folded(definition: Definition, days: Mapping[int, list[Cell]]) -> Days:
    newest = sorted(days)[-definition.kept_days :]
    fold = definition.aggregate.fold
    return {on: fold(days[on]) for on in newest}


def _cells(event: Occurrence, defined: Defined) -> Iterator[tuple[Definition, int, Cell]]:
    """The definitions that count `event`, each with the day and the cell that it adds."""
    today = day(event.at, defined.zone)
    wanted = [each for each in defined.by_event[event.name] if each.since is None or today >= each.since]
    properties = _properties(event, wanted)
    for definition in _passing(event, properties, wanted):
        cell = definition.aggregate.cell(event, definition.value_in(properties))
        if cell is not None:
            yield definition, ALL_TIME if definition.formula.window_days is None else today, cell


def _properties(event: Occurrence, wanted: Iterable[Definition]) -> dict[str, Any]:
    """Decoded only where somebody looks into them."""
    if not any(each.path or each.formula.filter is not None for each in wanted):
        return {}
    return msgspec.json.decode(event.properties, type=dict[str, Any])


def _passing(event: Occurrence, properties: dict[str, Any], wanted: Sequence[Definition]) -> list[Definition]:
    """Those whose filter holds, or that have none. What can't be known does not hold."""
    rules = {text: usable_filter(text) for each in wanted if (text := each.formula.filter) is not None}
    if not rules:
        return list(wanted)
    facts = {
        "properties": properties,
        "channel": event.channel,
        "name": event.name,
        "source": event.source,
        "trust": event.trust,
    }
    held: Mapping[str, bool | None] = holding({text: rule for text, rule in rules.items() if rule}, facts)
    return [each for each in wanted if each.formula.filter is None or held.get(each.formula.filter)]


@lru_cache(maxsize=64)
def _decoder(days: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(days)
