"""What somebody has defined in the bench: 50 segments and 20 computed traits, such as a shop has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from services.profile.domain.computed.definitions import Formula
from services.profile.domain.personas import PERSONAS
from tests.bench.inside import Inside

SEGMENTS = 50

COMPUTED: Mapping[str, Formula] = {
    "views": Formula(event="Product Viewed", aggregate="count"),
    "views_7d": Formula(event="Product Viewed", aggregate="count", window_days=7),
    "views_30d": Formula(event="Product Viewed", aggregate="count", window_days=30),
    "last_viewed": Formula(event="Product Viewed", aggregate="last", property="product_id"),
    "dear_views": Formula(event="Product Viewed", aggregate="count", filter="properties.price > 15.0"),
    "products_seen": Formula(event="Product Viewed", aggregate="distinct", property="product_id"),
    "searches": Formula(event="Products Searched", aggregate="count"),
    "searches_7d": Formula(event="Products Searched", aggregate="count", window_days=7),
    "carts_30d": Formula(event="Cart Viewed", aggregate="count", window_days=30),
    "added": Formula(event="Product Added", aggregate="count"),
    "added_value_30d": Formula(event="Product Added", aggregate="sum", property="price", window_days=30),
    "favourite": Formula(event="Product Added", aggregate="most_frequent", property="product_id"),
    "dear_added": Formula(
        event="Product Added", aggregate="count", filter='channel == "web" && properties.price > 15.0'
    ),
    "checkouts": Formula(event="Checkout Started", aggregate="count"),
    "checkouts_7d": Formula(event="Checkout Started", aggregate="count", window_days=7),
    "last_checkout": Formula(event="Checkout Started", aggregate="last", property="price"),
    "spent_90d": Formula(event="Order Completed", aggregate="sum", property="total", window_days=90),
    "average_order": Formula(event="Order Completed", aggregate="average", property="total"),
    "largest_order": Formula(event="Order Completed", aggregate="max", property="total"),
    "dear_orders": Formula(event="Order Completed", aggregate="count", filter="properties.total >= 40.0"),
}
"""Over six events; a third has a window and a fifth a filter. Three to four count most of what happens."""


def rules() -> dict[str, str]:
    """The rules by id: the personas, and as many more as make 50. A third is over `now`, a third over what is computed
    for this company, and a few ask for other segments or for what nobody has.
    """
    found = {each.id: each.rule for each in PERSONAS.values()}
    more = _more()
    while len(found) < SEGMENTS:
        name, rule = next(more)
        found[name] = rule
    return found


def _more() -> Iterator[tuple[str, str]]:
    for number in range(1, SEGMENTS):
        days = 7 * number
        yield f"seen-{number}", f'computed.last_touchpoint_at > now - duration("{24 * days}h")'
        yield f"looking-{number}", f"computed.views_30d >= {3 * number} && computed.order_count < {number}"
        yield (
            f"quiet-{number}",
            (
                f"computed.order_value > {50 * number} "
                f'&& computed.last_order_at < now - duration("{24 * days}h") && computed.touchpoint_count > {number}'
            ),
        )
        yield (
            f"gold-{number}",
            f'traits.plan == "gold" && traits.city == "Delft" && computed.touchpoint_count > {number}',
        )
        yield f"tempted-{number}", f"computed.checkouts > {number} && computed.spent_90d < {100 * number}.0"
        yield f"many-{number}", f"channels.web > {5 * number} || has(scores.ltv) && scores.ltv > {100 * number}.0"
        yield f"both-{number}", f'"champions" in segments && stage == "maintain" && computed.views_7d > {number}'


async def define(parts: Inside) -> None:
    """Define them all, before anybody is there: nothing is to be filled."""
    for segment_id, rule in rules().items():
        async with parts.database.begin() as work:
            await parts.segments.save(segment_id, segment_id, rule, "shop:1", work)
    for name, formula in COMPUTED.items():
        async with parts.database.begin() as work:
            await parts.defining.save(name, name, formula, "shop:1", work)
    while await parts.computed.fill():
        pass
