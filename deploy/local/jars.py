"""Kafka's jars: fetched once from Maven, kept in the cache, and only ever run when each is the one we know.

`kafka-jars.sha256` lists them all, in the format of sha256sum. It is what decides: a jar more, a jar less or a jar that
differs is refused, whatever Maven and its own checksums say.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from deploy.local.errors import Refused

KAFKA = "4.3.1"

COORDINATES = (
    f"org.apache.kafka:kafka_2.13:{KAFKA}",
    # Kafka's logger. Resolved apart from Kafka: together, the bill of materials of log4j downgrades what Kafka needs.
    "org.apache.logging.log4j:log4j-slf4j-impl:2.25.4",
)

PINS = Path(__file__).with_name("kafka-jars.sha256")

Progress = Callable[[str], None]
"""Told what is being done, in a few words."""


def pinned(file: Path = PINS) -> dict[str, str]:
    """The SHA-256 of each jar, by file name."""
    lines = file.read_text().splitlines()
    return {name: digest for digest, name in (line.split(maxsplit=1) for line in lines)}


def kafka_jars(cache: Path, progress: Progress, pins: Mapping[str, str] | None = None) -> Path:
    """The folder that holds exactly the pinned jars, each checked now; fetched first where there is none.

    Raises Refused where a jar is not the one that is pinned, or can't be had.
    """
    pins = pinned() if pins is None else pins
    jars = folder(cache)
    with _alone_in(jars.parent):
        if not jars.is_dir():
            _fetch(jars, progress, pins)
    check(jars, pins)
    return jars


def folder(cache: Path) -> Path:
    """Where in `cache` the jars are kept."""
    return cache.expanduser().resolve() / f"kafka-{KAFKA}"


def check(jars: Path, pins: Mapping[str, str]) -> None:
    """Raise Refused unless the folder `jars` holds exactly the pinned jars."""
    found = {jar.name: _sha256(jar) for jar in jars.glob("*.jar")}
    for name in sorted(pins.keys() | found.keys()):
        if found.get(name) != pins.get(name):
            raise Refused(f"Kafka's jar {jars / name} {_fault(name, found, pins)}: delete {jars} and try again.")


def _fault(name: str, found: Mapping[str, str], pins: Mapping[str, str]) -> str:
    if name not in found:
        return "is missing"
    return "is not the jar that is pinned" if name in pins else "is not among the pinned jars"


def _fetch(place: Path, progress: Progress, pins: Mapping[str, str]) -> None:
    """Fetch all into a Maven repository of our own, check them, and only then put them at `place`, all at once."""
    from deploy.local.maven import fetched  # noqa: PLC0415 - .4 s to import, and needed once in a machine's life

    for abandoned in place.parent.glob("fetching-*"):
        shutil.rmtree(abandoned)
    with tempfile.TemporaryDirectory(dir=place.parent, prefix="fetching-") as draft:
        found: dict[str, Path] = {}
        for jar in fetched(COORDINATES, Path(draft) / "maven"):
            found[jar.name] = jar
            progress(f"fetching Kafka from Maven: {len(found)} of {len(pins)} jars")
        jars = Path(draft) / "jars"
        jars.mkdir()
        for name, jar in found.items():
            jar.replace(jars / name)
        check(jars, pins)
        jars.rename(place)


@contextmanager
def _alone_in(cache: Path) -> Iterator[None]:
    """One at a time fetches into a cache; the others wait, and find it done."""
    cache.mkdir(parents=True, exist_ok=True)
    lock = os.open(cache / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
