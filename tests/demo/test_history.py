"""What the demo posts is what stands in the file, each order once."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from deploy.demo.errors import DemoFailed
from deploy.demo.history import BATCH, DEALT_WITH, Order, batches, furthest, metric, read_orders, touchpoint


@pytest.fixture(scope="module")
def orders() -> list[Order]:
    return read_orders()


def test_the_whole_history_is_read(orders: list[Order]) -> None:
    days = [order.day for order in orders]

    assert len(orders) == 6_919
    assert len({order.customer for order in orders}) == 2_357
    assert (min(days).date().isoformat(), max(days).date().isoformat()) == ("1997-01-01", "1998-06-30")


def test_every_order_has_a_name_of_its_own_and_keeps_it(orders: list[Order]) -> None:
    names = [touchpoint(order)["messageId"] for order in orders]

    assert len(set(names)) == len(names)
    assert [touchpoint(order)["messageId"] for order in read_orders()] == names


def test_a_line_becomes_an_order_of_that_day_wherever_the_shop_is() -> None:
    sent = touchpoint(Order(7, "0042", datetime(1997, 3, 9, 12, tzinfo=UTC), discs=3, dollars=41.5))

    assert (sent["type"], sent["event"], sent["userId"]) == ("track", "Order Completed", "cdnow-0042")
    assert sent["timestamp"] == "1997-03-09T12:00:00.000Z"
    assert sent["properties"]["total"] == 41.5
    assert sent["properties"]["products"] == [{"product_id": "cd", "quantity": 3}]


def test_batches_hold_every_order_once_and_none_is_too_large(orders: list[Order]) -> None:
    cut = list(batches(orders))

    assert [order for batch in cut for order in batch] == orders
    assert max(len(batch) for batch in cut) == BATCH


def test_a_file_that_is_another_is_refused_in_a_sentence(tmp_path: Path) -> None:
    other = tmp_path / "other.txt"
    other.write_text("1;2;3\n")

    with pytest.raises(DemoFailed, match="can't be read"):
        read_orders(other)


def test_the_furthest_position_is_after_all_others() -> None:
    assert furthest(["0:5,2:9", "0:7", "1:3,2:4"]) == "0:7,1:3,2:9"


def test_what_was_dealt_with_is_the_sum_over_fates_of_touchpoints_alone() -> None:
    metrics = """\
# HELP temas_stream_applied_total Records applied.
# TYPE temas_stream_applied_total counter
temas_stream_applied_total{consumer="profile",topic="touchpoints"} 40.0
temas_stream_applied_total{consumer="profile",topic="scores"} 500.0
# HELP temas_stream_duplicates_total Seen before.
# TYPE temas_stream_duplicates_total counter
temas_stream_duplicates_total{consumer="profile",topic="touchpoints"} 2.0
# HELP temas_stream_dead_letters_total Put aside.
# TYPE temas_stream_dead_letters_total counter
temas_stream_dead_letters_total{consumer="profile",topic="touchpoints"} 1.0
"""

    assert metric(metrics, DEALT_WITH, topic="touchpoints") == 43
