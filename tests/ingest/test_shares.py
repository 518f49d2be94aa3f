"""What may wait for Kafka is shared out among sources."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from services.ingest.errors import Busy
from services.ingest.service.shares import Shares

LIMIT = 1_000

arrivals = st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 300), st.booleans()), max_size=80)


@given(arrivals)
@example([("a", 300, False), ("a", 200, False), ("b", 300, False), ("b", 33, False), ("c", 250, False)])
def test_no_more_waits_than_the_limit_and_what_is_given_back_is_room_again(
    arrivals: list[tuple[str, int, bool]],
) -> None:
    shares, waiting = Shares(LIMIT), list[tuple[str, int]]()
    for source, size, settled in arrivals:
        if settled and waiting:
            shares.give_back(*waiting.pop(0))
        try:
            shares.take(source, size)
        except Busy:
            continue
        waiting.append((source, size))
        held = Counter[str]()
        for name, bytes_held in waiting:
            held[name] += bytes_held
        assert shares.waiting == sum(held.values()) <= LIMIT
        assert shares.by_source == held


def test_who_floods_is_refused_at_half_and_others_still_get_in() -> None:
    shares = Shares(LIMIT)
    for _ in range(5):
        shares.take("loud", 100)
    with pytest.raises(Busy, match="loud"):
        shares.take("loud", 100)
    for quiet in ("first", "second"):
        shares.take(quiet, 100)
    shares.give_back("loud", 100)
    with pytest.raises(Busy):  # it has still more than its share
        shares.take("loud", 100)


def test_what_is_larger_than_any_share_is_let_in_where_nothing_waits() -> None:
    shares = Shares(LIMIT)
    shares.take("web", 5 * LIMIT)
    with pytest.raises(Busy):
        shares.take("web", 1)
    shares.give_back("web", 5 * LIMIT)
    shares.take("web", 1)
