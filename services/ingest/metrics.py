"""Every metric of ingest, once, with its meaning. `source` is one of ours, `reason` one of the codes in `domain`."""

from __future__ import annotations

from prometheus_client import Counter, Histogram

from shared.metrics import BUCKETS

ACCEPTED = Counter(
    "temas_ingest_accepted_total",
    "Touchpoints that Kafka acknowledged.",
    ["source"],
)
REJECTED = Counter(
    "temas_ingest_rejected_total",
    "Calls that can't be used, kept in touchpoints.rejected, by first reason. A jump: somebody released something.",
    ["source", "reason"],
)
CUT = Counter(
    "temas_ingest_cut_total",
    "Touchpoints that claimed to come from the future, and were given the present. Many: a client's clock is wrong.",
    ["source"],
)
BATCH_CALLS = Histogram(
    "temas_ingest_batch_calls",
    "Calls in one request.",
    buckets=(1, 3, 10, 30, 100, 300, 1000, 3000),
)
BODY_BYTES = Histogram(
    "temas_ingest_body_bytes",
    "Bytes of one request's body, as sent.",
    buckets=(300, 1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000, 5_000_000),
)
LOG_SECONDS = Histogram(
    "temas_ingest_log_seconds",
    "Seconds that a request waited for Kafka's acknowledgement.",
    buckets=BUCKETS,
)
