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
    return _text_from(log, max(0, log.stat().st_size - LAST_BYTES)).decode(errors="replace").splitlines()[-count:]


def added_lines(logs: Mapping[str, Path]) -> Iterator[tuple[str, str]]:
    """Every line that is added to one of `logs` from now on, with the name of its log; never ends."""
    return _added({name: (log, log.stat().st_size) for name, log in logs.items()})


def _added(logs: dict[str, tuple[Path, int]]) -> Iterator[tuple[str, str]]:
    while True:
        for name, (log, seen) in logs.items():
            size = log.stat().st_size if log.exists() else 0
            start = seen if size >= seen else 0  # a log that was moved aside begins again
            text = _text_from(log, start) if size > start else b""
            whole = text[: text.rfind(b"\n") + 1]
            logs[name] = (log, start + len(whole))
            yield from ((name, line) for line in whole.decode(errors="replace").splitlines())
        time.sleep(GLANCE)


def _text_from(log: Path, start: int) -> bytes:
    with log.open("rb") as file:
        file.seek(start)
        return file.read()
