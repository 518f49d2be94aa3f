"""The end of logs, and what is added to them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path

LINES = 100
LAST_BYTES = 256 * 1024
GLANCE = 0.2
"""Seconds between two looks at a log that is followed."""


def last_lines(log: Path, count: int = LINES) -> list[str]:
    """The last `count` lines of `log`."""
    return _text_from(log, max(0, log.stat().st_size - LAST_BYTES)).splitlines()[-count:]


def added_lines(logs: Mapping[str, Path]) -> Iterator[tuple[str, str]]:
    """Every line that is added to one of `logs`, with the name of its log, for as long as it is asked for."""
    seen = {name: log.stat().st_size for name, log in logs.items()}
    while True:
        for name, log in logs.items():
            size = log.stat().st_size if log.exists() else 0
            seen[name] = min(seen[name], size)  # a log that was moved aside begins again
            added = _text_from(log, seen[name]) if size > seen[name] else ""
            whole = added[: added.rfind("\n") + 1]
            seen[name] += len(whole.encode())
            yield from ((name, line) for line in whole.splitlines())
        time.sleep(GLANCE)


def _text_from(log: Path, start: int) -> str:
    with log.open("rb") as file:
        file.seek(start)
        return file.read().decode(errors="replace")
