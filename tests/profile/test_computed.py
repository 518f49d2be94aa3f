"""Computed traits without a database: however events come, whoever they are found to belong to, the values are those
that a person would compute from the set of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import permutations
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.profile.domain.computed import sketches
from services.profile.domain.computed.answers import Held, answer, next_change
from services.profile.domain.computed.cells import Answer
from services.profile.domain.computed.definitions import Defined, Definition, Formula, filter_rule, first_day
from services.profile.domain.computed.filling import Fill, Span, span
from services.profile.domain.computed.parts import Days, Key, counted, decoded, encoded, fold, occurrences
from services.profile.domain.identity import owned
from services.profile.domain.periods import named
from services.profile.domain.publication import Known, Publication, published
from services.profile.domain.segments import asked, rule
from shared.events import Touchpoint
from shared.rules import RuleRefused
from tests.builders import after
from tests.profile.lives import touchpoint
from tests.profile.test_publication import known

ISTANBUL = ZoneInfo("Europe/Istanbul")
NOW = after(days=10)
AGGREGATES = ("count", "sum", "average", "min", "max", "first", "last", "most_frequent", "distinct")
VALUES: Sequence[Any] = (
    1,
    2,
    2.5,
    1.0,
    -3,
    "7",
    "red",
    "blue",
    "",
    True,
    None,
    [1],
    {"a": 1},
    10**14,
    10**22,
    "x" * 300,
)


def defined(*formulas: Formula, zone: Any = ISTANBUL) -> Defined:
    named = tuple(Definition(id=f"t{number}", revision=number, formula=each) for number, each in enumerate(formulas))
    return Defined(zone=zone, generation=9, counted=named, shown=named)


def bought(id: str, days: float = 0, value: Any = None, **rest: Any) -> Touchpoint:
    return touchpoint(id, days * 24 * 60, "Bought", properties={"item": {"price": value}}, **rest)


class Store:
    """What a database does: keeps the text of each part, and folds what is added into it."""

    def __init__(self, defined: Defined) -> None:
        self.defined = defined
        self.states: dict[Key, str] = {}

    def absorb(self, batch: Iterable[Touchpoint]) -> None:
        found = occurrences([owned(each) for each in batch], self.defined)
        for key, days in counted(found, self.defined).items():
            definition = self.defined.by_key[key[2:]]
            old = [decoded(definition, self.states[key])] if key in self.states else []
            self.states[key] = encoded(fold(definition, [*old, days]))

    def of(self, definition: Definition, owners: Iterable[str]) -> Days:
        wanted = [key for key in self.states if key.value in owners and key[2:] == definition.key]
        return fold(definition, [decoded(definition, self.states[key]) for key in wanted])


# --- the oracle ------------------------------------------------------------------------------------------------------


def by_hand(life: Iterable[Touchpoint], formula: Formula, now: datetime) -> Any:
    today = now.astimezone(ISTANBUL).date()
    since = date.min if formula.window_days is None else today - timedelta(days=formula.window_days - 1)
    events = [
        (each.at, each.id, each.properties()["item"]["price"])
        for each in sorted(life, key=lambda each: (each.at, each.id))
        if each.at.astimezone(ISTANBUL).date() >= since and (formula.filter is None or each.data.channel == "web")
    ]
    said = [value for *_, value in events if isinstance(value, int | float | str | bool)]
    numbers = [float(each) for each in said if each in (1, 2, 2.5, -3, "7", 10**14) and each is not True]
    short = [each for each in said if not isinstance(each, str) or len(each) <= 200]
    often = Counter((type(each) is bool, isinstance(each, str), each) for each in short)
    ranked = sorted(often, key=lambda each: (-often[each], sketches.written(sketches.scalar(each[2]))))
    return {
        "count": len(events),
        "sum": sum(numbers),
        "average": sum(numbers) / len(numbers) if numbers else None,
        "min": min(numbers, default=None),
        "max": max(numbers, default=None),
        "first": short[0] if short else None,
        "last": short[-1] if short else None,
        "most_frequent": ranked[0][2] if ranked else None,
        "distinct": len({(type(each) is bool, each) for each in said}),
    }[formula.aggregate]


@st.composite
def lives(draw: st.DrawFn) -> list[Touchpoint]:
    """Some on the edges of days in Istanbul, which is three hours ahead; few moments, so that they often tie."""
    return [
        bought(
            f"m-{number}",
            draw(st.sampled_from((-400, -3, 0, 0.45, 11 / 24, 0.5, 3, 6.458, 6.4584, 9, 10, 10.003))),
            draw(st.sampled_from(VALUES)),
            user=draw(st.sampled_from(("a", "b", "c"))),
            channel=draw(st.sampled_from(("web", "store"))),
        )
        for number in range(draw(st.integers(0, 25)))
    ]


@settings(max_examples=100)
@given(
    life=lives(),
    window=st.sampled_from((None, 1, 2, 5, 30)),
    filter=st.sampled_from((None, 'channel == "web"')),
    later=st.sampled_from((0, 0.5, 1, 3, 40)),
    random=st.randoms(use_true_random=False),
)
def test_the_values_are_those_of_the_set_of_events(
    life: list[Touchpoint], window: int | None, filter: str | None, later: float, random: Random
) -> None:
    formulas = [
        Formula(
            event="Bought",
            aggregate=name,  # type: ignore[arg-type]
            property=None if name == "count" else "item.price",
            filter=filter,
            window_days=window,
        )
        for name in AGGREGATES
    ]
    store, now = Store(defined(*formulas)), NOW + timedelta(days=later)
    shuffled = random.sample(life, len(life))
    while shuffled:
        size = random.randint(1, 8)
        store.absorb(shuffled[:size])
        shuffled = shuffled[size:]

    for owners in ("a", "b", "ab", "abc"):  # however they merge, and are taken apart again
        theirs = [each for each in life if each.owner.value in owners]
        for definition in store.defined.shown:
            found = answer(definition, store.of(definition, owners), now, ISTANBUL)
            assert found == Answer(by_hand(theirs, definition.formula, now)), definition.formula.aggregate
    once = Store(store.defined)
    once.absorb(life)
    assert once.states == store.states, "nor does the order show in what is kept"


# --- what counts -----------------------------------------------------------------------------------------------------


def values(formula: Formula, *life: Touchpoint, now: datetime = NOW) -> Any:
    store = Store(defined(formula))
    store.absorb(life)
    (definition,) = store.defined.shown
    return answer(definition, store.of(definition, {each.owner.value for each in life}), now, ISTANBUL).value


def test_only_track_calls_of_that_name_count() -> None:
    formula = Formula(event="Bought", aggregate="count")
    page = touchpoint("2", 0, "Bought", kind="page")
    assert values(formula, bought("1"), page, touchpoint("3", 0, "Sold")) == 1


def test_a_filter_that_can_not_be_known_does_not_hold() -> None:
    formula = Formula(event="Bought", aggregate="count", filter="properties.item.price > 5 && name == 'Bought'")
    assert values(formula, bought("1", value=6), bought("2", value="six"), bought("3", value=4), bought("4")) == 1


@pytest.mark.parametrize(
    ("path", "value"),
    [("products.1.price", 2.0), ("products.2.price", None), ("products.x", None), ("products.-1.price", None)],
)
def test_a_property_may_lie_deep(path: str, value: float | None) -> None:
    formula = Formula(event="Bought", aggregate="max", property=path)
    event = touchpoint("1", 0, "Bought", properties={"products": [{"price": 1}, {"price": 2}]})
    assert values(formula, event) == value


def test_a_property_s_own_name_may_have_a_dot() -> None:
    formula = Formula(event="Bought", aggregate="sum", property="price.usd")
    own = touchpoint("1", 0, "Bought", properties={"price.usd": 9, "price": {"usd": 100}})
    path = touchpoint("2", 0, "Bought", properties={"price": {"usd": 5}})
    null = touchpoint("3", 0, "Bought", properties={"price.usd": None, "price": {"usd": 1}})
    assert values(formula, own, path, null) == 15


@pytest.mark.parametrize("moment", [1_791_000_000_000, -1_791_000_000_000, "1791000000000123", 1.791e18])
def test_moments_written_as_numbers_count(moment: Any) -> None:
    """Milliseconds, microseconds and nanoseconds since 1970."""
    life = [bought("1", value=moment), bought("2", value=moment)]
    for aggregate, value in (("sum", 2), ("average", 1), ("min", 1), ("max", 1)):
        formula = Formula(event="Bought", aggregate=aggregate, property="item.price")  # type: ignore[arg-type]
        assert values(formula, *life) == value * float(moment)


def test_large_numbers_add_up_exactly_in_any_order() -> None:
    formula = Formula(event="Bought", aggregate="sum", property="item.price", window_days=30)
    life = [bought("1", value="1e21"), bought("2", value=0.000001), bought("3", value="-1e21")]
    assert {values(formula, *order) for order in permutations(life)} == {0.000001}


@pytest.mark.parametrize(
    "text", ["1_000", "1,000", "12 EUR", "\u0661\u0662", "0x10", "1e", ".", "", "inf", "1e22", 10**22]
)
def test_what_is_no_plain_number_does_not_count(text: Any) -> None:
    formula = Formula(event="Bought", aggregate="sum", property="item.price")
    assert values(formula, bought("1", value=text), bought("2", value=" 12.50 "), bought("3", value="-.5e1")) == 7.5


def test_a_filter_sees_who_says_so() -> None:
    life = [bought("1", source="shop", trust="client"), bought("2", source="crm"), bought("3", source="till")]
    for text, count in (('trust == "server"', 2), ('source == "till"', 1), ('source != "crm" || trust == "client"', 2)):
        assert values(Formula(event="Bought", aggregate="count", filter=text), *life) == count


def test_a_filter_sees_one_event_and_nothing_else() -> None:
    for text in ("now > timestamp('2026-01-01T00:00:00Z')", "computed.order_count > 1", "properties.x >"):
        with pytest.raises(RuleRefused) as refused:
            filter_rule(text)
        assert refused.value.details[0]["path"] == "filter"


def test_two_touchpoints_of_one_moment_and_id_are_ordered_by_source() -> None:
    formula = Formula(event="Bought", aggregate="last", property="item.price")
    life = [bought("1", value="of the app", source="app"), bought("1", value="of the web", source="web")]
    assert values(formula, *life) == values(formula, *reversed(life)) == "of the web"


def test_times_at_the_ends_of_the_calendar_count_without_an_error() -> None:
    zones = (ZoneInfo("America/New_York"), ISTANBUL)
    ends = [datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)]
    for zone in zones:
        store = Store(defined(Formula(event="Bought", aggregate="count", window_days=7), zone=zone))
        store.absorb(msgspec.structs.replace(bought("e", user="u"), time=at) for at in ends)
        (definition,) = store.defined.shown
        assert answer(definition, store.of(definition, "u"), NOW, zone).value == 1
        assert next_change(definition, store.of(definition, "u"), NOW, zone) is None


def test_what_is_older_than_the_first_window_is_never_kept() -> None:
    formula = Formula(event="Bought", aggregate="count", window_days=3)
    definition = Definition(id="t", revision=1, formula=formula, since=first_day(3, NOW, ISTANBUL))
    store = Store(Defined(zone=ISTANBUL, counted=(definition,), shown=(definition,)))
    store.absorb([bought("old", 7, user="u"), bought("edge", 8, user="v")])
    assert [key.value for key in store.states] == ["v"]


# --- samples ---------------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 30), max_size=60), st.randoms(use_true_random=False))
def test_a_sample_does_not_depend_on_the_pieces_it_was_taken_in(drawn: list[int], random: Random) -> None:
    size = 5
    hashes = [sketches.seen(each) or () for each in drawn]
    tallies: list[sketches.Tallies] = [{str(each): 1} for each in drawn]
    at_once = sketches.hashes(hashes, size), sketches.tallies(tallies, size)
    while len(hashes) > 1:
        some = random.sample(range(len(hashes)), min(len(hashes), random.randint(2, 4)))
        left = [number for number in range(len(hashes)) if number not in some]
        hashes = [*(hashes[each] for each in left), sketches.hashes([hashes[each] for each in some], size)]
        tallies = [*(tallies[each] for each in left), sketches.tallies([tallies[each] for each in some], size)]
    if drawn:
        assert (sketches.hashes(hashes, size), sketches.tallies(tallies, size)) == at_once
        count, exact = sketches.distinct([at_once[0]], size)
        assert exact == (len(set(drawn)) <= size)
        assert not exact or count == len(set(drawn))


def test_distinct_is_exact_up_to_its_limit_and_past_it_says_that_it_is_about() -> None:
    size = sketches.room(sketches.HASHES, None)
    for number, exact in ((size, True), (size + 1, False), (20_000, False)):
        cell = sketches.hashes([sketches.seen(f"page-{each}") or () for each in range(number)], size)
        estimate, said = sketches.distinct([cell], size)
        assert said is exact
        assert estimate == number if exact else estimate == pytest.approx(number, rel=0.1)  # three standard errors
        assert len(cell) <= size + 1


def test_distinct_over_a_window_is_as_good_as_its_fullest_day() -> None:
    size = sketches.room(sketches.HASHES, 30)
    days = [
        sketches.hashes([sketches.seen(each) or () for each in range(start, start + many)], size)
        for start, many in ((0, 60), (30, 60), (50, 5_000), (4_000, 3_000))
    ]
    assert sketches.distinct(days[:2], size) == (90, True)
    estimate, exact = sketches.distinct(days, size)
    assert estimate == pytest.approx(7_000, rel=0.3)
    assert not exact


def test_the_most_frequent_value_of_a_sample_was_counted_whole() -> None:
    """Values of which one of the days may have been forgotten are not compared."""
    size, random = 16, Random(7)
    whole = [Counter(f'"{random.randint(0, int(random.random() * 200))}"' for _ in range(1000)) for _ in range(5)]
    value, exact = sketches.most_frequent([sketches.tallies([day], size) for day in whole], size)
    assert not exact
    total = sum(whole, Counter())
    below = min(sorted(map(sketches._place, day))[size] for day in whole)
    sampled = {each: count for each, count in total.items() if sketches._place(each) < below}
    assert total[f'"{value}"'] == max(sampled.values())


def test_states_stay_small_whatever_happens() -> None:
    formulas = [
        Formula(event="Bought", aggregate=name, property="item.price", window_days=window)
        for name in ("distinct", "most_frequent", "last")
        for window in (None, 30, 366)
    ]
    store = Store(defined(*formulas))
    for start in range(0, 400, 40):
        store.absorb(
            bought(f"{day}-{each}", day, f"value {day * 7 + each}", user="u")
            for day in range(start, start + 40)
            for each in range(60)
        )
    assert max(map(len, store.states.values())) < 200_000
    assert len(decoded(store.defined.shown[7], store.states[Key("user_id", "u", "t7", 7)])) == 32


# --- in the view -----------------------------------------------------------------------------------------------------


def shown(formula: Formula, *life: Touchpoint, now: datetime, rules: dict[str, str] | None = None) -> Publication:
    store = Store(defined(formula))
    store.absorb(life)
    held = tuple((each, store.of(each, "u")) for each in store.defined.shown)
    everything: Known = known(*life, computed=Held(ISTANBUL, held))
    return published(everything, asked({name: rule(text) for name, text in (rules or {}).items()}), now)


def test_rules_and_views_see_it_beside_what_everybody_has() -> None:
    formula = Formula(event="Bought", aggregate="sum", property="item.price")
    told = shown(
        formula, bought("1", value=3, user="u"), now=NOW, rules={"in": "computed.t0 > 2.5 && computed.order_count == 0"}
    )
    assert told.view.computed == {
        "order_count": 0,
        "order_value": 0,
        "first_order_at": None,
        "last_order_at": None,
        "t0": 3.0,
    }
    assert [each.id for each in told.view.segments] == ["in"]


def test_what_is_not_known_is_null_in_the_view_and_unknown_to_rules() -> None:
    formula = Formula(event="Bought", aggregate="last", property="item.price")
    told = shown(formula, bought("1", user="u"), now=NOW, rules={"in": "computed.t0 != 'x'"})
    assert told.view.computed["t0"] is None
    assert (told.segments, told.unknown) == ((), 1)


def test_a_window_changes_at_midnight_of_the_account_and_not_before() -> None:
    formula = Formula(event="Bought", aggregate="count", window_days=3)
    life = [bought("1", user="u"), bought("2", 1, user="u")]
    now, seen = after(days=1), []
    soon = after(days=300)  # after that somebody who has been silent for a year changes
    while (told := shown(formula, *life, now=now)).due is not None and told.due < soon:
        before = shown(formula, *life, now=told.due - timedelta(milliseconds=1))
        seen.append((told.due.astimezone(ISTANBUL).isoformat(), told.view.computed["t0"], before.view.computed["t0"]))
        now = told.due
    assert seen == [("2026-03-04T00:00:00+03:00", 2, 2), ("2026-03-05T00:00:00+03:00", 1, 1)]
    assert told.view.computed["t0"] == 0
    all_time = Formula(event="Bought", aggregate="count")
    silent = shown(all_time, *life, now=now).due
    assert silent is not None
    assert silent > soon


# --- the way through history -----------------------------------------------------------------------------------------


def test_the_way_through_history_leaves_no_time_out_and_takes_none_twice() -> None:
    periods = [named(each) for each in ("2020_03", "before_1970", "2019", "2020_02", "2021_07")]
    fill, spans = Fill(), []
    while not fill.done:
        fill = fill.going_on(None, periods)
        assert fill.span is not None
        spans.append(fill.span)
        place = ("user_id", "u", after(), "m", "web")
        fill = fill.read(3, 1, place)
        assert fill.going_on(None, [*periods, named("2020_04")]).span == spans[-1], "a span stays as it is"
        fill = fill.read(1, 0, None)
    assert spans[0].start is None
    assert [each.end for each in spans[:-1]] == [each.start for each in spans[1:]]
    assert spans[-1] == Span(named("2021_07").end, None)
    assert {each.end for each in periods} <= {each.end for each in spans}
    assert (fill.looked, fill.counted, fill.share) == (4 * len(spans), len(spans), 1.0)


def test_it_may_begin_in_the_middle_of_a_period() -> None:
    assert span(after(), [named("2026_03")]) == Span(after(), named("2026_03").end)
    assert span(after(), [named("2026_02")]) == Span(after(), None)
    assert 0 < Fill(looked=50, expected=100).share < Fill(looked=500, expected=100).share < 1
