"""Random lives for property tests: what one customer may do, and every way it may reach us."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import strategies as st

from shared.events import Touchpoint
from tests.builders import touchpoint

AMOUNTS = st.one_of(
    st.none(),
    st.floats(min_value=-50, max_value=500, allow_nan=False),
    st.decimals(min_value=0, max_value=1000, places=2).map(str),
    st.sampled_from(["", "n/a", True, [], "NaN", "Infinity", 1e300]),
)

MOMENTS = st.datetimes(
    min_value=datetime(1996, 1, 1), max_value=datetime(2027, 1, 1), timezones=st.just(UTC)
)  # fmt: skip

NAMES = st.sampled_from(
    ["Order Completed", "Order Completed", "Order Refunded", "Product Viewed", "Complaint Opened", "Something else"]
)


@st.composite
def touchpoints(draw: st.DrawFn) -> Touchpoint:
    """A touchpoint of one person."""
    moment = draw(MOMENTS)
    properties = {"total": draw(AMOUNTS), "revenue": draw(AMOUNTS), "value": draw(AMOUNTS)}
    if draw(st.booleans()):
        properties["ordered_at"] = draw(MOMENTS).isoformat()
    return touchpoint(draw(NAMES), user="u-1", at=moment, properties=properties)


Arrival = tuple[list[Touchpoint], list[list[Touchpoint]]]
"""A life, and the same touchpoints as several fragments got them."""

LIVES = st.lists(touchpoints(), max_size=12)


@st.composite
def arrivals(draw: st.DrawFn) -> Arrival:
    """A life, and its touchpoints shuffled and split over several fragments."""
    life = draw(LIVES)
    shuffled = draw(st.permutations(life))
    cuts = sorted(draw(st.lists(st.integers(0, len(life)), max_size=3)))
    sides = [shuffled[start:end] for start, end in zip([0, *cuts], [*cuts, len(life)], strict=True)]
    return life, sides
