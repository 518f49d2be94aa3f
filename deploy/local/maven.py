"""Jars from Maven, resolved by jgo."""

from __future__ import annotations

import errno
import logging
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar
from xml.etree.ElementTree import ParseError

from jgo.maven import Artifact, MavenContext

from deploy.local.errors import Refused

log = logging.getLogger(__name__)
T = TypeVar("T")

TRIES = 3
PAUSE = 2.0
SILENCE = 60
"""Seconds without a byte after which a download is begun again."""


def fetched(coordinates: Sequence[str], repository: Path) -> Iterator[Path]:
    """The jars of `coordinates`, and of all that these need, downloaded into the Maven repository `repository`.

    Each coordinate is resolved by itself, so what two of them need comes twice. Raises Refused where Maven can't be
    reached.
    """
    for artifact in [each for coordinate in coordinates for each in _resolved(coordinate, repository)]:
        yield _persistently(artifact.resolve, partial(_forget, artifact))


def _resolved(coordinate: str, repository: Path) -> list[Artifact]:
    """What to download for `coordinate`: itself and all that it needs to run."""

    def resolve() -> list[Artifact]:
        context = MavenContext(repo_cache=repository, timeout=SILENCE)
        asked, needed = context.resolver.resolve([context.create_dependency(coordinate)])
        running = [each for each in needed if each.scope in ("compile", "runtime")]
        return [each.artifact for each in (*asked, *running)]

    return _persistently(resolve, partial(shutil.rmtree, repository, ignore_errors=True))


def _forget(artifact: Artifact) -> None:
    if artifact.cached_path:
        artifact.cached_path.unlink(missing_ok=True)


def _persistently(action: Callable[[], T], clean: Callable[[], None]) -> T:
    """What `action` gives; tried again after `clean`, because jgo takes a file half written for a whole one."""
    for left in reversed(range(TRIES)):
        try:
            return action()
        except (OSError, RuntimeError, ParseError) as error:
            clean()
            if isinstance(error, OSError) and error.errno == errno.ENOSPC:
                raise
            if not left:
                log.warning("the last try failed: %s", error)
                raise Refused(
                    f"Kafka can't be fetched from Maven ({type(error).__name__}), and is needed once: "
                    "connect to the internet and type make up again."
                ) from error
            time.sleep(PAUSE)
    raise AssertionError("unreachable: the last try returns or raises")
