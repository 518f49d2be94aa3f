"""Every metric of ingest, once, with its meaning. `source` is one of ours, `reason` one of the codes in `domain`."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

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
WAITING = Gauge(
    "temas_ingest_rejected_waiting",
    "Rejected events that wait for somebody to mend or discard them, looked at once a minute.",
)
REPEATED = Counter(
    "temas_ingest_rejected_repeated_total",
    "Rejected events not put into the queue, because the same call waits there already. Many: a client sends for ever.",
)
REPLAYED = Counter(
    "temas_ingest_replayed_total",
    "Rejected events judged anew: `accepted` into the log, or `rejected` once more.",
    ["outcome"],
)
SWEPT = Counter(
    "temas_ingest_rejected_swept_total",
    "Rejected events deleted for their `age`, or for want of `room`. Any for want of room: somebody floods the queue.",
    ["why"],
)
for _why in ("age", "room"):
    SWEPT.labels(_why)  # at 0 from the start: Prometheus sees no increase in a series that begins with what it counts
QUEUE = Gauge(
    "temas_ingest_queue_working",
    "1 while rejected events are read into the queue; 0 once the reader has stopped or stuck: the topic keeps them.",
)
CUT = Counter(
    "temas_ingest_cut_total",
    "Touchpoints that claimed to come from the future, and were given the present. Many: a client's clock is wrong.",
    ["source"],
)
DEPARTURES = Counter(
    "temas_ingest_plan_departures_total",
    "Calls that depart from the tracking plan: let through (observe) or rejected (enforce). A jump: look at the plan's "
    "violations, which say in which event and where.",
    ["source", "mode"],
)
REFUSED = Counter(
    "temas_ingest_refused_total",
    "Requests refused: past the source's rate or quota, or its share of what waits for Kafka (clients send them "
    "again), or from an origin it does not list.",
    ["source", "reason"],
)
UNWRITTEN = Gauge(
    "temas_ingest_unwritten_calls",
    "Calls counted for quotas that PostgreSQL does not have yet. Growing: each process then keeps quotas by itself.",
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
CLOCK_AHEAD = Gauge(
    "temas_ingest_clock_ahead_seconds",
    "By how much this machine's clock is ahead of the database's, which holds. Past a second: mend the clock.",
)
REGISTRY_REVISION = Gauge(
    "temas_ingest_registry_revision",
    "Number of the last change of sources, keys or plan that this process knows. Processes that differ for long: look.",
)
REGISTRY_READ = Gauge(
    "temas_ingest_registry_read_timestamp_seconds",
    "When this process last made sure that it knows the newest sources, keys and plan.",
)
