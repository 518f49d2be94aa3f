"""The way through history: the timeline's periods one after the other, each by the timeline's key.

Spans are times, not partitions: a partition that is made, moved or dropped meanwhile neither hides nor repeats a row.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

import msgspec

from services.profile.domain.periods import Period

Place = tuple[str, str, datetime, str, str]
"""A row's key: kind, value, at, touchpoint id, source."""


class Span(msgspec.Struct, frozen=True):
    """From `start` on (None: from ever) up to but without `end` (None: for ever)."""

    start: datetime | None
    end: datetime | None


class Fill(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How far a definition is filled: the `span` that is being read, and the last row that was; None: not begun.

    `looked`: how many touchpoints were looked at, of about `expected`; `counted`: how many of them count.
    """

    span: Span | None = None
    after: Place | None = None
    looked: int = 0
    counted: int = 0
    expected: int = 0
    done: bool = False

    @property
    def share(self) -> float:
        """How much is done, 0 to 1. How much there is, is only known about: so it is 1 only at the end."""
        return 1.0 if self.done else min(0.99, round(self.looked / max(self.expected, self.looked + 1), 2))

    def expecting(self, touchpoints: int) -> Fill:
        return msgspec.structs.replace(self, expected=touchpoints)

    def going_on(self, first: datetime | None, periods: Iterable[Period]) -> Fill:
        """With the span that is to be read now; `first` is where history begins for this definition."""
        if self.span is not None and self.after is not None:
            return self
        start = first if self.span is None else self.span.end
        return msgspec.structs.replace(self, span=span(start, periods))

    def read(self, looked: int, counted: int, last: Place | None) -> Fill:
        """After a chunk of `looked` rows up to `last`; None: nothing is left in the span."""
        ended = last is None
        return msgspec.structs.replace(
            self,
            after=last,
            looked=self.looked + looked,
            counted=self.counted + counted,
            done=ended and self.span is not None and self.span.end is None,
        )


def span(start: datetime | None, periods: Iterable[Period]) -> Span:
    """The next span to read, from `start` on: up to the end of a period or of a gap between two.

    Where no period follows, it is the rest of all time.
    """
    for each in sorted(periods, key=lambda each: each.end):
        if start is not None and each.end <= start:
            continue
        inside = each.start is None or (start is not None and each.start <= start)
        return Span(start, each.end if inside else each.start)
    return Span(start, None)
