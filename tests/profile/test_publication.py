"""What is told about a profile: stages, segments, signals, and the same bytes for the same state."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from random import Random
from typing import Any

import msgspec
import pytest

from services.profile.domain.graph import standings
from services.profile.domain.identity import profile_id
from services.profile.domain.preview import holds
from services.profile.domain.publication import Entered, Known, Publication, published
from services.profile.domain.segments import asked, rule
from services.profile.domain.stages import STAGES
from shared.events import ShownScores, Touchpoint
from shared.identifiers import Identifier
from shared.rules import RuleRefused
from tests.builders import after
from tests.profile.lives import added, consent, identify, order, page, stated, touchpoint

USER = Identifier("user_id", "u")
NOW = after(60)
DAY = 24 * 60


def known(*life: Touchpoint, **more: Any) -> Known:
    return Known(
        profile_id=profile_id(USER),
        version=more.pop("version", 1),
        members=tuple(standings(stated(life)).values()),
        fragments=tuple(added(life).values()),
        **more,
    )


def told(of: Known, at: datetime = NOW, rules: Mapping[str, str] | None = None) -> Publication:
    return published(of, asked({name: rule(text) for name, text in (rules or {}).items()}), at)


def names(publication: Publication) -> list[tuple[str, Mapping[str, Any]]]:
    return [(signal.data.name, signal.data.attributes) for signal in publication.signals]


def test_a_segment_may_ask_who_says_so() -> None:
    life = [
        identify("1", user="u", source="crm", traits={"plan": "pro"}),
        identify("2", 5, user="u", source="page", trust="client", traits={"plan": "vip", "city": "Izmir"}),
        consent("3", 6, True, user="u", trust="client"),
    ]
    rules = {
        "told": 'provenance.traits.plan.trust == "server" && provenance.traits.plan.source == "crm"',
        "claimed": 'provenance.traits.city.trust == "client" && provenance.traits.city.at < now',
        "consented": 'consent.marketing["*"].trust == "client"',
        "unknown": 'provenance.traits.age.trust == "server"',
        "plain": 'traits.plan == "pro"',
    }
    publication = told(known(*life), rules=rules)
    assert [each.name for each in publication.segments] == ["claimed", "consented", "plain", "told"]
    assert publication.unknown == 1
    for name, text in rules.items():
        alone = told(known(*life), rules={name: text})
        assert [each.name for each in alone.segments] == [name][: name != "unknown"]
        assert holds(known(*life), rule(text), asked({}), NOW) is (None if name == "unknown" else True)


@pytest.mark.parametrize(
    ("life", "now", "stage"),
    [
        ([page("1", user="u")], after(0), "acquire"),
        ([order("1", user="u")], after(0), "onboard"),
        ([order("1", user="u")], after(100 * DAY), "maintain"),
        ([order("1", user="u"), order("2", 1, user="u")], after(2), "maintain"),
        ([order("1", user="u")], after(200 * DAY), "renew"),
        ([order("1", user="u"), touchpoint("2", 1, "Referral Made", user="u")], after(2), "advocate"),
        ([order("1", user="u"), touchpoint("2", 1, "Referral Made", user="u")], after(400 * DAY), "lapsed"),
        ([order("1", user="u"), page("2", 390 * DAY, user="u")], after(400 * DAY), "renew"),
    ],
)
def test_the_stage_of_a_relationship(life: list[Touchpoint], now: datetime, stage: str) -> None:
    publication = told(known(*life), now)
    assert publication.view.stage is not None
    assert publication.view.stage.name == stage


def test_churn_risk_makes_a_customer_one_to_renew() -> None:
    life = [order("1", user="u"), order("2", 1, user="u")]
    assert told(known(*life, scores=ShownScores(churn_risk=0.9))).stage == Entered("renew", NOW)
    assert told(known(*life, scores=ShownScores(churn_risk=0.1))).stage == Entered("maintain", NOW)


def test_every_stage_can_be_reached_by_its_rule() -> None:
    assert list(STAGES)[-1] == "acquire"
    assert STAGES["acquire"] == "true"


def test_entering_and_leaving_a_segment_is_signalled_once() -> None:
    life, rules = [order("1", total=200, user="u")], {"big": "computed.order_value > 100.0"}
    first = told(known(*life), rules=rules)
    assert ("segment_entered", {"segment": "big"}) in names(first)
    assert [each.id for each in first.view.segments] == ["big"]

    later = after(90)
    again = told(known(*life, version=2, segments=first.segments, stage=first.stage), later, rules)
    assert names(again) == []
    assert again.segments == first.segments, "since must stay"

    refunded = [*life, touchpoint("2", 2, "Order Refunded", properties={"total": 150}, user="u")]
    left = told(known(*refunded, version=3, segments=first.segments, stage=first.stage), later, rules)
    assert names(left) == [("segment_left", {"segment": "big"})]
    assert left.view.segments == ()


def test_a_stage_that_changes_is_signalled_with_where_from() -> None:
    first = told(known(page("1", user="u")))
    assert names(first) == [("stage_changed", {"from": None, "to": "acquire"})]
    bought = told(known(page("1", user="u"), order("2", 1, user="u"), version=2, stage=first.stage))
    assert names(bought) == [("stage_changed", {"from": "acquire", "to": "onboard"})]


def test_the_same_signal_has_the_same_id() -> None:
    life = known(page("1", user="u"))
    assert [each.id for each in told(life).signals] == [each.id for each in told(life, after(99)).signals]
    assert told(life).signals[0].id != told(known(page("1", user="u"), version=2)).signals[0].id


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ('traits.plan == "pro"', True),
        ("traits.missing == 1", False),
        ("computed.order_count >= 1 && computed.order_value > 5", True),
        ('computed.last_order_at < now - duration("1h")', False),
        ('computed.last_order_at < now - duration("30m")', True),
        ("scores.ltv > 100.0", True),
        ("scores.engagement > 1.0", False),
        ('consent.marketing["*"].granted', True),
        ('"web" in channels && channels.web == 3', True),
        ('stage == "onboard"', True),
        ('"pros" in segments', True),
        ('"asks" in segments', False),
    ],
)
def test_what_a_rule_sees(text: str, holds: bool) -> None:
    life = [identify("1", user="u", traits={"plan": "pro"}), order("2", user="u"), consent("3", 1, True, user="u")]
    of = known(*life, scores=ShownScores(ltv=240.0))
    rules = {"tested": text, "pros": 'traits.plan == "pro"', "asks": '"pros" in segments'}
    assert ("tested" in {each.name for each in told(of, rules=rules).segments}) is holds


def test_a_rule_that_cannot_be_known_is_counted_and_false() -> None:
    publication = told(known(page("1", user="u")), rules={"odd": "traits.missing > 1"})
    assert publication.unknown == 1
    assert publication.segments == ()


def test_a_rule_that_does_not_compile_is_refused_with_its_place() -> None:
    with pytest.raises(RuleRefused) as refused:
        rule("computed.order_count >")
    assert refused.value.details[0]["line"] == 1
    assert refused.value.details[0]["column"] > 1


def test_an_absorbed_profile_tells_who_absorbed_it_and_that_it_left_its_segments() -> None:
    absorbed_by = "0b6cf3a8-0000-5000-8000-000000000000"
    before = (Entered("big", NOW),)
    publication = told(Known(profile_id="p", version=4, redirect=absorbed_by, segments=before), rules={"big": "true"})
    assert publication.view.redirect == publication.membership.redirect == absorbed_by
    assert publication.membership.identifiers == ()
    assert names(publication) == [("segment_left", {"segment": "big", "absorbed_by": absorbed_by})]
    assert publication.segments == ()
    assert publication.stage is None


def test_an_absorbed_profile_that_was_in_no_segment_signals_nothing() -> None:
    assert told(Known(profile_id="p", version=4, redirect="q", stage=Entered("acquire", NOW))).signals == ()


def test_a_profile_that_nobody_is_in_any_more_leaves_its_segments_too() -> None:
    before = (Entered("big", NOW), Entered("all", NOW))
    gone = told(Known(profile_id="p", version=4, segments=before))
    assert names(gone) == [("segment_left", {"segment": "all"}), ("segment_left", {"segment": "big"})]


def test_the_same_state_is_the_same_bytes() -> None:
    life = [identify("1", user="u", anonymous="a", traits={"z": 1, "a": 2, "email": "x@y.com"})]
    life += [
        order("2", 1, user="u", channel="store"),
        page("3", 2, anonymous="a", channel="app"),
        consent("4", 3, True, user="u"),
    ]
    views = set()
    for seed in range(6):
        shuffled = [*life]
        Random(seed).shuffle(shuffled)
        views.add(msgspec.json.encode(told(known(*shuffled), rules={"b": "true", "a": "true"}).view))
    assert len(views) == 1


def test_time_alone_changes_what_is_told() -> None:
    life = known(order("1", user="u"))
    rules = {"quiet": 'computed.last_order_at < now - duration("720h")'}
    assert told(life, after(0), rules).segments == ()
    assert told(life, after(0) + timedelta(days=31), rules).segments != ()


def test_a_moment_that_depends_on_another_segment_is_foreseen() -> None:
    rules = {
        "all": "true",
        "asks": '("all" in segments ? traits.soon : traits.late) < now',
    }
    life = known(identify("1", user="u", traits={"soon": "2026-03-01T18:00:00Z", "late": "2026-03-01T19:00:00Z"}))
    first = told(life, after(0), rules)
    assert [each.name for each in first.segments] == ["all"]
    assert first.due == datetime.fromisoformat("2026-03-01T18:00:00Z")
