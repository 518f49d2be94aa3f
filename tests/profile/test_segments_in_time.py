"""Segments and stages as time passes with nothing else happening; personas; and what a preview says."""

from __future__ import annotations

from datetime import datetime, timedelta
from random import Random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from services.profile.domain.counts import beginning, hour_of
from services.profile.domain.personas import PERSONAS
from services.profile.domain.preview import estimate, holds
from services.profile.domain.publication import Known, Publication, published
from services.profile.domain.segments import asked, rule, saved
from services.profile.domain.stages import STAGES
from shared.events import ShownScores, Touchpoint
from shared.rules import Rule, RuleRefused, require_foreseeable
from tests.builders import START, after
from tests.profile.lives import consent, identify, order, page, touchpoint
from tests.profile.test_publication import known

DAY = 24 * 60
HOUR = timedelta(hours=1)
TICK = timedelta(milliseconds=1)

RULES = {
    "quiet": 'computed.last_touchpoint_at < now - duration("30h")',
    "fresh": 'computed.last_order_at + duration("48h") >= now',
    "buyers": 'computed.order_count > 0 && now - timestamp(computed.first_order_at) <= duration("72h")',
    "mondays": "now.getDayOfWeek() == 1",
    "evenings": 'now.getHours("Europe/Istanbul") >= 20',
    "quiet-buyers": '"quiet" in segments && computed.last_order_at < now - duration("40h")',
    "onboard": 'stage == "onboard"',
    "plain": "traits.plan == 'pro'",
}


def told(of: Known, at: datetime, rules: dict[str, Rule] | None = None) -> Publication:
    return published(of, asked(rules if rules is not None else {name: rule(text) for name, text in RULES.items()}), at)


def standing(of: Known, at: datetime, rules: dict[str, Rule] | None = None) -> tuple[str, list[str]]:
    publication = told(of, at, rules)
    assert publication.stage is not None
    return publication.stage.name, [each.name for each in publication.segments]


happenings = st.builds(
    lambda kind, minutes, id: kind(f"m-{id}", minutes, user="u"),
    st.sampled_from((page, order, order, lambda id, at, **who: identify(id, at, traits={"plan": "pro"}, **who))),
    st.integers(0, 3 * DAY),
    st.integers(0, 10**6),
)
one_life = st.lists(happenings, min_size=1, max_size=5, unique_by=lambda each: each.id)


# --- who is due ------------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(one_life, st.integers(0, 3 * DAY), st.integers(0, 2**32))
@example([order("1", 0, 10, user="u")], 0, 1)
def test_nobody_changes_before_they_are_due(life: list[Touchpoint], minutes: int, seed: int) -> None:
    of, now = known(*life), after(minutes)
    due = told(of, now).due
    until = due or now + timedelta(days=400)
    before = standing(of, now)
    some = Random(seed)
    moments = [now + some.random() ** 3 * (until - now) for _ in range(12)] + [until - TICK, until - HOUR, now + TICK]
    for at in moments:
        if now <= at < until:
            assert standing(of, at) == before, f"changed at {at}, due {due}"


@settings(max_examples=20, deadline=None)
@given(one_life)
def test_whoever_looks_only_when_somebody_is_due_sees_every_change(life: list[Touchpoint]) -> None:
    """The oracle looks every hour, and just before and after each moment at which anything can turn."""
    rules = {name: rule(RULES[name]) for name in ("quiet", "fresh", "buyers", "quiet-buyers", "onboard")}
    of, now, until = known(*life), after(0), after(10 * DAY)
    seen = [(now, standing(of, now, rules))]
    while (due := told(of, now, rules).due) is not None and due < until:
        now = due
        seen.append((now, standing(of, now, rules)))

    for hours in range(10 * 24):
        at = after(hours * 60)
        assert standing(of, at, rules) == [each for moment, each in seen if moment <= at][-1]


@pytest.mark.parametrize(
    ("life", "now", "due"),
    [
        ([page("1", user="u")], after(0), after(365 * DAY)),  # a year of silence, where it would count
        ([order("1", user="u")], after(0), after(90 * DAY)),  # no longer new
        ([order("1", user="u")], after(100 * DAY), after(100 * DAY) + timedelta(hours=4380 - 2400)),  # to renew
        ([order("1", user="u")], after(400 * DAY), None),  # lapsed, and nothing is left to come
    ],
)
def test_the_stage_alone_makes_somebody_due(life: list[Touchpoint], now: datetime, due: datetime | None) -> None:
    assert told(known(*life), now, {}).due == due


def test_an_absorbed_profile_is_never_due() -> None:
    assert told(Known(profile_id="p", version=2, redirect="q"), after(0)).due is None


def test_what_was_saved_before_it_was_refused_goes_on() -> None:
    old = "now.getMinutes() >= 0 && computed.order_count > 0"
    with pytest.raises(RuleRefused, match="getHours"):
        rule(old)
    assert standing(known(order("1", user="u")), after(0), {"old": saved(old)}) == ("onboard", ["old"])


def test_every_stage_can_be_foreseen() -> None:
    for text in STAGES.values():
        require_foreseeable(saved(text))


# --- personas --------------------------------------------------------------------------------------------------------

THREE = [order(str(number), number, 100, user="u") for number in range(3)]
BROWSER = [page(str(number), number, user="u") for number in range(5)]

WHO = {
    "new-customers": ([order("1", user="u")], 29 * DAY, 31 * DAY),
    "champions": (THREE, 89 * DAY, 91 * DAY),
    "at-risk": (THREE, 91 * DAY, 89 * DAY),
    "lapsed-customers": (THREE, 366 * DAY, 364 * DAY),
    "browsing-not-buying": (BROWSER, 13 * DAY, 15 * DAY),
}


