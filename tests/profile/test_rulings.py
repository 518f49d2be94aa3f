"""Rulings: what a person merged and split; the story cases by name, and everything else against the oracle."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from services.profile.domain.graph import Assignment, Limits, resolve, standings
from services.profile.domain.rulings import Ruling, holding
from shared.events import Touchpoint
from shared.identifiers import Identifier
from tests.profile import oracle
from tests.profile.lives import CROWDED, LIMITS, alias, crowds, identify, lives, page, ruling, rulings, stated

ROOMY = Limits(by_kind={"anonymous_id": 1000}, others=5)


def decided(life: list[Touchpoint], ruled: list[Ruling], limits: Limits = ROOMY) -> Assignment:
    said = stated(life)
    return resolve(standings(said), said, limits, holding(ruled))


def whose(life: list[Touchpoint], *ruled: Ruling, limits: Limits = ROOMY) -> dict[str, str]:
    return {str(id): str(name) for id, name in decided(life, [*ruled], limits).names.items()}


# --- visitors --------------------------------------------------------------------------------------------------------

TABLET = [
    identify("1", 0, user="ayse", anonymous="tablet", traits={"email": "x@y.com"}),
    identify("2", 1, user="mert", anonymous="tablet"),
]


def split(one: str, other: str, minutes: float = 60, id: str = "r-1") -> Ruling:
    return ruling(id, minutes, "split", one, other)


def merge(one: str, other: str, minutes: float = 120, id: str = "r-2") -> Ruling:
    return ruling(id, minutes, "merge", one, other)


def test_a_device_that_is_taken_from_its_user_goes_to_the_next_who_used_it() -> None:
    assert whose(TABLET, split("anonymous_id:tablet", "user_id:ayse"))["anonymous_id:tablet"] == "user_id:mert"


def test_a_device_that_is_taken_from_all_of_its_users_stands_alone() -> None:
    ruled = (split("anonymous_id:tablet", "user_id:ayse"), split("user_id:mert", "anonymous_id:tablet", id="r-2"))
    assert whose(TABLET, *ruled)["anonymous_id:tablet"] == "anonymous_id:tablet"


def test_a_split_lasts_through_later_logins_and_a_merge_takes_it_back() -> None:
    apart = split("anonymous_id:a", "user_id:u")
    life = [identify(str(number), number * 100, user="u", anonymous="a") for number in range(3)]
    assert whose(life, apart)["anonymous_id:a"] == "anonymous_id:a"
    assert whose(life, apart, merge("anonymous_id:a", "user_id:u")) == whose(life)


def test_a_device_is_also_kept_from_the_other_names_of_that_person() -> None:
    life = [*TABLET, page("3", user="ayşe"), alias("4", 5, "ayse", "ayşe"), identify("5", user="ayşe", anonymous="b")]
    who = whose(life, split("anonymous_id:b", "user_id:ayse"))
    assert who["anonymous_id:b"] == "anonymous_id:b"


def test_a_merge_goes_before_every_claim_and_the_last_merge_before_the_others() -> None:
    life = [*TABLET, page("3", user="can")]
    to_can, to_mert = merge("anonymous_id:tablet", "user_id:can"), merge("user_id:mert", "anonymous_id:tablet", 130)
    assert whose(life, to_can)["anonymous_id:tablet"] == "user_id:can"
    assert whose(life, to_can, to_mert)["anonymous_id:tablet"] == "user_id:mert"


def test_merged_visitors_go_together_where_the_second_goes() -> None:
    life = [page("1", anonymous="a"), page("2", anonymous="b")]
    together = merge("anonymous_id:a", "anonymous_id:b")
    assert set(whose(life, together).values()) == {"anonymous_id:b"}
    life.append(identify("3", 9, user="u", anonymous="b"))
    assert set(whose(life, together).values()) == {"user_id:u"}


def test_merges_in_a_circle_are_one_person() -> None:
    life = [page(name, number, anonymous=name) for number, name in enumerate("abc")]
    circle = [merge(f"anonymous_id:{one}", f"anonymous_id:{two}", id=one) for one, two in ("ab", "bc", "ca")]
    assert set(whose(life, *circle).values()) == {"anonymous_id:a"}


def test_of_two_devices_of_one_user_the_first_named_leaves() -> None:
    life = [identify("1", 0, user="u", anonymous="a"), identify("2", 1, user="u", anonymous="b")]
    who = whose(life, split("anonymous_id:a", "anonymous_id:b"))
    assert (who["anonymous_id:a"], who["anonymous_id:b"]) == ("anonymous_id:a", "user_id:u")


def test_a_split_moves_nobody_else_into_the_place_that_is_free() -> None:
    """Three devices fit; the fourth waits as its own profile, and goes on to."""
    life = [identify(f"{number}", number, user="u", anonymous=f"a{number}") for number in range(1, 5)]
    who = whose(life, split("anonymous_id:a2", "user_id:u"), limits=LIMITS)
    assert [who[f"anonymous_id:a{number}"] for number in (1, 2, 3, 4)] == [
        "user_id:u",
        "anonymous_id:a2",
        "user_id:u",
        "anonymous_id:a4",
    ]


# --- addresses -------------------------------------------------------------------------------------------------------


def test_an_email_goes_to_its_next_claimant_or_to_nobody() -> None:
    life = [*TABLET, identify("3", 2, user="can", traits={"email": "x@y.com"})]
    first = split("email:x@y.com", "user_id:ayse")
    assert whose(life, first)["email:x@y.com"] == "user_id:can"
    assert "email:x@y.com" not in whose(life, first, split("email:x@y.com", "user_id:can", id="r-2"))
    assert whose(life, first, merge("email:x@y.com", "user_id:mert"))["email:x@y.com"] == "user_id:mert"


# --- users -----------------------------------------------------------------------------------------------------------

CHAIN = [
    *(page(f"s{number}", number, user=f"u{number}") for number in range(1, 6)),
    *(alias(f"l{number}", 10 + number, f"u{number}", f"u{number + 1}") for number in range(1, 5)),
]


def test_a_split_inside_a_chain_of_aliases_leaves_out_the_alias_that_would_close_it() -> None:
    who = decided(CHAIN, [split("user_id:u1", "user_id:u4")])
    names = {id.value: name.value for id, name in who.names.items()}
    assert names == {"u1": "u1", "u2": "u1", "u3": "u1", "u4": "u4", "u5": "u4"}
    assert [(edge.member.value, edge.owner.value, by.id) for edge, by in who.forbidden.items()] == [("u3", "u4", "r-1")]


def test_a_split_stands_in_the_way_of_a_merge_of_their_companions() -> None:
    ruled = [split("user_id:u1", "user_id:u2"), merge("user_id:u1", "user_id:u5")]
    who = decided(CHAIN, ruled)
    assert who.names[Identifier("user_id", "u1")] != who.names[Identifier("user_id", "u5")]
    assert who.forbidden[ruled[1].edge] == ruled[0]


def test_a_merge_joins_users_that_no_touchpoint_joins() -> None:
    life = [page("1", 5, user="old"), page("2", user="new")]
    assert set(whose(life, merge("user_id:old", "user_id:new")).values()) == {"user_id:new"}


def test_users_that_are_split_take_their_devices_with_them() -> None:
    life = [
        identify("1", 0, user="u", anonymous="a"),
        identify("2", 1, user="v", anonymous="b"),
        alias("3", 2, "u", "v"),
    ]
    who = whose(life, split("user_id:u", "user_id:v"))
    assert (who["anonymous_id:a"], who["anonymous_id:b"]) == ("user_id:u", "user_id:v")


# --- everything ------------------------------------------------------------------------------------------------------


@settings(max_examples=400, deadline=None)
@given(st.tuples(lives(), rulings()) | st.tuples(crowds(), rulings(8, CROWDED)))
def test_it_is_what_the_oracle_says(told: tuple[list[Touchpoint], list[Ruling]]) -> None:
    life, ruled = told
    expected = oracle.who_is_who(life, visitors=3, others=2, rulings=ruled)
    names = decided(life, ruled, LIMITS).names
    assert {(id.kind, id.value): (name.kind, name.value) for id, name in names.items()} == expected


@settings(max_examples=200, deadline=None)
@given(lives(), rulings())
def test_what_is_split_is_apart_and_what_is_merged_is_together_or_says_why_not(
    life: list[Touchpoint], ruled: list[Ruling]
) -> None:
    held, who = holding(ruled), decided(life, ruled, LIMITS)
    for one, others in held.splits.items():
        assert all(who.names.get(one, one) != who.names.get(other, other) for other in others)
    for each in held.merges:
        if each.member in who.names and each.owner in who.names:
            together = who.names[each.member] == who.names[each.owner]
            later = [other for other in held.merges if other.member == each.member and other.when > each.when]
            assert together or each.edge in who.forbidden or (each.member.kind != "user_id" and later)


@settings(max_examples=100, deadline=None)
@given(lives(), rulings(), st.randoms(use_true_random=False))
def test_the_order_in_which_it_was_said_never_shows(
    life: list[Touchpoint], ruled: list[Ruling], random: object
) -> None:
    shuffled, rulings = [*life, *life[::2]], [*ruled, *ruled[::2]]
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    random.shuffle(rulings)  # type: ignore[attr-defined]
    assert decided(shuffled, rulings, LIMITS) == decided(life, ruled, LIMITS)
