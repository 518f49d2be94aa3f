"""Gates: who does not get an offer, and what they are told."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import pytest

from services.personalize.domain.customers import Exposure, Reliance, Request
from services.personalize.domain.offers import Cap, Offer
from shared.events import Consent, InGroup, InSegment, ShownScores, Stage, Touchpoints, Trait, Trust, View
from tests.builders import START, after
from tests.personalize.questions import decided, offer, request

EARLIER, LATER = "2026-02-01T00:00:00.000Z", "2026-02-02T00:00:00.000Z"


def gate(
    each: Offer,
    asked: Request | None = None,
    view: View | None = None,
    exposures: Iterable[Exposure] = (),
    reliance: Reliance = "current",
) -> tuple[str | None, str | None]:
    """The gate that the offer fails at `START`, and the reason."""
    candidate = decided(each, asked=asked, view=view, exposures=exposures, reliance=reliance).candidates[0]
    return candidate.gate, candidate.reason


def view(**fields: Any) -> View:
    return View(profile_id="p-1", version=1, **fields)


def consented(**channels: tuple[bool, str]) -> View:
    """What was said on marketing, by channel (`every` for all of them): granted or not, and when."""
    said = {channel.replace("every", "*"): Consent(granted, at, "m-1") for channel, (granted, at) in channels.items()}
    return view(consent={"marketing": said})


# --- availability ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"channels": ("email", "store")}, "not made in the channel web, only in email, store"),
        ({"valid_from": after(1)}, "not valid before 2026-03-01T10:01:00.000Z"),
        ({"valid_to": START}, "no longer valid since 2026-03-01T10:00:00.000Z"),
    ],
)
def test_an_offer_outside_its_channels_or_dates_is_not_available(fields: dict[str, Any], reason: str) -> None:
    assert gate(offer(**fields)) == ("availability", reason)


def test_an_offer_within_its_channels_and_dates_is_available() -> None:
    assert gate(offer(channels=("web",), valid_from=START, valid_to=after(1))) == (None, None)


# --- eligibility -----------------------------------------------------------------------------------------------------

BUYER = view(
    traits={"plan": Trait("pro", EARLIER, "web", "m-1")},
    computed={"order_count": 2, "order_value": 40.0, "last_order_at": "2026-02-20T00:00:00.000Z"},
    touchpoints=Touchpoints(count=9, channels={"web": 9}),
    segments=(InSegment("vip", EARLIER),),
    groups=(InGroup("acme", EARLIER),),
    stage=Stage("maintain", EARLIER),
    scores=ShownScores(engagement=50.0, churn_risk=0.2),
)


@pytest.mark.parametrize(
    "rule",
    [
        "computed.order_count >= 2 && computed.touchpoint_count == 9",
        'traits.plan == "pro"',
        '"vip" in segments && stage == "maintain"',
        '"acme" in groups && size(groups) == 1',
        "scores.churn_risk < 0.5",
        'channels.web > 3 && channel == "web" && placement == "home"',
        'context.page == "cart"',
        'now - duration("720h") < computed.last_order_at',
    ],
)
def test_a_rule_sees_the_customer_and_the_question(rule: str) -> None:
    asked = request(context={"page": "cart"})
    assert gate(offer(eligibility=rule), asked, BUYER) == (None, None)
    assert gate(offer(eligibility=f"!({rule})"), asked, BUYER) == (
        "eligibility",
        "its rule does not hold for this person",
    )


@pytest.mark.parametrize("rule", ["traits.plan == 'pro'", "scores.ltv > 1.0", "traits.plan > 3"])
def test_what_is_unknown_counts_as_no(rule: str) -> None:
    seen = view(traits={"plan": Trait("pro", EARLIER, "web", "m-1")}) if ">" in rule else None
    found, reason = gate(offer(eligibility=rule), view=seen)
    assert (found, "unknown" in (reason or "")) == ("eligibility", True)


def test_a_stranger_has_ordered_nothing_and_is_in_no_segment_and_no_group() -> None:
    rule = 'computed.order_count == 0 && size(segments) == 0 && size(groups) == 0 && stage == ""'
    assert gate(offer(eligibility=rule)) == (None, None)


# --- consent ---------------------------------------------------------------------------------------------------------

GRANTED, REFUSED = (True, EARLIER), (False, EARLIER)


@pytest.mark.parametrize(
    ("channel", "said", "passes"),
    [
        ("web", {}, True),
        ("web", {"web": REFUSED}, False),
        ("web", {"email": REFUSED}, True),
        ("web", {"every": REFUSED}, False),
        ("email", {}, False),
        ("email", {"email": GRANTED}, True),
        ("email", {"every": GRANTED}, True),
        ("email", {"web": GRANTED}, False),
        ("email", {"email": GRANTED, "every": (False, LATER)}, False),
        ("email", {"email": (True, LATER), "every": REFUSED}, True),
        ("sms", {"sms": REFUSED}, False),
    ],
)
def test_outbound_channels_need_a_grant_and_the_others_no_refusal(
    channel: str, said: dict[str, tuple[bool, str]], passes: bool
) -> None:
    found, _ = gate(offer(), request(channel=channel), consented(**said))
    assert found == (None if passes else "consent")


def test_consent_is_to_a_purpose_and_some_offers_need_none() -> None:
    refused = consented(every=REFUSED)
    assert gate(offer(purpose="service"), view=refused) == (None, None)
    assert gate(offer(purpose=None), request(channel="email"), refused) == (None, None)


@pytest.mark.parametrize(
    ("on_channel", "on_every", "refused"),
    [
        ((True, LATER, "client"), (False, EARLIER, "server"), True),
        ((False, EARLIER, "server"), (True, LATER, "client"), True),
        ((True, EARLIER, "server"), (False, LATER, "client"), True),
        ((False, EARLIER, "client"), (True, LATER, "server"), False),
        ((True, LATER, "client"), (False, EARLIER, "client"), False),
        ((True, LATER, "server"), (False, EARLIER, "server"), False),
    ],
)
def test_a_client_s_grant_overrides_no_refusal_of_a_server_on_another_channel(
    on_channel: tuple[bool, str, Trust], on_every: tuple[bool, str, Trust], refused: bool
) -> None:
    words = {
        channel: Consent(granted, at, "m-1", trust)
        for channel, (granted, at, trust) in (("email", on_channel), ("*", on_every))
    }
    found = gate(offer(purpose="marketing"), request(channel="email"), view(consent={"marketing": words}))
    assert found[0] == ("consent" if refused else None)


def test_an_offer_s_rule_may_ask_who_says_so() -> None:
    known = view(
        traits={"plan": Trait("pro", EARLIER, "crm", "m-1"), "city": Trait("Izmir", EARLIER, "page", "m-2", "client")}
    )
    for rule, failed in (
        ('provenance.traits.plan.trust == "server" && provenance.traits.plan.source == "crm"', None),
        ('provenance.traits.city.trust == "server"', "eligibility"),
        ('provenance.traits.age.trust == "server"', "eligibility"),
    ):
        assert gate(offer(eligibility=rule), view=known)[0] == failed
    assert gate(offer(eligibility="!has(provenance.traits.plan)"), view=None)[0] is None


# --- fatigue ---------------------------------------------------------------------------------------------------------


def shown(days_ago: float, *, id: str = "tea", **fields: Any) -> Exposure:
    return Exposure(id, START - timedelta(days=days_ago), **fields)


def test_a_dismissed_offer_rests_and_comes_back() -> None:
    def dismissed(days_ago: float) -> Exposure:
        return shown(days_ago, dismissed_at=START - timedelta(days=days_ago))

    found, reason = gate(offer(), exposures=[dismissed(29.9), dismissed(80)])
    assert (found, "dismissed at" in (reason or "")) == ("fatigue", True)
    assert gate(offer(), exposures=[dismissed(30)]) == (None, None)
    assert gate(offer("coffee"), exposures=[dismissed(1)]) == (None, None)


def test_an_accepted_offer_rests_for_its_own_time() -> None:
    taken = shown(11, accepted_at=START - timedelta(days=9))
    assert gate(offer(), exposures=[taken])[0] == "fatigue"
    assert gate(offer(), exposures=[shown(12, accepted_at=START - timedelta(days=10))]) == (None, None)


def test_every_cap_holds() -> None:
    capped = offer(caps=(Cap(2, 1), Cap(3, 7)))
    assert gate(capped, exposures=[shown(0.1), shown(2)]) == (None, None)
    assert gate(capped, exposures=[shown(0.1), shown(0.2)]) == (
        "fatigue", "shown 2 times since 2026-02-28T10:00:00.000Z, of 2 allowed",
    )  # fmt: skip
    assert gate(capped, exposures=[shown(1), shown(2), shown(6)])[0] == "fatigue"
    assert gate(capped, exposures=[shown(1), shown(2), shown(7)]) == (None, None)


def test_the_first_gate_that_fails_is_the_reason() -> None:
    refused = consented(every=REFUSED)
    assert gate(offer(channels=("email",), eligibility="false"), view=refused)[0] == "availability"
    assert gate(offer(eligibility="false"), view=refused)[0] == "eligibility"
    assert gate(offer(), view=refused, exposures=[shown(1, dismissed_at=START)])[0] == "consent"


# --- somebody who could not be looked up -----------------------------------------------------------------------------

CAPPED: dict[str, Any] = {"caps": (Cap(3, 7),)}
NO_PURPOSE: dict[str, Any] = {"purpose": None}
NOT_NOW: tuple[Reliance, ...] = ("recent", "unknown")


@pytest.mark.parametrize("reliance", NOT_NOW)
@pytest.mark.parametrize("channel", ["web", "email"])
@pytest.mark.parametrize("seen", [None, view(), consented(every=GRANTED), consented(every=REFUSED)])
def test_consent_counts_only_as_of_now(reliance: Reliance, channel: str, seen: View | None) -> None:
    found = gate(offer(), request(channel=channel), seen, reliance=reliance)
    assert found == ("consent", "unknown")


@pytest.mark.parametrize("reliance", NOT_NOW)
@pytest.mark.parametrize("exposures", [[], [shown(1)], [shown(1), shown(2), shown(3)]])
def test_caps_count_only_as_of_now(reliance: Reliance, exposures: list[Exposure]) -> None:
    found = gate(offer(**NO_PURPOSE, **CAPPED), exposures=exposures, reliance=reliance)
    assert found == ("fatigue", "unknown")


@pytest.mark.parametrize("reliance", NOT_NOW)
def test_an_offer_that_asks_for_nothing_of_the_person_still_comes(reliance: Reliance) -> None:
    rule = 'context.page == "cart" && channel == "web" && now > timestamp("2020-01-01T00:00:00Z")'
    asked = request(context={"page": "cart"})
    assert gate(offer(**NO_PURPOSE), reliance=reliance) == (None, None)
    assert gate(offer(**NO_PURPOSE, eligibility=rule), asked, reliance=reliance) == (None, None)


@pytest.mark.parametrize(
    "rule",
    ["computed.order_count == 0", '!("vip" in segments)', 'stage == ""', "size(groups) == 0", '!("plan" in traits)'],
)
def test_of_somebody_unknown_it_is_not_said_that_a_rule_holds(rule: str) -> None:
    each = offer(**NO_PURPOSE, eligibility=rule)
    assert gate(each) == (None, None), "of a stranger it holds"
    assert gate(each, view=view(), reliance="unknown") == ("eligibility", "unknown"), "that was long ago"
    assert gate(each, reliance="unknown") == ("eligibility", "unknown")
    assert gate(each, view=view(), reliance="recent") == (None, None), "that was a short while ago"


def test_a_rule_that_reads_consent_counts_only_as_of_now() -> None:
    each = offer(**NO_PURPOSE, eligibility="consent.marketing.web.granted")
    granted = consented(web=GRANTED)
    assert gate(each, view=granted) == (None, None)
    assert gate(each, view=granted, reliance="recent") == ("eligibility", "unknown")


@pytest.mark.parametrize("reliance", NOT_NOW)
def test_what_is_remembered_to_have_been_dismissed_still_rests(reliance: Reliance) -> None:
    found, reason = gate(offer(**NO_PURPOSE), exposures=[shown(1, dismissed_at=START)], reliance=reliance)
    assert (found, "dismissed at" in (reason or "")) == ("fatigue", True)


def test_where_every_offer_asks_for_something_unknown_nothing_is_said() -> None:
    choice = decided(offer("tea"), offer("coffee", **NO_PURPOSE, **CAPPED), reliance="unknown")
    assert (choice.offers, choice.silence) == ((), "all_gated")
