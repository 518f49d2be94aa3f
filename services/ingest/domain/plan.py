"""The tracking plan: which events are expected, and what they must hold.

An event is planned by its source (or `*` for all), the type of its call and its name; its schema (JSON Schema 2020-12,
see `shapes`) describes the `properties` of a track, page or screen call and the `traits` of an identify or group call.
What a source plans for itself holds instead of what is planned for all.

A call that the plan is content with costs two lookups and one look at what it holds: about a microsecond.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal, NamedTuple

import msgspec

from services.ingest.domain.departures import Fault, faults, unchecked
from services.ingest.domain.paths import cut
from services.ingest.domain.shapes import Shape, compiled
from shared.events import Reason

ALL = "*"
"""In place of a source: planned for all."""

EVENTS = 2_000
"""Planned at one time, all sources together. Large plans have some hundreds."""

NAME_LENGTH = 200
"""Characters of a planned event's name. Departures are counted by it, and an index takes 2,700 bytes for a row."""

NAMED = ("track", "page", "screen")
"""Types whose calls are planned by name, and by their properties."""

UNNAMED = ("identify", "group")
"""Types whose calls are planned as a whole, by their traits."""

Mode = Literal["observe", "enforce", "off"]
"""`observe` lets departures through and counts them, `enforce` rejects them, `off` knows the event and checks none."""

Unplanned = Literal["allow", "enforce"]
"""What becomes of named events that the plan does not know: `enforce` rejects them."""


class Where(NamedTuple):
    """What names a planned event: `source` is `*` where it holds for all, `name` empty for types without one."""

    source: str
    type: str
    name: str


def root(type: str) -> str:
    """Where in a call of this type stands what its schema describes."""
    return "$.traits" if type in UNNAMED else "$.properties"


class PlannedEvent(msgspec.Struct, frozen=True):
    """One version of a planned event; `schema` is JSON."""

    source: str
    type: str
    name: str
    version: int
    mode: Mode
    schema: str


class Departure(msgspec.Struct, frozen=True):
    """How a call departs from the plan, by which mode that is dealt with, and where.

    `source` is the call's own. Of an event that the plan does not know, `name` is empty. `places` are the paths of the
    reasons as the plan would write them, each once: with `source`, `type` and `name` a closed set, to count by.
    """

    source: str
    type: str
    name: str
    mode: Literal["observe", "enforce"]
    reasons: tuple[Reason, ...]
    places: tuple[str, ...]


class Entry(msgspec.Struct, frozen=True):
    """A planned event at work. `shape` is None where nothing is checked: its mode is off, or it can't be compiled."""

    event: PlannedEvent
    shape: Shape | None

    def departure(self, source: str, root: str, held: Mapping[str, Any]) -> Departure:
        """How `held` departs from this event, where it is known that it does."""
        try:
            found = faults(self.shape, held, root) if self.shape is not None else (unchecked(root),)
        except BaseException as error:
            _let_through(error)
            found = (unchecked(root),)
        return _departure(source, self.event, found)


class Plan(msgspec.Struct, frozen=True):
    """The plan in force. `broken`: events whose stored schema does not compile any more, so that nothing is checked."""

    entries: dict[tuple[str, str, str], Entry] = {}
    broken: tuple[Where, ...] = ()

    @classmethod
    def of(cls, events: Iterable[PlannedEvent], before: Plan | None = None) -> Plan:
        """The plan of these events. What is as it was `before` is not compiled again."""
        known = before.entries if before else {}
        entries: dict[tuple[str, str, str], Entry] = {
            (each.source, each.type, each.name): _entry(each, known) for each in events
        }
        broken = (Where(*where) for where, each in entries.items() if each.shape is None and each.event.mode != "off")
        return cls(entries, tuple(broken))

    def departure(
        self,
        source: str,
        type: str,
        name: str | None,
        properties: Mapping[str, Any],
        traits: Mapping[str, Any],
        *,
        unplanned: Unplanned = "allow",
    ) -> Departure | None:
        """How the call departs from the plan; None where it does not. Never raises.

        `traits` are what the call says of the person, or of the group. Calls without a name are not planned by name,
        and so never unplanned.
        """
        named = type not in UNNAMED
        name = (name or "") if named else ""  # an identify call may carry one, which says nothing
        entry = self.entries.get((source, type, name)) or self.entries.get((ALL, type, name))
        if entry is None:
            return _unplanned(source, type, name) if unplanned == "enforce" and name and type in NAMED else None
        if entry.shape is None:
            return None
        held = properties if named else traits
        try:
            if entry.shape.is_valid(held):
                return None
        except BaseException as error:
            _let_through(error)
        return entry.departure(source, root(type), held)

    def mode(self, where: Where) -> Mode | None:
        """The mode in which calls like `where` are dealt with; None where the plan does not know them."""
        entry = self.entries.get(where) or self.entries.get((ALL, where.type, where.name))
        return entry.event.mode if entry else None


NO_PLAN: Final = Plan()


def _entry(event: PlannedEvent, known: Mapping[tuple[str, str, str], Entry]) -> Entry:
    if event.mode == "off":
        return Entry(event, None)
    old = known.get((event.source, event.type, event.name))
    if old is not None and old.shape is not None and old.event.schema == event.schema:
        return Entry(event, old.shape)
    try:
        return Entry(event, compiled(msgspec.json.decode(event.schema)))
    except Exception:  # it compiled when it was saved: no change of a library may keep clients out
        return Entry(event, None)


def _departure(source: str, event: PlannedEvent, found: tuple[Fault, ...]) -> Departure:
    return Departure(
        source=source,
        type=event.type,
        name=event.name,
        mode="enforce" if event.mode == "enforce" else "observe",
        reasons=tuple(fault.reason for fault in found),
        places=tuple(dict.fromkeys(fault.place for fault in found)),
    )


def _unplanned(source: str, type: str, name: str) -> Departure:
    path = "$.event" if type == "track" else "$.name"
    sentence = (
        f"the tracking plan knows no {type} event {cut(name, 60)!r}, and source {source} sends planned ones only: look "
        f"for a slip of the pen in the name, or plan the event"
    )
    return Departure(source, type, "", "enforce", (Reason(path, "unplanned_event", sentence),), (path,))


def _let_through(error: BaseException) -> None:
    """Raise what is not the validator's. A panic in Rust arrives as a class that can't be imported, no Exception."""
    if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
        raise error
