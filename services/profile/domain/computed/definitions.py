"""What is defined: an aggregate over one event, with a filter and a window."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, tzinfo
from functools import cached_property, lru_cache
from typing import Any, Literal

import msgspec

from services.profile.domain.computed import cells
from services.profile.domain.computed.cells import Aggregate
from shared.events import Trust
from shared.identifiers import Identifier
from shared.rules import EVENT_VARIABLES, Rule, RuleRefused, compile_rule, require_sound

CORE = frozenset(
    {
        *("order_count", "order_value", "first_order_at", "last_order_at"),
        *("touchpoint_count", "first_touchpoint_at", "last_touchpoint_at", "referral_count"),
    }
)
"""What everybody's view or rules have under `computed` anyway: no definition may take its place."""

AggregateName = Literal["count", "sum", "average", "min", "max", "first", "last", "most_frequent", "distinct"]

LONGEST_WINDOW = 366
"""Days. Each costs a cell in the state of everybody whom something happens to."""

ALL_TIME = 0
"""The one day of what has no window. No date has this number."""


class Occurrence(msgspec.Struct, frozen=True):
    """One `track` call as it is counted, whether it comes now or lies in history. `properties` are JSON."""

    owner: Identifier
    at: datetime
    touchpoint_id: str
    source: str
    name: str
    channel: str
    properties: bytes | str
    trust: Trust = "server"


class Formula(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is computed. `property`: the dotted path of a value, which only a count goes without.

    `window_days`: only the last so many days on the account's calendar count, today being the last; None: all time.
    """

    event: str
    aggregate: AggregateName
    property: str | None = None
    filter: str | None = None
    window_days: int | None = None


class Definition(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """A formula under its name. One that changes is another one: it has another `revision`.

    `since`: the first day that can ever count, that of the window when it was saved; no older one is ever asked for.
    """

    id: str
    revision: int
    formula: Formula
    since: int | None = None

    @property
    def key(self) -> tuple[str, int]:
        return self.id, self.revision

    @cached_property
    def aggregate(self) -> Aggregate:
        return cells.aggregate(self.formula.aggregate, self.formula.window_days)

    @cached_property
    def path(self) -> tuple[str, ...]:
        return tuple(self.formula.property.split(".")) if self.formula.property is not None else ()

    @cached_property
    def kept_days(self) -> int:
        """The newest days are kept: the window's, tomorrow's (clocks go wrong by minutes), and one to spare."""
        return 1 if self.formula.window_days is None else self.formula.window_days + 2

    def value_in(self, properties: Mapping[str, Any]) -> Any:
        """What stands at its property, under the whole of it as one key, or else at the path; None: nothing does."""
        found: Any = properties.get(self.formula.property) if self.formula.property is not None else None
        if found is not None:
            return found
        found = properties
        for step in self.path:
            if isinstance(found, Mapping):
                found = found.get(step)
            elif isinstance(found, list) and step.isdecimal() and int(step) < len(found):
                found = found[int(step)]
            else:
                return None
        return found


class Defined(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """All definitions as of one `generation`, which grows whenever one is saved, switched or deleted.

    `counted`: those that events are counted by; `shown`: those of them whose values are whole, and show.
    """

    zone: tzinfo = UTC
    generation: int = 0
    counted: tuple[Definition, ...] = ()
    shown: tuple[Definition, ...] = ()

    @cached_property
    def by_event(self) -> Mapping[str, Sequence[Definition]]:
        found: defaultdict[str, list[Definition]] = defaultdict(list)
        for each in self.counted:
            found[each.formula.event].append(each)
        return dict(found)

    @cached_property
    def by_key(self) -> Mapping[tuple[str, int], Definition]:
        return {each.key: each for each in self.counted}


def day(at: datetime, zone: tzinfo) -> int:
    """The number of its date on the account's calendar."""
    try:
        return at.astimezone(zone).toordinal()
    except OverflowError:  # the ends of our calendar, where a client left its time empty
        return at.astimezone(UTC).toordinal()


def first_day(window_days: int | None, now: datetime, zone: tzinfo) -> int | None:
    """The oldest day inside the window as of `now`; None where there is no window."""
    return None if window_days is None else day(now, zone) - window_days + 1


@lru_cache(maxsize=1024)
def saved_filter(text: str) -> Rule:
    """The filter of a definition that somebody saved. Raises RuleRefused, which tells line and column."""
    return compile_rule(text, variables=EVENT_VARIABLES, path="filter")


def filter_rule(text: str) -> Rule:
    """A filter that is to be saved: one that can hold for some event. Raises RuleRefused."""
    new = saved_filter(text)
    require_sound(new, path="filter")
    return new


@lru_cache(maxsize=1024)
def usable_filter(text: str) -> Rule | None:
    """A saved filter, or None where this version of us no longer takes it: then it holds for nothing."""
    try:
        return saved_filter(text)
    except RuleRefused:
        return None
