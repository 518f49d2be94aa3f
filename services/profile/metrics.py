"""Every metric of profile, once, with its meaning. Records, lag, duplicates and dead letters are in `shared.metrics`.

What is counted inside a batch counts again when PostgreSQL makes the batch try again: a guide, not a ledger.
"""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

from shared.metrics import BUCKETS

ABSORBED = Counter(
    "temas_profile_absorbed_total",
    "Touchpoints folded into fragments.",
)
BLOCKED = Counter(
    "temas_profile_blocked_total",
    "Ids such as null or 0000 that touchpoints were sent under, and that may link nothing. A jump: a client's bug.",
)
CONFLICTS = Counter(
    "temas_profile_identity_conflicts_total",
    "Logins on a device that is another user's: no merge. Shared devices make a few; a jump: an id that is no device.",
)
OVER_LIMIT = Counter(
    "temas_profile_over_limit_total",
    "Identifiers found past the limit of their kind when a profile was decided anew. A jump: an id shared by many.",
)
MERGED = Counter(
    "temas_profile_absorbed_profiles_total",
    "Profiles that were absorbed by another.",
)
RULINGS = Counter(
    "temas_profile_rulings_total",
    "Identifiers that a person merged or split. Many splits: something else than people links identifiers.",
    ["ruling"],
)
PROPOSALS_DECIDED = Counter(
    "temas_profile_proposals_decided_total",
    "Likely duplicates that a person accepted or refused. Many refused: too little is known of people here.",
    ["decision"],
)
PUBLISHED = Counter(
    "temas_profile_published_total",
    "Profiles published: folded, written and acknowledged by Kafka.",
)
PUBLISH_SECONDS = Histogram(
    "temas_profile_publish_delay_seconds",
    "From the moment a profile was first marked dirty to the moment Kafka has its view.",
    buckets=BUCKETS,
)
BACKLOG = Gauge(
    "temas_profile_dirty",
    "Profiles that wait to be published, looked at once a second. Growing without end: the publisher is too slow.",
)
OLDEST = Gauge(
    "temas_profile_dirty_oldest_seconds",
    "How long the one that waits longest has waited.",
)
SIGNALS = Counter(
    "temas_profile_signals_total",
    "Signals sent, by what they say.",
    ["name"],
)
UNKNOWN = Counter(
    "temas_profile_segment_rules_unknown_total",
    "Segment rules that could not be known for somebody, mostly because a trait is missing; they count as false.",
)
SWEPT = Counter(
    "temas_profile_swept_total",
    "Profiles marked to be decided anew because time alone may have changed their segments or stage.",
)
FILLED = Counter(
    "temas_profile_segment_filled_total",
    "Profiles marked to be decided anew because a segment was saved.",
)
COMPUTED = Gauge(
    "temas_profile_computed_definitions",
    "Revisions of computed traits by phase. Long in `filling`: see the next one. `gone`: being deleted.",
    ["phase"],
)
COMPUTED_LOOKED = Counter(
    "temas_profile_computed_looked_total",
    "Touchpoints of the past that were looked at for a computed trait. Stands still while one is filling: look why.",
)
TIMELINE_PARTITIONS = Gauge(
    "temas_profile_timeline_partitions",
    "Partitions of the timeline. With retention their number comes to rest; without, it grows by twelve a year.",
)
TIMELINE_ROWS = Gauge(
    "temas_profile_timeline_rows",
    "Touchpoints in the timeline, as PostgreSQL's statistics last knew: an estimate, as old as the last autovacuum.",
)
TIMELINE_BYTES = Gauge(
    "temas_profile_timeline_bytes",
    "Bytes of the timeline on disk with its indexes, by the same statistics.",
)
TIMELINE_REMOVED = Counter(
    "temas_profile_timeline_removed_partitions_total",
    "Partitions that retention has dropped.",
)
TIMELINE_BUSY = Counter(
    "temas_profile_timeline_busy_total",
    "Times that a partition could not be made or dropped because somebody else used the timeline; it is tried again.",
)
TIMELINE_LATE = Counter(
    "temas_profile_timeline_late_total",
    "Touchpoints from before what the timeline keeps: they count in the profile and do not show in its timeline.",
)
