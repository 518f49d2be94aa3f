"""What touchpoints add up to: by hand where a rule is at stake, against the oracle for everything else."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.profile.domain.fragment import EMPTY, Fragment, fold, fragment
from services.profile.domain.graph import Standing
from services.profile.domain.precedence import Precedence
from services.profile.domain.view import view
from shared.clock import rfc3339
from shared.events import Touchpoint, Trust, View
from shared.identifiers import Identifier
from tests.builders import after
from tests.profile import oracle
from tests.profile.lives import added, consent, identify, lives, order, page, touchpoint


def folded(*life: Touchpoint) -> Fragment:
    return fold(fragment(each, UTC) for each in life)


def shown(known: Fragment) -> View:
    member = Standing(Identifier("user_id", "u"), seen=Precedence(0, after(0), after(0), "m"))
    return view("p", 1, [member], known, None)


def refund(id: str, minutes: float = 0, **properties: Any) -> Touchpoint:
    return touchpoint(id, minutes, "Order Refunded", user="u", properties=properties)


def test_a_trait_is_the_latest_word_with_where_it_came_from() -> None:
    late, early = (
        identify("2", 9, user="u", traits={"plan": "pro"}),
        identify("1", 1, user="u", traits={"plan": "free"}),
    )
    trait = shown(folded(late, early)).traits["plan"]
    assert (trait.value, trait.at, trait.source, trait.touchpoint_id) == ("pro", rfc3339(after(9)), "web", "2")


def test_a_trait_said_null_is_taken_back() -> None:
    life = [identify("1", user="u", traits={"plan": "pro"}), identify("2", 1, user="u", traits={"plan": None})]
    assert shown(folded(*life)).traits == {}
    assert shown(folded(*life, identify("3", 2, user="u", traits={"plan": "free"}))).traits["plan"].value == "free"


def test_the_traits_of_a_group_are_not_the_persons() -> None:
    assert folded(touchpoint("1", kind="group", user="u", traits={"industry": "steel"})).traits == {}


def test_consent_follows_the_time_it_was_given_not_the_time_it_arrived() -> None:
    withdrawn, granted = consent("2", 9, False, user="u"), consent("1", 1, True, user="u")
    assert not shown(folded(withdrawn, granted)).consent["marketing"]["*"].granted


def test_with_a_public_key_no_trait_is_replaced_that_a_server_has_stated() -> None:
    told, claimed = (
        identify("1", 1, user="u", traits={"plan": "free", "note": None}),
        identify("2", 9, user="u", traits={"plan": "pro", "note": "vip", "city": "Izmir"}, trust="client"),
    )
    for life in ((told, claimed), (claimed, told)):
        traits = shown(folded(*life)).traits
        assert {name: (trait.value, trait.trust) for name, trait in traits.items()} == {
            "plan": ("free", "server"),
            "city": ("Izmir", "client"),
        }


def test_among_clients_the_latest_word_wins() -> None:
    life = [
        identify(str(n), n, user="u", traits={"plan": plan}, trust="client") for n, plan in ((9, "pro"), (1, "free"))
    ]
    assert shown(folded(*life)).traits["plan"].value == "pro"


@pytest.mark.parametrize(
    ("words", "granted", "trust"),
    [
        ([("server", 1, True)], True, "server"),
        ([("client", 1, True)], True, "client"),
        ([("client", 1, True), ("client", 2, False)], False, "client"),
        ([("server", 1, False), ("client", 2, True)], False, "server"),
        ([("server", 2, False), ("client", 1, True)], False, "server"),
        ([("server", 1, True), ("client", 2, False)], False, "client"),
        ([("server", 2, True), ("client", 1, False)], True, "server"),
        ([("server", 1, True), ("client", 2, False), ("client", 3, True)], True, "server"),
        ([("server", 1, True), ("client", 2, False), ("server", 3, True)], True, "server"),
        ([("server", 1, False), ("client", 2, False)], False, "server"),
    ],
)
def test_a_client_may_take_consent_back_and_never_gives_what_a_server_refuses(
    words: list[tuple[Trust, int, bool]], granted: bool, trust: Trust
) -> None:
    life = [consent(f"c-{at}", at, word, user="u", trust=who) for who, at, word in words]
    for said in (life, life[::-1]):
        held = shown(folded(*said)).consent["marketing"]["*"]
        assert (held.granted, held.trust) == (granted, trust)


def test_consent_is_kept_for_each_channel_with_its_evidence() -> None:
    said = [
        consent("c-1", 0, True, user="u", by={"channel": "email"}),
        consent("c-2", 1, False, user="u", by={"channel": "sms"}),
    ]
    channels = shown(folded(*said)).consent["marketing"]
    assert {name: (each.granted, each.touchpoint_id) for name, each in channels.items()} == {
        "email": (True, "c-1"),
        "sms": (False, "c-2"),
    }


@pytest.mark.parametrize("granted", ["yes", None, 1])
def test_consent_is_never_guessed(granted: Any) -> None:
    assert folded(consent("1", 0, granted, user="u")).consent == {}


@pytest.mark.parametrize(
    ("properties", "value"),
    [
        ({"total": 12.5, "revenue": 10, "value": 9}, 12.5),
        ({"revenue": 10, "value": 9}, 10),
        ({"value": "9.99"}, 9.99),
        ({"total": "much", "value": 3}, 3),
        ({"total": True}, 0),
        ({"total": "nan"}, 0),
        ({"total": "1_000", "value": " 7.5 "}, 7.5),
        ({"total": "1e400"}, 0),
        ({"total": "1e1000000"}, 0),
        ({"total": "-1e999999999999999999"}, 0),
        ({}, 0),
    ],
)
def test_an_orders_value(properties: dict[str, Any], value: float) -> None:
    computed = shown(folded(touchpoint("1", 0, "Order Completed", user="u", properties=properties))).computed
    assert (computed["order_count"], computed["order_value"]) == (1, value)


def test_cents_add_up_exactly_in_any_order() -> None:
    life = [order(str(i), i, 0.1, user="u") for i in range(30)]
    assert shown(folded(*life)).computed["order_value"] == 3.0


def test_a_page_named_like_an_order_is_no_order() -> None:
    assert (
        folded(touchpoint("1", 0, "Order Completed", kind="page", user="u", properties={"total": 5})).orders.count == 0
    )


def test_a_refund_is_no_order() -> None:
    computed = shown(folded(order("1", 0, 50, user="u"), refund("2", 60, total=20))).computed
    assert (computed["order_count"], computed["order_value"]) == (1, 30)
    assert computed["first_order_at"] == computed["last_order_at"] == rfc3339(after(0))


@pytest.mark.parametrize("ordered_at", ["2026-02-01", "2026-02-01T09:00:00Z", "2026-02-01T09:00:00"])
def test_a_refund_counts_on_its_orders_day_if_that_is_told(ordered_at: str) -> None:
    assert folded(refund("1", total=5, ordered_at=ordered_at)).orders.days == {"2026-02-01": (0, -5_000_000)}


@pytest.mark.parametrize("ordered_at", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00"])
def test_a_day_past_the_ends_of_the_calendar_is_the_day_as_it_is_written(ordered_at: str) -> None:
    days = folded(refund("1", total=5, ordered_at=ordered_at)).orders.days
    assert days == {ordered_at[:10]: (0, -5_000_000)}


@pytest.mark.parametrize("ordered_at", [None, "soon", 7])
def test_else_on_its_own(ordered_at: Any) -> None:
    assert folded(refund("1", total=5, ordered_at=ordered_at)).orders.days == {"2026-03-01": (0, -5_000_000)}


def test_days_are_dates_in_the_accounts_time_zone() -> None:
    late = order("1", 13 * 60 + 30, user="u")  # 23:30 in UTC
    assert fragment(late, UTC).orders.days.keys() == {"2026-03-01"}
    assert fragment(late, ZoneInfo("Europe/Istanbul")).orders.days.keys() == {"2026-03-02"}


def test_an_order_at_the_ends_of_the_calendar_is_an_order_everywhere() -> None:
    for at in (datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)):
        for zone in ("America/New_York", "Europe/Istanbul"):
            assert fragment(msgspec.structs.replace(order("1", user="u"), time=at), ZoneInfo(zone)).orders.count == 1


def test_a_touchpoint_updates_the_fragment_of_its_owner_alone() -> None:
    life = [page("1", anonymous="a"), page("2", user="u", anonymous="a"), page("3", user="null", anonymous="a")]
    parts = added(life)
    counts = {str(identifier): part.count for identifier, part in parts.items()}
    assert counts == {"anonymous_id:a": 2, "user_id:u": 1}


def test_a_fragment_survives_being_stored() -> None:
    whole = folded(
        order("1", user="u"), identify("2", user="u", traits={"x": {"y": [1]}}), consent("3", 1, True, user="u")
    )
    assert msgspec.json.decode(msgspec.json.encode(whole), type=Fragment) == whole


@settings(max_examples=100, deadline=None)
@given(lives(), st.randoms(use_true_random=False), st.integers(1, 5))
def test_neither_order_nor_batches_show(life: list[Touchpoint], random: Random, parts: int) -> None:
    """Two consumers fold interleaved batches into stored fragments: the same as everything at once."""
    shuffled = list(life)
    random.shuffle(shuffled)
    stored: dict[Identifier, Fragment] = {}
    for batch in _batches(shuffled, parts):
        for identifier, part in added(batch).items():
            stored[identifier] = fold([stored.get(identifier, EMPTY), part])
    assert _bytes(stored) == _bytes(added(life))


@settings(max_examples=150, deadline=None)
@given(lives())
def test_the_view_is_what_the_oracle_says(life: list[Touchpoint]) -> None:
    seen, expected = shown(fold(added(life).values())), oracle.known(life)
    assert {name: trait.value for name, trait in seen.traits.items()} == expected["traits"]
    assert seen.computed["order_count"] == expected["order_count"]
    assert seen.computed["order_value"] == expected["order_value"]
    assert (seen.computed["first_order_at"], seen.computed["last_order_at"]) == _shown(expected["orders"])
    assert (seen.touchpoints.first_at, seen.touchpoints.last_at) == _shown(expected["touchpoints"])
    assert seen.touchpoints.channels == expected["channels"]
    assert seen.touchpoints.count == len(life)
    granted = seen.consent["marketing"]["*"].granted if seen.consent else None
    assert granted == expected["granted"]


def _batches(life: Sequence[Touchpoint], parts: int) -> Iterable[Sequence[Touchpoint]]:
    return (life[part::parts] for part in range(parts))


def _bytes(stored: dict[Identifier, Fragment]) -> list[bytes]:
    """As shown: sorted, so that equal states are equal bytes."""
    return [
        msgspec.json.encode(
            (str(each), shown(part), part.orders, part.client_traits, part.client_consent), order="sorted"
        )
        for each, part in sorted(stored.items())
    ]


def _shown(span: tuple[Any, Any] | None) -> tuple[str | None, str | None]:
    return (rfc3339(span[0]), rfc3339(span[1])) if span else (None, None)
