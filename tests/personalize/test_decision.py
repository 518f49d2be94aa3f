"""The decision: what comes out, and that its probabilities are what the record says."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.personalize.domain import features
from services.personalize.domain.customers import Exposure, person
from services.personalize.domain.draws import Noise
from services.personalize.domain.evidence import Counts
from services.personalize.domain.holdout import bucket, held_out
from services.personalize.domain.learner import Prior, posterior
from services.personalize.domain.offers import Offer
from services.personalize.service.chance import Pool
from services.personalize.service.register import Register
from shared.events import KnownIdentifier, ShownScores, Touchpoints, View
from shared.identifiers import Identifier
from tests.builders import START
from tests.personalize.questions import decided, offer, request

STRANGER = features.features(request(), None)


class Fixed:
    """Normal numbers that are always the same, uniform ones that are not: the draws are given, the choice is not."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.uniform = np.random.default_rng(seed)

    def random(self) -> float:
        return self.uniform.random()

    def standard_normal(self, size: int, dtype: type[np.float32]) -> Noise:
        return np.random.default_rng(self.seed).standard_normal(size, dtype=dtype)


def learned(**clicks: int) -> Register:
    """Offers shown 200 times each to strangers, and clicked so often; every second click was accepted."""
    register = Register()
    for offer_id, clicked in clicks.items():
        register.put(offer_id, STRANGER, Counts(200, clicked, clicked, clicked // 2))
    return register


TAUGHT = posterior(learned(tea=20, coffee=24, cocoa=8).evidence(), Prior(0.02), Prior(0.1))
OFFERS = (offer("tea"), offer("coffee"), offer("cocoa"))

# --- what comes out --------------------------------------------------------------------------------------------------


def test_every_offer_of_the_placement_is_in_the_record() -> None:
    others = (offer("elsewhere", placements=("cart",)), offer("later", channels=("email",)))
    choice = decided(*OFFERS, *others, learned=TAUGHT, asked=request(limit=2))
    assert [candidate.rank for candidate in choice.candidates] == [1, 2, 3, None]
    assert [candidate.gate for candidate in choice.candidates] == [None, None, None, "availability"]
    assert {candidate.offer_id for candidate in choice.candidates} == {"tea", "coffee", "cocoa", "later"}
    assert choice.offers == tuple(candidate.offer_id for candidate in choice.candidates[:2])
    assert (choice.features, choice.learner_version) == (STRANGER, features.VERSION)


def test_the_numbers_multiply_to_the_score() -> None:
    rich = offer("tea", value=30.0, lever=2.0, cost=1.5, kind="reward")
    asked = request(context={"weights": {"reward": 3.0}})
    choice = decided(rich, learned=TAUGHT, asked=asked, cost_price=0.1)
    numbers = choice.candidates[0].numbers
    assert numbers is not None
    assert numbers.score == pytest.approx(numbers.p_click * numbers.p_conversion * 30 * 2 * 3 - 0.15, abs=1e-6)
    assert numbers.p_click == pytest.approx(0.1, abs=0.02)
    assert numbers.p_conversion == pytest.approx(0.5, abs=0.12)


def test_value_outweighs_probability_where_it_should() -> None:
    wins = Counter(
        decided(offer("coffee"), offer("cocoa", value=100.0), learned=TAUGHT, chance=Fixed(seed)).offers[0]
        for seed in range(50)
    )
    assert wins["cocoa"] == 50


@pytest.mark.parametrize(
    ("offers", "rules", "silence"),
    [
        ((), {}, "no_offers"),
        ((offer("elsewhere", placements=("cart",)),), {}, "no_offers"),
        ((offer(channels=("email",)),), {}, "all_gated"),
        ((offer(value=1.0, cost=5.0),), {"cost_price": 1.0}, "not_worth_it"),
        ((offer(),), {"holdout": 1.0}, "holdout"),
        ((offer(),), {}, None),
    ],
)
def test_silence_has_a_reason(offers: tuple[Offer, ...], rules: dict[str, Any], silence: str | None) -> None:
    choice = decided(*offers, **rules)
    assert (choice.silence, bool(choice.offers)) == (silence, silence is None)


# --- probabilities ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("explore", [0.0, 0.3])
def test_an_offer_comes_first_as_often_as_its_propensity_says(explore: float) -> None:
    """Given the draws, over many choices. Chi-square with two degrees of freedom: 18.4 is passed once in 10,000."""
    chance, rounds = Fixed(5), 4_000
    firsts: Counter[str] = Counter()
    for _ in range(rounds):
        choice = decided(*OFFERS, learned=TAUGHT, chance=chance, explore=explore, draws=64)
        firsts[choice.offers[0]] += 1
    propensities = {each.offer_id: each.numbers.propensity for each in choice.candidates if each.numbers}
    assert sum(propensities.values()) == pytest.approx(1.0, abs=1e-6)
    assert min(propensities.values()) >= explore / 3 - 1e-9
    expected = {name: rounds * p for name, p in propensities.items() if p > 0}
    assert sum((firsts[name] - wanted) ** 2 / wanted for name, wanted in expected.items()) < 18.4
    assert set(firsts) <= set(expected)


def test_weighting_by_propensity_tells_what_another_policy_would_have_earned() -> None:
    """Always making one offer has a true value; estimated from decisions that mixed all, it must be within four
    standard errors, and the error must be small enough to mean something."""
    truth = {"tea": 0.3, "coffee": 0.5, "cocoa": 0.1}
    random, rounds = np.random.default_rng(11), 6_000
    chance = Pool(random, size=2**18)
    estimates: dict[str, list[float]] = {name: [] for name in truth}
    for _ in range(rounds):
        choice = decided(*OFFERS, learned=TAUGHT, chance=chance, explore=0.1, draws=32)
        first = choice.candidates[0]
        assert first.numbers is not None
        reward = float(random.random() < truth[first.offer_id])
        for name, each in estimates.items():
            each.append(reward / first.numbers.propensity if name == first.offer_id else 0.0)
    for name, each in estimates.items():
        error = np.std(each) / rounds**0.5
        assert abs(np.mean(each) - truth[name]) < 4 * error
        assert error < 0.05


def test_an_offer_that_is_known_better_is_explored_less() -> None:
    register = learned(tea=20)
    register.put("new", STRANGER, Counts(2, 0, 0, 0))
    taught = posterior(register.evidence(), Prior(0.1), Prior(0.1))
    choice = decided(offer("tea"), offer("new"), learned=taught, draws=2_000)
    numbers = {each.offer_id: each.numbers for each in choice.candidates}
    assert numbers["new"] is not None
    assert numbers["tea"] is not None
    assert numbers["new"].p_click < numbers["tea"].p_click
    assert 0.02 < numbers["new"].propensity < 0.5


def test_the_pool_gives_stretches_and_never_runs_dry() -> None:
    pool = Pool(np.random.default_rng(0), size=1_000)
    stretch = pool.standard_normal(size=1_000, dtype=np.float32)
    assert (stretch == pool.normal).all()
    assert len(pool.standard_normal(size=1_001, dtype=np.float32)) == 1_001


# --- the holdout -----------------------------------------------------------------------------------------------------


def test_the_holdout_follows_the_root_through_a_login() -> None:
    people = [f"a-{number}" for number in range(400)]
    before = [decided(offer(), asked=request(f"anonymous_id:{name}"), holdout=0.3) for name in people]
    after = [
        decided(
            offer(),
            asked=request(f"user_id:{name}"),
            view=View(profile_id=name, version=2, root=f"anonymous_id:{name}"),
            holdout=0.3,
        )
        for name in people
    ]
    assert [choice.holdout for choice in before] == [choice.holdout for choice in after]
    assert 80 < sum(choice.holdout for choice in before) < 160
    held = next(choice for choice in before if choice.holdout)
    assert (held.offers, held.silence, held.candidates[0].rank) == ((), "holdout", 1), "and what it would have been"


@given(st.text(min_size=1), st.text(min_size=1, max_size=64))
@settings(max_examples=50)
def test_a_bucket_is_between_nothing_and_one(root: str, salt: str) -> None:
    assert 0 <= bucket(root, salt) < 1
    assert not held_out(root, salt, 0.0)
    assert held_out(root, salt, 1.0)


def test_buckets_are_uniform_and_another_salt_draws_others() -> None:
    buckets = np.array([bucket(f"user_id:{number}", "one") for number in range(4_000)])
    counts = np.histogram(buckets, bins=10, range=(0, 1))[0]
    assert ((counts - 400) ** 2 / 400).sum() < 33.7, "chi-square with 9 degrees of freedom, once in 10,000"
    others = np.array([bucket(f"user_id:{number}", "two") for number in range(4_000)])
    assert abs(np.corrcoef(buckets, others)[0, 1]) < 0.07


# --- features, names -------------------------------------------------------------------------------------------------


def test_a_stranger_is_the_intercept_and_a_customer_is_more() -> None:
    assert (1.0, *[0.0] * (len(features.NAMES) - 1)) == STRANGER
    customer = View(
        profile_id="p-1",
        version=1,
        identifiers=(KnownIdentifier("user_id", "u-1", ""),),
        computed={"order_count": 1},
        touchpoints=Touchpoints(count=31),
        scores=ShownScores(engagement=61.2, ltv=240.1, churn_risk=0.12),
    )
    seen = features.features(request(channel="push", context={"device": {"type": "iOS"}}), customer)
    assert dict(zip(features.NAMES, seen, strict=True)) == {
        "intercept": 1, "known": 1, "returning": 1, "ordered": 0.5, "engagement": 0.5, "ltv": 0.5, "churn_risk": 0,
        "mobile": 1, "outbound": 1,
    }  # fmt: skip


@given(
    st.integers(0, 10**9),
    st.integers(0, 10**6),
    st.floats(0, 100) | st.none(),
    st.floats(-1e12, 1e18) | st.none(),
    st.floats(0, 1) | st.none(),
)
@settings(max_examples=100)
def test_features_are_quarters_between_nothing_and_one(
    touchpoints: int, orders: int, engagement: float | None, ltv: float | None, churn: float | None
) -> None:
    view = View(
        profile_id="p-1",
        version=1,
        computed={"order_count": orders},
        touchpoints=Touchpoints(count=touchpoints),
        scores=ShownScores(engagement=engagement, ltv=ltv, churn_risk=churn),
    )
    assert all(0 <= value <= 1 and (4 * value).is_integer() for value in features.features(request(), view))


@pytest.mark.parametrize(
    ("text", "identifier"),
    [
        ("user_id:u-17", Identifier("user_id", "u-17")),
        ("user_id:a:b", Identifier("user_id", "a:b")),
        ("email: A@Example.COM ", Identifier("email", "a@example.com")),
        ("phone:+90 (212) 555-1.2", Identifier("phone", "+9021255512")),
    ],
)
def test_a_person_is_named_as_profiles_name_them(text: str, identifier: Identifier) -> None:
    assert person(text) == identifier


@pytest.mark.parametrize("text", ["", "u-17", ":u-17", "user_id:"])
def test_a_name_without_kind_or_value_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="kind:value"):
        person(text)


def test_what_was_dismissed_is_left_out_and_the_rest_goes_on() -> None:
    dismissed = Exposure("tea", START, dismissed_at=START)
    choice = decided(*OFFERS, exposures=[Exposure("coffee", START), dismissed], learned=TAUGHT)
    assert "tea" not in choice.offers
    assert "coffee" in choice.offers
