"""The rights (ACLs) of each service's Kafka user: its own topics, those that it reads, its consumer group.

Only ingest may write to `keys`, only profile to `profiles`, and so on: what a service is told by the others is then
theirs, whichever of them was broken into. Everything else is refused by a broker that has an authorizer.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from shared import topics
from shared.topics import Topic

READS: Mapping[str, tuple[Topic, ...]] = {
    "ingest": (),
    "profile": (topics.TOUCHPOINTS, topics.SCORES, topics.KEYS),
    "scoring": (topics.TOUCHPOINTS, topics.IDENTITIES, topics.KEYS),
    "personalize": (topics.TOUCHPOINTS, topics.PROFILES, topics.KEYS),
}
"""Topics of others that each service reads. Its own it reads, writes and, at `migrate`, creates."""

OWN = ("Read", "Write", "Create")
"""Read and Write imply Describe."""


def user(service: str) -> str:
    """The name of the service's user, for its `TEMAS_<SERVICE>_KAFKA_USERNAME`."""
    return f"temas-{service}"


@dataclass(frozen=True)
class Grant:
    """What a user may do with some topics and groups, by their names."""

    user: str
    operations: tuple[str, ...]
    topics: tuple[str, ...]
    groups: tuple[str, ...] = ()

    def command(self, tool: str, servers: str, config: str) -> str:
        """The command line of Kafka's own tool that grants it."""
        words = [tool, "--bootstrap-server", servers, "--command-config", config, "--add"]
        words += ["--allow-principal", f"User:{self.user}"]
        for option, values in (("operation", self.operations), ("topic", self.topics), ("group", self.groups)):
            words += [word for value in values for word in (f"--{option}", value)]
        return shlex.join(words)


def grants(prefix: str = "") -> Iterator[Grant]:
    """All that is granted, where the names of topics and groups begin with `prefix` (`TEMAS_KAFKA_PREFIX`)."""
    for service, others in READS.items():
        own = tuple(prefix + topic.name for topic in topics.given_by(service))
        yield Grant(user(service), OWN, own)
        yield Grant(user(service), ("Read",), tuple(prefix + topic.name for topic in others), (prefix + service,))
