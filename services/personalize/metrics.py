"""Every metric of personalize, once, with its meaning. Records, lag and dead letters are in `shared.metrics`.

What is counted inside a batch counts again when PostgreSQL makes the batch try again: a guide, not a ledger. A
placement is a label only where offers are put for it, so that what anybody asks for does not become one.
"""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

DECISIONS = Counter(
    "temas_personalize_decisions_total",
    "Decisions by placement (those without offers together, as `other`) and outcome: offers, or why there were none.",
    ["placement", "outcome"],
)
REFUSED = Counter(
    "temas_personalize_candidates_refused_total",
    "Offers that a decision left out, by the first gate they failed. A jump in one: a rule, or a lost consent.",
    ["gate"],
)
UNKNOWN = Counter(
    "temas_personalize_candidates_unknown_total",
    "Of those, the offers that asked for something of a person who could not be looked up, by gate. An outage.",
    ["gate"],
)
DECISION_SECONDS = Histogram(
    "temas_personalize_decision_seconds",
    "Seconds from the question to the answer, HTTP not counted.",
    buckets=(0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.02, 0.05, 0.1, 0.25, 1.0),
)
DEGRADED = Counter(
    "temas_personalize_degraded_total",
    "Decisions made without something: profile (the read model did not answer in time), behind (views come late), "
    "knowledge (offers and what was learned are some seconds old), holdout (which side of it the person is on).",
    ["without"],
)
FEEDBACK = Counter(
    "temas_personalize_feedback_total",
    "Feedback by step; `malformed` names no offer that we could know: a client's bug.",
    ["step"],
)
WINDOWS_CLOSED = Counter(
    "temas_personalize_windows_closed_total",
    "Outcomes that silence has settled.",
)
VIEWS = Counter(
    "temas_personalize_views_total",
    "Profile views taken into the read model.",
)
FIT_SECONDS = Histogram(
    "temas_personalize_fit_seconds",
    "Seconds that computing a placement's posterior took, off the way of requests.",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0),
)
LEARNED = Gauge(
    "temas_personalize_learner_exposures",
    "Settled exposures that this process's posteriors rest on. Standing still under traffic: feedback is not arriving.",
)
KNOWLEDGE_AGE = Gauge(
    "temas_personalize_knowledge_age_seconds",
    "Seconds since this process last looked for changed offers and evidence; infinite before the first time.",
)
RECORDS_DROPPED = Counter(
    "temas_personalize_decision_records_dropped_total",
    "Decision records that were never written to the log, because too many were waiting. Not one may be normal.",
)
RECORDS_WAITING = Gauge(
    "temas_personalize_decision_records_waiting_bytes",
    "Bytes of decision records that wait for Kafka.",
)