@pytest.mark.parametrize(("name", "life", "inside", "outside"), [(name, *rest) for name, rest in WHO.items()])
def test_a_persona_comes_or_goes_by_time(name: str, life: list[Touchpoint], inside: int, outside: int) -> None:
    rules = {name: rule(PERSONAS[name].rule)}
    assert standing(known(*life), after(inside), rules)[1] == [name]
    assert standing(known(*life), after(outside), rules)[1] == []


REFERRAL = touchpoint("9", 9, "Referral Made", user="u")
CHANNELS = [order(str(number), number, user="u", channel=channel) for number, channel in enumerate(("web", "app"))]


@pytest.mark.parametrize(
    ("name", "inside", "outside"),
    [
        ("big-spenders", [order("1", 0, 500, user="u")], [order("1", 0, 499.99, user="u")]),
        ("advocates", [order("1", user="u"), REFERRAL], [REFERRAL]),
        ("browsing-not-buying", BROWSER, [*BROWSER, order("o", 9, user="u")]),
        ("in-many-channels", [*CHANNELS, page("s", 9, user="u", channel="store")], CHANNELS),
        ("unreachable", [order("1", user="u")], [order("1", user="u"), consent("2", 1, True, user="u")]),
        (
            "unreachable",
            [order("1", user="u"), consent("2", 1, True, user="u"), consent("3", 2, False, user="u")],
            [page("1", user="u")],
        ),
    ],
)
def test_a_persona_is_who_it_says(name: str, inside: list[Touchpoint], outside: list[Touchpoint]) -> None:
    rules = {name: rule(PERSONAS[name].rule)}
    assert standing(known(*inside), after(DAY), rules)[1] == [name]
    assert standing(known(*outside), after(DAY), rules)[1] == []


def test_likely_churn_puts_a_loyal_customer_at_risk() -> None:
    rules = {"at-risk": rule(PERSONAS["at-risk"].rule)}
    assert standing(known(*THREE, scores=ShownScores(churn_risk=0.8)), after(DAY), rules)[1] == ["at-risk"]
    assert standing(known(*THREE, scores=ShownScores(churn_risk=0.2)), after(DAY), rules)[1] == []


def test_every_persona_has_been_tried() -> None:
    assert {*WHO, "big-spenders", "advocates", "in-many-channels", "unreachable"} == PERSONAS.keys()
    assert all(persona.why and persona.name for persona in PERSONAS.values())


# --- preview ---------------------------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(one_life, st.integers(0, 3 * DAY), st.sampled_from(sorted(RULES)))
def test_a_preview_says_what_the_publication_will(life: list[Touchpoint], minutes: int, name: str) -> None:
    of, at = known(*life), after(minutes)
    compiled = {each: rule(text) for each, text in RULES.items()}
    others = asked({each: rule for each, rule in compiled.items() if each != name})
    assert bool(holds(of, compiled[name], others, at)) == (name in standing(of, at)[1])


def test_who_was_absorbed_is_in_nothing() -> None:
    assert holds(Known(profile_id="p", version=2, redirect="q"), rule("true"), asked({}), START) is False


def test_a_rule_that_can_not_be_known_for_somebody_is_told() -> None:
    assert holds(known(identify("1", user="u")), rule("traits.age > 3"), asked({}), START) is None


@pytest.mark.parametrize(("held", "looked_at"), [(0, 5_000), (50, 5_000), (2_500, 5_000), (4_999, 5_000), (3, 20)])
def test_the_interval_is_wilson_s(held: int, looked_at: int) -> None:
    of = 10_000_000
    found, expected = estimate(held, looked_at, of), binomtest(held, looked_at).proportion_ci(0.95, method="wilson")
    assert found.low == pytest.approx(max(held, expected.low * of), abs=10)
    assert found.high == pytest.approx(min(of - (looked_at - held), expected.high * of), abs=10)


@given(st.integers(1, 5000), st.integers(0, 5000), st.integers(0, 10**6))
def test_an_estimate_never_contradicts_what_was_seen(looked_at: int, held: int, more: int) -> None:
    held, of = min(held, looked_at), looked_at + more
    found = estimate(held, looked_at, of)
    assert held <= found.low <= found.count <= found.high <= of - (looked_at - held)


def test_everybody_looked_at_leaves_no_doubt() -> None:
    found = estimate(7, 100, 100)
    assert (found.low, found.count, found.high) == (7, 7, 7)


def test_a_sample_without_anybody_does_not_say_nobody() -> None:
    assert estimate(0, 5000, 1_000_000).high > 500


@pytest.mark.parametrize("share", [0.02, 0.1, 0.5])
def test_the_interval_has_the_truth_as_often_as_it_says(share: float) -> None:
    some, of = Random(7), 100_000
    true = round(share * of)
    hits = 0
    for _ in range(400):
        found = estimate(sum(some.random() < share for _ in range(500)), 500, of)
        hits += found.low <= true <= found.high
    assert hits >= 0.92 * 400


# --- counts ----------------------------------------------------------------------------------------------------------


def test_hours_and_days_begin_in_utc() -> None:
    at = datetime.fromisoformat("2026-03-02T01:30:00+03:00")
    assert hour_of(at) == beginning(at, "hour") == datetime.fromisoformat("2026-03-01T22:00:00Z")
    assert beginning(at, "day") == datetime.fromisoformat("2026-03-01T00:00:00Z")
