"""How much a source may send: the bucket and the quota, held against what they promise."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import accumulate

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.ingest.domain.bounds import BATCH_CALLS
from services.ingest.domain.quotas import Bucket, until_midnight
from services.ingest.domain.sources import Source
from services.ingest.errors import TooManyCalls
from services.ingest.service.counts import Quotas
from services.ingest.store.counts import Use

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
TODAY = NOON.date()

rates = st.floats(0.01, 10_000)
arrivals = st.lists(st.tuples(st.floats(0, 30), st.integers(1, BATCH_CALLS)), min_size=1, max_size=60)


def quotas(now: datetime = NOON) -> Quotas:
    return Quotas(lambda: now)


def taken(rate: float, arrivals: Sequence[tuple[float, int]]) -> list[tuple[float, int]]:
    """The moment and size of what is taken of `arrivals`, which are pauses and sizes."""
    moments = accumulate(pause for pause, _ in arrivals)
    source, counted = Source(name="web", rate=rate), quotas()
    return [
        (now, calls)
        for now, (_, calls) in zip(moments, arrivals, strict=True)
        if counted.admit(source, calls, now, TODAY) is None
    ]


# --- rates -----------------------------------------------------------------------------------------------------------


@given(rates, arrivals)
@settings(max_examples=60)
def test_no_more_is_taken_than_the_rate_a_burst_and_one_batch(rate: float, arrivals: list[tuple[float, int]]) -> None:
    admitted = taken(rate, arrivals)
    burst = max(rate, 1)
    for first, (began, _) in enumerate(admitted):
        so_far = 0
        for now, calls in admitted[first:]:
            # Before the last of them, one call at least was left of what time and a full bucket had given.
            assert so_far <= rate * (now - began) + burst - 1 + 1e-6 * (1 + so_far)
            so_far += calls


@given(rates, st.integers(1, BATCH_CALLS), st.integers(1, BATCH_CALLS))
@settings(max_examples=60)
def test_who_waits_as_long_as_is_said_is_taken_and_who_comes_earlier_is_not(rate: float, first: int, next: int) -> None:
    counted, source, now = quotas(), Source(name="web", rate=rate), 1000.0
    while (wait := counted.admit(source, first, now, TODAY)) is None:
        pass
    assert counted.admit(source, next, now + 0.9 * wait, TODAY) is not None
    assert counted.admit(source, next, now + wait * 1.000001 + 1e-6, TODAY) is None


@given(rates)
@settings(max_examples=60)
def test_calls_that_keep_to_the_rate_are_all_taken(rate: float) -> None:
    pauses = [(1.000001 / rate, 1)] * 60
    assert len(taken(rate, pauses)) == 60


def test_a_batch_of_any_size_needs_no_more_of_the_bucket_than_a_single_call() -> None:
    counted, source = quotas(), Source(name="web", rate=10.0)
    while (wait := counted.admit(source, 1, 0.0, TODAY)) is None:
        pass
    now = wait + 1e-6
    assert counted.admit(source, BATCH_CALLS, now, TODAY) is None
    debt = counted.admit(source, 1, now, TODAY)
    assert debt is not None
    assert debt == pytest.approx(BATCH_CALLS / 10, abs=0.2)
    assert counted.admit(source, 1, now + debt + 1e-6, TODAY) is None


def test_a_full_bucket_holds_the_calls_of_a_second_and_one_at_least() -> None:
    assert len(taken(100.0, [(0, 1)] * 150)) == 100
    assert len(taken(0.01, [(0, 1)] * 5)) == 1


def test_a_new_rate_begins_without_the_debt_of_the_old_one() -> None:
    counted = quotas()
    assert counted.admit(Source(name="web", rate=1.0), BATCH_CALLS, 0.0, TODAY) is None
    assert counted.admit(Source(name="web", rate=1.0), 1, 60.0, TODAY) is not None
    assert counted.admit(Source(name="web", rate=2.0), 1, 60.0, TODAY) is None


def test_each_source_has_a_bucket_of_its_own() -> None:
    counted = quotas()
    assert counted.admit(Source(name="web", rate=1.0), 100, 0.0, TODAY) is None
    assert counted.admit(Source(name="app", rate=1.0), 100, 0.0, TODAY) is None
    assert counted.admit(Source(name="web", rate=1.0), 1, 0.0, TODAY) is not None


def test_a_bucket_is_a_value() -> None:
    full = Bucket.full(10.0, now=0.0)
    full.without(100, now=0.0)
    assert full.wait(now=0.0) < 0 < full.without(100, now=0.0).wait(now=0.0)


# --- quotas ----------------------------------------------------------------------------------------------------------


@given(st.integers(1, 2000), st.lists(st.tuples(st.integers(1, 700), st.booleans(), st.integers(0, 300))))
@settings(max_examples=60)
def test_a_quota_is_exact_whenever_it_is_written(quota: int, steps: list[tuple[int, bool, int]]) -> None:
    """Calls come; now and then what was counted is written, and what other processes have taken is read."""
    source, use = Source(name="web", quota=quota), Use("web", TODAY)
    counted, mine, others, written = quotas(), 0, 0, 0
    for calls, write, theirs in steps:
        admitted = counted.admit(source, calls, 0.0, TODAY) is None
        assert admitted == (mine + others + calls <= quota)
        mine += calls * admitted
        if write:
            more = dict(counted.unwritten)
            written, others = written + more.get(use, 0), others + theirs
            counted.note_written(more, {use: written + others})
            assert counted.unwritten == {}
    assert written + counted.unwritten.get(use, 0) == mine


def test_what_is_counted_while_it_is_written_is_not_lost() -> None:
    counted, source, use = quotas(), Source(name="web", quota=10), Use("web", TODAY)
    counted.admit(source, 3, 0.0, TODAY)
    more = dict(counted.unwritten)
    counted.admit(source, 4, 0.0, TODAY)
    counted.note_written(more, {use: 3})
    assert counted.unwritten == {use: 4}
    assert counted.admit(source, 4, 0.0, TODAY) is not None
    assert counted.admit(source, 3, 0.0, TODAY) is None


def test_past_its_quota_a_source_waits_for_midnight() -> None:
    counted, source = quotas(NOON), Source(name="web", quota=10)
    assert counted.admit(source, 11, 0.0, TODAY) == 12 * 3600
    assert counted.admit(source, 10, 0.0, TODAY) is None
    assert counted.admit(source, 1, 0.0, TODAY + timedelta(days=1)) is None


def test_what_is_refused_counts_neither_for_the_rate_nor_for_the_quota() -> None:
    counted, source = quotas(), Source(name="web", quota=10, rate=1.0)
    assert counted.admit(source, 11, 0.0, TODAY) is not None
    assert counted.admit(source, 5, 0.0, TODAY) is None
    assert counted.admit(source, 5, 0.0, TODAY) is not None  # by the rate
    assert counted.admit(source, 5, 60.0, TODAY) is None


def test_calls_that_were_not_taken_after_all_are_given_back() -> None:
    counted, source = quotas(), Source(name="web", quota=10)
    assert counted.admit(source, 10, 0.0, TODAY) is None
    counted.give_back(source, 10, TODAY)
    assert counted.admit(source, 10, 0.0, TODAY) is None
    assert counted.admit(source, 1, 0.0, TODAY) is not None


def test_a_source_without_limits_is_counted_all_the_same() -> None:
    counted = quotas()
    for _ in range(3):
        assert counted.admit(Source(name="web"), BATCH_CALLS, 0.0, TODAY) is None
    assert counted.unwritten == {Use("web", TODAY): 3 * BATCH_CALLS}


@pytest.mark.parametrize(
    ("now", "today", "seconds"),
    [
        (NOON, NOON.date(), 12 * 3600),
        (datetime(2026, 3, 1, 23, 59, 59, 500_000, tzinfo=UTC), date(2026, 3, 1), 0.5),
        (datetime(2026, 3, 2, 0, 0, 1, tzinfo=UTC), date(2026, 3, 1), 0.0),
    ],
)
def test_midnight_is_that_of_utc(now: datetime, today: date, seconds: float) -> None:
    assert until_midnight(now, today) == seconds


@pytest.mark.parametrize(("seconds", "said"), [(0.0, "1"), (0.2, "1"), (1.0, "1"), (1.2, "2"), (43_200.0, "43200")])
def test_clients_are_told_whole_seconds(seconds: float, said: str) -> None:
    assert TooManyCalls("too many", seconds).headers == {"Retry-After": said, "X-RateLimit-Reset": said}
