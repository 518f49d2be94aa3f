"""Who may wait for Kafka: when much is waiting, no source may keep the others out."""

from __future__ import annotations

from collections import Counter

from services.ingest import metrics
from services.ingest.errors import Busy


class Shares:
    """Bytes of records that wait for Kafka, by source.

    Up to half of `limit` they are anybody's. Past that, each source has an equal share of the limit, with one kept free
    for a source that has nothing waiting yet: whoever sends most is refused first, and long before memory is full.
    What comes while nothing waits is let in whatever its size: later it would be no smaller.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.waiting = 0
        self.by_source: Counter[str] = Counter()

    def take(self, source: str, size: int) -> None:
        """So many bytes of `source` begin to wait. Raises Busy where they are more than its share."""
        after = self.waiting + size
        if self.waiting and after > self.limit // 2:
            others = len(self.by_source.keys() - {source})
            if after > self.limit or self.by_source[source] + size > self.limit // (others + 2):
                metrics.REFUSED.labels(source, "share").inc()
                raise Busy(f"too much of source {source!r} is waiting already: send this again in a moment")
        self.waiting = after
        self.by_source[source] += size

    def give_back(self, source: str, size: int) -> None:
        """They wait no longer."""
        self.waiting -= size
        self.by_source[source] -= size
        if not self.by_source[source]:
            del self.by_source[source]
