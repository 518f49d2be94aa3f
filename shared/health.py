"""Health means *has reported within its deadline*.

A part of a process (a consumer, a publisher, the connection to Kafka) registers once and then beats. Nobody asks it
how it is: a part that hangs can't answer, and that is the case that matters. A part that is not `vital` and late makes
the process not ready (take no traffic); a vital one makes it not alive (start it again).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

PULSE = 300.0
"""Seconds without a turn, after which a loop counts as hanging. A turn may be many statements, each waited for 60 s."""


@dataclass
class Part:
    """One part's last word. `deadline` is in seconds; None means that it only ever speaks to say it failed."""

    name: str
    deadline: float | None
    vital: bool
    now: Callable[[], float]
    beaten: float | None = None
    failure: str | None = None

    def beat(self) -> None:
        """All is well, as of now."""
        self.beaten, self.failure = self.now(), None

    def fail(self, reason: str) -> None:
        """It is not, and this is why. Lasts until the next beat."""
        self.failure = reason

    @property
    def complaint(self) -> str | None:
        """What is wrong, in words, or None."""
        if self.failure is not None:
            return self.failure
        if self.deadline is None:
            return None
        if self.beaten is None:
            return "has not reported yet"
        late = self.now() - self.beaten
        return f"last reported {late:.1f} s ago" if late > self.deadline else None


@dataclass
class Health:
    """The one registry of a process."""

    now: Callable[[], float] = time.monotonic
    parts: dict[str, Part] = field(default_factory=dict)

    def part(self, name: str, deadline: float | None = None, *, vital: bool = False) -> Part:
        """Register a part, which then owes a `beat()` at least every `deadline` seconds."""
        part = self.parts[name] = Part(name, deadline, vital, self.now)
        return part

    def pulse(self, name: str) -> Part:
        """Register the vital part of the loop of that name, which is about to begin."""
        part = self.part(f"loop {name}", PULSE, vital=True)
        part.beat()
        return part

    def complaints(self, *, vital_only: bool = False) -> dict[str, str]:
        """What is wrong, by part; empty when all is well."""
        return {
            part.name: part.complaint
            for part in list(self.parts.values())  # a thread may ask, too
            if part.complaint is not None and (part.vital or not vital_only)
        }
