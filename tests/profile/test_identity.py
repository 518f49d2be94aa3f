"""Who is who: the story cases by name, and everything else against the oracle."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.profile.domain.graph import Assignment, Limits, fold, resolve, root, standings
from services.profile.domain.identity import Statements, owned, profile_id, said
from shared.events import Touchpoint
from shared.identifiers import Identifier, normal
from tests.profile import oracle
from tests.profile.lives import LIMITS, alias, identify, lives, page, stated, touchpoint

ROOMY = Limits(by_kind={"anonymous_id": 1000}, others=5)


def assigned(*life: Touchpoint, limits: Limits = ROOMY) -> Assignment:
    return decided(stated(life), limits)


def decided(statements: Statements, limits: Limits) -> Assignment:
    return resolve(standings(statements), statements, limits)


def user(value: str) -> Identifier:
    return Identifier("user_id", value)


def visitor(value: str) -> Identifier:
    return Identifier("anonymous_id", value)


def email(value: str) -> Identifier:
    return Identifier("email", value)


def test_a_login_joins_the_visitor_with_the_user() -> None:
    who = assigned(page("1", anonymous="a"), identify("2", 1, user="u", anonymous="a"))
    assert who.names == {visitor("a"): user("u"), user("u"): user("u")}


def test_a_shared_tablet_does_not_merge_two_people() -> None:
    life = [identify("1", user="ayse", anonymous="tablet"), identify("2", 1, user="mert", anonymous="tablet")]
    who = assigned(*life)
    assert who.names[visitor("tablet")] == user("ayse")
    assert who.names[user("mert")] == user("mert")


def test_an_earlier_login_that_arrives_late_takes_the_device_over() -> None:
    late = identify("0", -5, user="mert", anonymous="tablet")
    assert assigned(identify("1", user="ayse", anonymous="tablet"), late).names[visitor("tablet")] == user("mert")


def test_alias_joins_two_users_under_the_first_seen() -> None:
    who = assigned(page("1", 5, user="old"), page("2", 1, user="new"), alias("3", 9, "old", "new"))
    assert who.names == {user("old"): user("new"), user("new"): user("new")}


def test_alias_of_a_visitor_belongs_to_the_user() -> None:
    who = assigned(page("1", anonymous="a"), alias("2", 1, "a", "u"))
    assert who.names == {visitor("a"): user("u"), user("u"): user("u")}


def test_an_id_that_was_never_seen_joins_nobody() -> None:
    """Two people aliased from one tablet: its id as a "previous user" must not join them."""
    who = assigned(alias("1", 0, "tablet", "ayse"), alias("2", 1, "tablet", "mert"))
    assert who.names == {user("ayse"): user("ayse"), user("mert"): user("mert")}


def test_chains_and_cycles_of_aliases_are_one_person() -> None:
    count = 1000
    life = [page(f"s{i:04}", i, user=f"u{i}") for i in range(count)]
    life += [alias(f"a{i:04}", count + i, f"u{i}", f"u{(i + 1) % count}") for i in range(count)]
    assert set(assigned(*life).names.values()) == {user("u0")}


def test_an_email_belongs_to_its_earliest_claimant_and_never_joins() -> None:
    life = [
        identify("1", user="ayse", traits={"email": "X@y.com "}),
        identify("2", 1, user="mert", traits={"email": "x@Y.com"}),
    ]
    who = assigned(*life)
    assert who.names[email("x@y.com")] == user("ayse")
    assert who.names[user("mert")] == user("mert")


def test_an_email_claimed_by_a_visitor_follows_them_home() -> None:
    life = [identify("1", anonymous="a", traits={"email": "x@y.com"}), identify("2", 1, user="u", anonymous="a")]
    assert assigned(*life).names[email("x@y.com")] == user("u")


def test_past_a_limit_the_earliest_claims_win() -> None:
    life = [identify(str(i), i, user="u", anonymous=f"a{i}", traits={"email": f"{i}@y.com"}) for i in range(4)]
    who = assigned(*life, limits=LIMITS)
    assert [who.names[visitor(f"a{i}")] for i in range(4)] == [user("u")] * 3 + [visitor("a3")]
    assert {identifier for identifier in who.names if identifier.kind == "email"} == {
        email("0@y.com"),
        email("1@y.com"),
    }
    assert who.over == {visitor("a3"), email("2@y.com"), email("3@y.com")}


@pytest.mark.parametrize(
    "value", ["null", " NULL ", "undefined", "0", "0000", "00000000-0000-0000-0000-000000000000", "-1", "111111", " "]
)
def test_blocked_values_link_nothing(value: str) -> None:
    life = [
        page("1", user=value, anonymous="a"),
        page("2", 1, user=value, anonymous="b"),
        page("3", user="u", anonymous=value),
    ]
    who = assigned(*life, identify("4", user="u", traits={"email": value}))
    assert who.names == {each: each for each in (visitor("a"), visitor("b"), user("u"))}


@pytest.mark.parametrize("value", ["7", "10", "1112", "u-0", "nullable", "0x1"])
def test_what_only_looks_like_a_blocked_value_is_a_name(value: str) -> None:
    assert assigned(identify("1", user=value, anonymous="a")).names[visitor("a")] == user(value)


def test_what_is_blocked_by_configuration_links_nothing_and_owns_what_it_owned() -> None:
    kiosk, desk = visitor("kiosk"), email("desk@y.com")
    limits = Limits(by_kind={}, others=5, blocked=frozenset({kiosk, desk}))
    life = [identify("1", user="u", anonymous="kiosk", traits={"email": "Desk@y.com"}), page("2", anonymous="kiosk")]
    heard = [owned(each, limits.blocked) for each in life]
    assert [each.owner for each in heard] == [each.owner for each in life], "that is what all services agree on"
    apart = {user("u"): user("u"), kiosk: kiosk}
    assert decided(said(heard), limits).names == apart
    assert decided(stated(life), limits).names == apart, "what was linked before it was blocked, decided anew"


def test_a_blocked_id_with_nothing_beside_it_keeps_its_own_profile() -> None:
    assert assigned(identify("1", user="11111", traits={"email": "x@y.com"})).names == {user("11111"): user("11111")}


def test_the_email_of_a_group_is_nobodys() -> None:
    assert not assigned(touchpoint("1", kind="group", user="u", traits={"email": "office@y.com"})).names.keys() - {
        user("u")
    }


def test_an_external_id_cannot_pose_as_a_user() -> None:
    life = touchpoint("1", user="u", external_ids=(user("victim"), Identifier("crm", "9")))
    assert assigned(life).names == {user("u"): user("u"), Identifier("crm", "9"): user("u")}


@pytest.mark.parametrize("value", ["-1", -1, 0, "+0000000", "+1111111111", "111-11 11", "(0)", "undefined", "+"])
def test_a_phone_that_is_nobodys_links_nothing(value: str | int) -> None:
    assert not assigned(identify("1", user="u", traits={"phone": value})).names.keys() - {user("u")}
    external = touchpoint("1", user="u", external_ids=(Identifier("phone", str(value)),))
    assert not assigned(external).names.keys() - {user("u")}


def test_phones_of_zeros_take_no_room() -> None:
    junk = [identify(str(number), number, user="u", traits={"phone": "+" + "0" * (5 + number)}) for number in range(5)]
    real = Identifier("phone", "+905321234567")
    assert assigned(*junk, identify("9", 9, user="u", traits={"phone": real.value})).names[real] == user("u")


def test_phones_are_compared_without_punctuation() -> None:
    assert normal(Identifier("phone", "+90 (532) 123-45.67")).value == "+905321234567"


def test_a_profile_id_never_changes() -> None:
    assert profile_id(user("u-17")) == "a30c877f-5eca-5ecc-9f41-530cf45bdc2b"


def test_the_root_is_stable_across_login() -> None:
    before = standings(stated([page("1", anonymous="a")]))
    after = standings(stated([page("1", anonymous="a"), identify("2", 1, user="u", anonymous="a")]))
    assert root(before.values()) == root(after.values()) == visitor("a")


@settings(max_examples=200, deadline=None)
@given(lives())
def test_it_is_what_the_oracle_says(life: list[Touchpoint]) -> None:
    expected = oracle.who_is_who(life, visitors=3, others=2)
    names = assigned(*life, limits=LIMITS).names
    assert {(id.kind, id.value): (name.kind, name.value) for id, name in names.items()} == expected


@settings(max_examples=100, deadline=None)
@given(lives(), st.randoms(use_true_random=False), st.integers(1, 5))
def test_neither_order_nor_duplicates_nor_batches_show(life: list[Touchpoint], random: object, parts: int) -> None:
    """The state is folded batch by batch, as the store does it, from shuffled touchpoints of which some come twice."""
    shuffled = [*life, *life[::2]]
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    folded = _folded([shuffled[part::parts] for part in range(parts)])
    assert folded == standings(stated(life))
    assert decided(stated(shuffled), LIMITS) == assigned(*life, limits=LIMITS)


def _folded(batches: Sequence[Sequence[Touchpoint]]) -> object:
    state: dict[Identifier, object] = {}
    for batch in batches:
        for identifier, standing in standings(stated(batch)).items():
            state[identifier] = fold(state[identifier], standing) if identifier in state else standing  # type: ignore[arg-type]
    return state
