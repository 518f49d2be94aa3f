"""Logs that stay small while their processes write them.

A process holds its log open for as long as it lives, whoever started it and whatever has become of them. So a log that
has grown large is copied aside and then cut, as `copytruncate` of logrotate does: every process appends, and goes on at
the new end. A line that is written between the copy and the cut, which is microseconds, is lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from pathlib import Path

from deploy.local.home import LOG_LIMIT, Home, earlier

EVERY = 2.0
"""Seconds between two looks. A log is larger than its limit by what is written meanwhile."""


async def keep_small(home: Home) -> None:
    """Cut each log of `home` when it has grown large, until cancelled."""
    while True:
        await asyncio.sleep(EVERY)
        for log in home.logs.glob("*.log"):
            # A disk that is full can't take the copy, and lets the log grow no further either.
            with contextlib.suppress(OSError):
                if log.stat().st_size > LOG_LIMIT:
                    await asyncio.to_thread(rotate, log)


def rotate(log: Path) -> None:
    """Copy `log` aside, in place of the copy before, and empty it. Raises OSError, where nothing is lost."""
    draft = log.with_suffix(".log.draft")
    try:
        with log.open("rb+") as source, draft.open("wb") as copy:
            draft.chmod(log.stat().st_mode)
            shutil.copyfileobj(source, copy)
            draft.replace(earlier(log))
            shutil.copyfileobj(source, copy)  # what came meanwhile
            copy.flush()
            source.truncate(0)
    except OSError:
        draft.unlink(missing_ok=True)
        raise
