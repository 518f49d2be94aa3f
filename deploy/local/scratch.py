"""A folder for what a program unpacks when it starts: its owner's alone, and not beside the data.

Java loads native libraries from files that it unpacks into its temporary folder, at their first use. Where that folder
lies on the disk of the data and the disk is full, they can't be unpacked, and a Java that failed once never tries
again. And whoever can write there chooses the code that it runs: so the folder has a name that nobody can guess, and
is readable by its owner only.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from deploy.local.errors import Refused
from deploy.local.home import OWNER_ONLY_FOLDER, Home

PLACES = ("/var/tmp", "/dev/shm")  # noqa: S108 - folders of ours in them have names that nobody can guess
"""Where else there may be room, if the system's temporary folder does not do."""


def make(home: Home) -> Path:
    """A new, empty folder for the stack of `home`, on another disk than that where one may hold programs.

    Raises Refused where there is no place for it.
    """
    fit = [place for place in _places(home) if _runs_programs(place)]
    elsewhere = [place for place in fit if place.stat().st_dev != home.path.stat().st_dev]
    for place in (*elsewhere, *fit):
        try:
            return Path(tempfile.mkdtemp(prefix=_prefix(home), dir=place))
        except OSError:  # full, or not ours to write in
            continue
    raise Refused("There is no temporary folder that programs may run from: set TMPDIR to a folder that allows it.")


def empty(folder: Path) -> None:
    """Empty `folder`, which `make` gave, or make it again where something that tidies up has removed it.

    Raises Refused where it is no longer ours.
    """
    folder.mkdir(mode=OWNER_ONLY_FOLDER, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise Refused(f"{folder} is not a folder of ours alone: type make down, and then make up.")
    for entry in folder.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def remove(home: Home) -> None:
    """Remove every folder that was made for the stack of `home`."""
    for place in _places(home):
        for folder in place.glob(f"{_prefix(home)}*"):
            if folder.lstat().st_uid == os.geteuid():
                shutil.rmtree(folder, ignore_errors=True)  # what only looks like a folder stays: it follows no link


def _places(home: Home) -> Iterator[Path]:
    """Where a folder may lie, the best first; beside the data where there is nothing else."""
    yield from (place for place in map(Path, (tempfile.gettempdir(), *PLACES)) if place.is_dir())
    if home.path.is_dir():
        yield home.path


def _prefix(home: Home) -> str:
    return f"temas-{hashlib.sha256(os.fsencode(home.path)).hexdigest()[:12]}-"


def _runs_programs(place: Path) -> bool:
    """Whether the disk of `place` is not mounted such that nothing on it may be run, a library included."""
    return not os.statvfs(place).f_flag & getattr(os, "ST_NOEXEC", 0)
