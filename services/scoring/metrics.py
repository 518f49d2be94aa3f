"""What scoring exports beside what all services do (`shared/metrics.py`). Each once, with its meaning."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

SCORED = Counter("temas_scoring_profiles_scored_total", "Profiles scored and sent to the `scores` topic.")
PUBLISH_DELAY = Histogram(
    "temas_scoring_publish_delay_seconds",
    "Seconds from the first change of a profile until its scores were in the `scores` topic.",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0),
)
VALUATION_SECONDS = Histogram(
    "temas_scoring_valuation_seconds",
    "Seconds of computing for one batch of profiles, the database not counted.",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25),
)
BACKLOG = Gauge(
    "temas_scoring_dirty_profiles",
    "Profiles that wait to be scored again. Large for a while after a model was activated; else it should be near 0.",
)
MODEL_AGE = Gauge(
    "temas_scoring_model_age_seconds",
    "Seconds since the moment whose customers the active model was fitted on; NaN without one. Old: time to refit.",
)
REFIT_SECONDS = Histogram(
    "temas_scoring_refit_seconds",
    "Seconds that a fit took, in its own process, from reading the customers to the parameters.",
    buckets=(0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0),
)
REFITS = Counter("temas_scoring_refits_total", "Fits that ended, by how.", ["outcome"])
REFITS_FAILED = REFITS.labels("failed")
REFITS_READY = REFITS.labels("ready")
REFITS_INTERRUPTED = REFITS.labels("interrupted")
