"""Metrics that every service exports. Each is declared once, with its meaning; labels come from closed sets only."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Seconds."""

REQUESTS = Counter(
    "temas_http_requests_total",
    "Requests answered, by route template (never the address as sent) and status.",
    ["service", "method", "route", "status"],
)
REQUEST_SECONDS = Histogram(
    "temas_http_request_seconds",
    "Seconds from the first byte in to the last byte out.",
    ["service", "route"],
    buckets=BUCKETS,
)
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Requests:
    """Counts and times a service's requests. What anybody can send becomes no label: of methods only known ones."""

    def __init__(self, service: str) -> None:
        self.service = service
        self.series: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}

    def note(self, method: str, route: str, status: int, seconds: float) -> None:
        """One request was answered. `route` is one of a closed set."""
        found = self.series.get((method, route, status)) or self._series(method, route, status)
        found[0].inc()
        found[1].observe(seconds)

    def _series(self, method: str, route: str, status: int) -> tuple[Counter, Histogram]:
        """The two series of such requests, kept: to find them by their labels takes longer than to count."""
        method = method if method in METHODS else "other"
        found = self.series[method, route, status] = (
            REQUESTS.labels(self.service, method, route, status),
            REQUEST_SECONDS.labels(self.service, route),
        )
        return found


CUT_SHORT = Counter(
    "temas_http_cut_short_total",
    "Connections ended because a request took too long to arrive, or its head was too large. Many: somebody attacks.",
    ["service", "reason"],
)
LAG_RECORDS = Gauge(
    "temas_stream_lag_records",
    "Records in the log that this consumer has not applied yet. Growing without end: it is too slow, or stuck.",
    ["consumer", "topic", "partition"],
)
LAG_SECONDS = Gauge(
    "temas_stream_lag_seconds",
    "Age of the last record applied where records are waiting; 0 when all is applied.",
    ["consumer", "topic", "partition"],
)
BATCH_RECORDS = Histogram(
    "temas_stream_batch_records",
    "Records in one transaction.",
    ["consumer", "topic"],
    buckets=(1, 3, 10, 30, 100, 300, 1000),
)
BATCH_SECONDS = Histogram(
    "temas_stream_batch_seconds",
    "Seconds that one transaction took, from fence to commit.",
    ["consumer", "topic"],
    buckets=BUCKETS,
)
APPLIED = Counter(
    "temas_stream_applied_total",
    "Records applied. log = applied + duplicates + quarantined + dead letters.",
    ["consumer", "topic"],
)
DUPLICATES = Counter(
    "temas_stream_duplicates_total",
    "Events that had been applied before. Steady and small is normal (clients retry); a jump is a replay.",
    ["consumer", "topic"],
)
QUARANTINED = Counter(
    "temas_stream_quarantined_total",
    "Events older than the window in which duplicates are known: kept as dead letters, never guessed.",
    ["consumer", "topic"],
)
DEAD_LETTERS = Counter(
    "temas_stream_dead_letters_total",
    "Records that could not be processed, put aside with their reason. Any is worth a look.",
    ["consumer", "topic"],
)
DEAD_LETTERS_WAITING = Gauge(
    "temas_dead_letters_waiting",
    "Dead letters that nobody has replayed or discarded, by the topic of the record; see GET /v1/dead-letters.",
    ["consumer", "topic"],
)
FENCED = Counter(
    "temas_stream_fenced_total",
    "Batches given up because another process had applied the partition further: a zombie was harmless.",
    ["consumer", "topic"],
)
PAUSES = Counter(
    "temas_stream_pauses_total",
    "Times that the consumer backed off because PostgreSQL or Kafka was away.",
    ["consumer"],
)
STOPPED = Gauge(
    "temas_stream_stopped",
    "1 when the consumer has stopped for good and waits for a person; its log says why.",
    ["consumer"],
)
KEYS_READ = Gauge(
    "temas_keys_read_timestamp_seconds",
    "When this process last made sure that it knows all keys; before the first time, when it began.",
    ["service"],
)
KEYS_UNREADABLE = Counter(
    "temas_keys_unreadable_total",
    "Records of the topic `keys` that could not be read. Any: a key may hold here that was revoked.",
    ["service"],
)
KEYS_UNSIGNED = Counter(
    "temas_keys_unsigned_total",
    "Records of the topic `keys` that ingest has not signed, and that are ignored. Any: somebody else writes to it.",
    ["service"],
)
TOKEN_KEYS_READ = Gauge(
    "temas_user_token_keys_read_timestamp_seconds",
    "When this process last read the JWKS of user tokens; 0 where it never did, or there is none.",
)
PUBLISHED = Counter("temas_publisher_published_total", "States published.", ["publisher"])
PUBLISH_FAILURES = Counter(
    "temas_publisher_failures_total",
    "Rounds of publishing that failed and were tried again later.",
    ["publisher"],
)
