"""How far a file has been taken, kept beside it, so that the same command goes on where it was stopped."""

from __future__ import annotations

import asyncio
import hashlib
import os
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from services.ingest.errors import NotImported
from shared.topics import LOG_RETENTION_DAYS

BLOCK = 1024 * 1024
VERSION = 1

KNOWN = timedelta(days=LOG_RETENTION_DAYS)
"""For as long, at least, consumers know the ids of what they have applied."""


class Mark(msgspec.Struct, frozen=True, kw_only=True):
    """`rows` of the file have been acknowledged by Kafka, all from its beginning. `file` says which file it is."""

    version: int = VERSION
    file: str
    options: dict[str, Any]
    begun_at: datetime
    rows: int = 0
    taken: int = 0
    rejected: int = 0
    done: bool = False


class Progress:
    """A mark in a small file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> Mark | None:
        """Raises NotImported where there is something that is no mark of ours."""
        try:
            mark = msgspec.json.decode(self.path.read_bytes(), type=Mark)
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise NotImported(
                f"{self.path} does not tell how far the file was taken ({error}). Remove it to begin anew: rows that "
                f"came in within the last {KNOWN.days} days do not count twice"
            ) from None
        return mark

    def write(self, mark: Mark) -> None:
        """Wholly or not at all, whenever the process is killed.

        Without fsync: after a power cut an older mark may be there, and then some rows are sent again, which changes
        nothing. Raises NotImported where one can't write there.
        """
        new = self.path.with_name(f"{self.path.name}.new")
        try:
            new.write_bytes(msgspec.json.format(msgspec.json.encode(mark)) + b"\n")
            os.replace(new, self.path)
        except OSError as error:
            raise NotImported(
                f"{self.path} can't be written ({error.strerror}): name another place with --progress PATH"
            ) from None


def begun(found: Mark | None, fresh: Mark, path: Path, *, restart: bool) -> Mark:
    """Where to go on: at `found`, or at the beginning where that was finished and this is something else.

    Raises NotImported where that was not finished and this is something else; and where rows would count twice that
    are known to be in already.
    """
    if found is None:
        return fresh
    if restart:
        if found.rows and fresh.begun_at - found.begun_at > KNOWN:
            raise NotImported(
                f"{path} is of an import that began on {found.begun_at:%Y-%m-%d}. Ids are known for {KNOWN.days} days, "
                "and what was taken then would count twice: remove it if that is what you want"
            )
        return fresh
    changed = _changed(found, fresh)
    if not changed:
        return found
    if found.done:
        return fresh
    raise NotImported(
        f"{path} is of an import that was not finished, with {changed}. Finish that one first; or begin anew with "
        "--restart: rows that are in the log already keep their ids, and do not count twice"
    )


def _changed(found: Mark, fresh: Mark) -> str:
    """In words, what differs; empty where nothing does."""
    if found.version != fresh.version:
        return "another version of Temas"
    if found.file != fresh.file:
        return "another content of the file"
    names = [name for name in fresh.options if found.options.get(name) != fresh.options[name]]
    return f"another {', '.join(name.replace('_', '-') for name in names)}" if names else ""


async def fingerprint(path: Path) -> str:
    """Of a file's whole content: a second or two for a gigabyte. Raises NotImported."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(BLOCK):
                digest.update(block)
                await asyncio.sleep(0)  # so that signals are heard
    except OSError as error:
        raise NotImported(f"{path} can't be read: {error.strerror}") from None
    return f"sha256:{digest.hexdigest()}"
