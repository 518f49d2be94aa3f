"""Who is in which group, and what is known of groups: by hand where a rule is at stake, else against a plain oracle."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from unittest.mock import patch

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.profile.domain import groups as groups_domain
from services.profile.domain.fragment import Fragment, fold, fragment
from services.profile.domain.graph import standings
from services.profile.domain.groups import KEPT, MOST, SHOWN, Group, described, fold_group, present
from services.profile.domain.identity import profile_id
from services.profile.domain.publication import Known, Publication, published
from services.profile.domain.segments import asked, rule
from services.profile.domain.traits import winners
from shared.events import InGroup, Touchpoint
from shared.identifiers import Identifier
from tests.builders import after, departed, joined
from tests.ingest.test_judgement import taken
from tests.profile import oracle
from tests.profile.lives import added, identify, stated


def told(*life: Touchpoint, rules: Mapping[str, str] | None = None) -> Publication:
    """What is published of the one person that `life` is of."""
    known = Known(
        profile_id=profile_id(Identifier("user_id", "u")),
        version=1,
        members=tuple(standings(stated(life)).values()),
        fragments=tuple(added(life).values()),
    )
    return published(known, asked({name: rule(text) for name, text in (rules or {}).items()}), after(days=1))


def groups(*life: Touchpoint) -> dict[str, datetime]:
    """The groups in that person's view, each with since when."""
    return {each.id: datetime.fromisoformat(each.since) for each in told(*life).view.groups}


def came(minutes: float, group: str = "acme", **rest: Any) -> Touchpoint:
    return joined(group, user="u", at=after(minutes), **rest)


def went(minutes: float, group: Any = "acme", **rest: Any) -> Touchpoint:
    return departed(group, user="u", at=after(minutes), **rest)


# --- who is in -------------------------------------------------------------------------------------------------------


def test_somebody_is_in_a_group_since_they_were_first_said_to_be() -> None:
    assert groups(came(5), came(1), came(9), came(3, "home")) == {"acme": after(1), "home": after(3)}


def test_whoever_left_is_out_and_who_came_back_is_in_since_then() -> None:
    assert groups(came(1), went(5)) == {}
    assert groups(went(5), came(1), came(2)) == {}
    assert groups(came(1), went(5), came(7), came(8)) == {"acme": after(7)}
    assert groups(came(1), went(5), came(7), went(9)) == {}
    assert groups(went(1)) == {}
    assert groups(went(1), came(2)) == {"acme": after(2)}


def test_a_leave_that_arrives_late_counts_from_when_it_happened() -> None:
    life = [came(1), came(5), came(9)]
    assert groups(*life, went(3)) == {"acme": after(5)}
    assert groups(*life, went(0)) == {"acme": after(1)}


def test_of_two_words_of_one_moment_the_later_id_counts_and_then_the_later_source() -> None:
    assert groups(came(1, id="a"), went(1, id="b")) == {}
    assert groups(came(1, id="b"), went(1, id="a")) == {"acme": after(1)}
    assert groups(came(1, id="a", source="app"), went(1, id="a", source="web")) == {}
    assert groups(came(1, id="a", source="web"), went(1, id="a", source="app")) == {"acme": after(1)}


def test_what_a_visitor_said_is_the_users_after_the_login() -> None:
    visitor = joined("acme", anonymous="a", at=after(1))
    login = identify("l", 2, user="u", anonymous="a")
    assert groups(visitor, login) == {"acme": after(1)}
    assert groups(visitor, login, went(3)) == {}, "it is one person who left"


def test_groups_are_shown_by_id() -> None:
    assert told(came(1, "b"), came(2, "a")).view.groups == (
        InGroup("a", "2026-03-01T10:02:00.000Z"),
        InGroup("b", "2026-03-01T10:01:00.000Z"),
    )


@pytest.mark.parametrize("group", ["null", "0000", " ", "x" * 513])
def test_what_names_nobody_or_is_too_long_is_no_group(group: str) -> None:
    life = [came(1, group), went(2, group), came(3)]
    assert groups(*life) == {"acme": after(3)}
    assert described(life).keys() == {"acme"}


@pytest.mark.parametrize("group", [None, True, {"id": "acme"}, 1.5, ["acme"]])
def test_who_left_something_that_is_no_id_left_nothing(group: Any) -> None:
    assert groups(came(1), went(2, group)) == {"acme": after(1)}


def test_a_number_is_an_id_too() -> None:
    assert groups(came(1, "17"), went(2, 17)) == {}


def test_only_a_group_call_joins_and_only_the_event_leaves() -> None:
    page = msgspec.structs.replace(came(2), data=msgspec.structs.replace(came(2).data, type="identify"))
    screen = msgspec.structs.replace(went(3), data=msgspec.structs.replace(went(3).data, type="screen"))
    assert groups(page) == {}
    assert groups(came(1), screen) == {"acme": after(1)}


def test_groups_that_were_left_take_nobody_s_place() -> None:
    left = [(came(number, f"x-a{number:03}"), went(100 + number, f"x-a{number:03}")) for number in range(2 * SHOWN)]
    life = [word for pair in left for word in pair]
    assert groups(*life, came(500, "xzzz")) == {"xzzz": after(500)}
    assert groups(came(500, "xzzz"), *reversed(life)) == {"xzzz": after(500)}


def test_of_more_groups_than_are_shown_the_first_by_id_are() -> None:
    life = [came(number, f"g-{number:03}") for number in range(SHOWN + 10)]
    assert list(groups(*life)) == [f"g-{number:03}" for number in range(SHOWN)]
    life += [went(500, "g-000"), went(500, "g-007")]
    assert list(groups(*life)) == [f"g-{number:03}" for number in range(1, SHOWN + 2) if number != 7]


def test_thousands_of_groups_are_bounded_whatever_comes_first() -> None:
    life = [came(number, f"g-{number:04}") for number in range(3 * MOST)]
    life += [went(5000 + number, f"g-{number:04}") for number in range(0, 3 * MOST, 10)]
    expected = [f"g-{number:04}" for number in range(MOST) if number % 10]
    for seed in range(3):
        Random(seed).shuffle(life)
        parts = [fold(fragment(each, UTC) for each in life[part::7]) for part in range(7)]
        folded = fold(parts)
        assert len(folded.groups) == MOST
        assert [each for each, stay in folded.groups.items() if stay.since] == expected
        assert [each.id for each in present(folded.groups)] == expected[:SHOWN]
        assert len(msgspec.json.encode(folded)) < 250_000


def test_however_often_it_is_said_it_stays_small() -> None:
    folded = fold(fragment(came(minutes), UTC) for minutes in range(500))
    assert len(msgspec.json.encode(folded)) < 1_500
    assert folded.groups["acme"].since == after(0)


# --- whom we believe -------------------------------------------------------------------------------------------------


def test_with_a_public_key_nobody_leaves_or_joins_a_group_that_a_server_has_spoken_of() -> None:
    assert groups(came(1), went(5, trust="client")) == {"acme": after(1)}
    assert groups(came(1), went(2), came(5, trust="client")) == {}
    assert groups(came(5, trust="client"), came(9)) == {"acme": after(9)}
    assert groups(came(1, trust="client"), went(5, trust="client"), came(7, trust="client")) == {"acme": after(7)}


def test_a_thousand_groups_of_a_client_push_out_none_that_a_server_has_named() -> None:
    flood = [came(number, f"!{number:04}", trust="client") for number in range(MOST + 200)]
    for life in ((came(0), *flood), (*flood, came(0))):
        folded = fold(fragment(each, UTC) for each in life)
        assert len(folded.groups) == MOST
        assert present(folded.groups)[-1] == InGroup("acme", "2026-03-01T10:00:00.000Z", "server")
        assert len(present(folded.groups)) == SHOWN


def test_a_client_replaces_no_trait_of_a_group_that_a_server_has_said() -> None:
    group = described(
        [
            joined("acme", user="u", at=after(1), properties={"plan": "free"}),
            joined("acme", user="x", at=after(9), properties={"plan": "pro", "seats": 4}, trust="client"),
        ]
    )["acme"]
    found = winners(group.traits, group.client_traits)
    assert {name: (winner.word.value, winner.trust) for name, winner in found.items()} == {
        "plan": ("free", "server"),
        "seats": (4, "client"),
    }


# --- rules -----------------------------------------------------------------------------------------------------------


def test_a_segment_may_ask_for_groups() -> None:
    rules = {"in": '"acme" in groups', "out": 'size(groups) == 0 || groups.all(id, id != "acme")'}
    assert [each.name for each in told(came(1), rules=rules).segments] == ["in"]
    assert [each.name for each in told(came(1), went(2), rules=rules).segments] == ["out"]
    assert told(came(1), went(2), rules=rules).unknown == 0


# --- the group itself ------------------------------------------------------------------------------------------------


def test_the_traits_of_a_group_are_the_last_words_of_everybody() -> None:
    life = [
        joined("acme", user="u", at=after(9), properties={"name": "Acme", "plan": None}),
        joined("acme", user="v", at=after(1), properties={"plan": "pro", "name": "ACME Inc."}),
        departed("acme", user="u", at=after(20)),
        joined("home", user="v", at=after(3), properties={"name": "Home"}),
    ]
    group = described(life)["acme"]
    assert {name: (word.value, word.at) for name, word in group.traits.items()} == {
        "name": ("Acme", after(9)),
        "plan": (None, after(9)),
    }
    assert group.first is not None
    assert group.last is not None
    assert (group.calls, group.first.at, group.last.at) == (2, after(1), after(9))


def test_what_the_context_says_of_the_person_is_not_the_groups() -> None:
    """Ingest leaves only that in a group call's `traits`."""
    call = joined("acme", user="u", traits={"email": "u@example.com"}, properties={"name": "Acme"})
    assert described([call])["acme"].traits.keys() == {"name"}
    assert fragment(call, UTC).traits == {}


def test_a_clients_group_call_is_read_as_ingest_passes_it_on() -> None:
    context = {"traits": {"email": "u@example.com"}}
    call = {"userId": "u", "groupId": 17, "traits": {"name": "Acme", "email": "office@acme.com"}, "context": context}
    touchpoint = taken({"type": "group", **call})
    group = described([touchpoint])["17"]
    assert {name: word.value for name, word in group.traits.items()} == call["traits"]
    left = taken({"type": "track", "event": "Group Left", "userId": "u", "properties": {"group_id": 17}})
    assert groups(touchpoint).keys() == {"17"}
    later = msgspec.structs.replace(left, time=touchpoint.at + timedelta(minutes=1))
    assert groups(touchpoint, later) == {}


# --- any order, any split --------------------------------------------------------------------------------------------

GROUPS = ("acme", "home", "club")


@st.composite
def lives(draw: st.DrawFn) -> list[Touchpoint]:
    """What several identifiers say of three groups, mostly of one; at few moments, so that they often tie."""
    life = []
    for number in range(draw(st.integers(1, 30))):
        group = draw(st.sampled_from((*GROUPS, "acme", "acme")))
        word: dict[str, Any] = {"user": draw(st.sampled_from("uvw")), "at": after(draw(st.integers(0, 20)))}
        word |= {"id": f"m-{draw(st.integers(0, 9))}", "source": f"s-{number}"}
        word |= {"trust": draw(st.sampled_from(("server", "server", "client")))}
        if draw(st.integers(0, 4)):
            life.append(joined(group, properties={"size": draw(st.integers(0, 3))}, **word))
        else:
            life.append(departed(group, **word))
    return life


@settings(max_examples=150, deadline=None)
@given(lives(), st.randoms(use_true_random=False), st.integers(1, 6))
def test_where_few_groups_fit_the_first_are_as_if_there_were_no_others(
    life: list[Touchpoint], random: Random, parts: int
) -> None:
    """What is left out, in any order and any split, changes nothing about what is kept and shown."""
    few = 2
    spoken = {id for each in life if each.data.trust == "server" for id in groups_domain.stated(each)}
    first = [*sorted(spoken), *sorted({id for each in life for id in groups_domain.stated(each)} - spoken)][:few]
    concerned = [each for each in life if groups_domain.stated(each).keys() & set(first)]
    with patch.object(groups_domain, "MOST", few), patch.object(groups_domain, "SHOWN", 1):
        random.shuffle(life)
        folded = _folded([fold(fragment(each, UTC) for each in life[part::parts]) for part in range(parts)], random)
        assert msgspec.json.encode(folded.groups) == msgspec.json.encode(fold(_parts(concerned)).groups)
        inside = sorted(oracle.groups(concerned, KEPT).items(), key=lambda each: (each[0] not in spoken, each[0]))
        assert [(each.id, datetime.fromisoformat(each.since)) for each in present(folded.groups)] == inside[:1]


def _parts(life: Iterable[Touchpoint]) -> list[Fragment]:
    return [fragment(each, UTC) for each in life]


@settings(max_examples=150, deadline=None)
@given(lives(), st.randoms(use_true_random=False), st.integers(1, 6))
def test_neither_order_nor_splits_show(life: list[Touchpoint], random: Random, parts: int) -> None:
    """However the words are shared out and folded, again and again, the same is said and the same is stored."""
    shuffled = list(life)
    random.shuffle(shuffled)
    shares = [fold(fragment(each, UTC) for each in shuffled[part::parts]) for part in range(parts)]
    folded = _folded(shares, random)
    whole = fold(fragment(each, UTC) for each in life)
    assert msgspec.json.encode(folded.groups) == msgspec.json.encode(whole.groups)
    assert {id: stay.since for id, stay in folded.groups.items() if stay.since} == oracle.groups(life, KEPT)
    assert msgspec.json.decode(msgspec.json.encode(folded), type=Fragment) == folded

    halves = [described(shuffled[part::parts]) for part in range(parts)]
    for group_id, group in described(life).items():
        again = fold_group(half[group_id] for half in halves if group_id in half)
        assert again == group
        assert msgspec.json.decode(msgspec.json.encode(group), type=Group) == group
        winner = winners(group.traits, group.client_traits)["size"]
        assert winner.word.value == _last(life, group_id).properties()["size"]


def _folded(shares: Iterable[Fragment], random: Random) -> Fragment:
    """Two at a time, any two."""
    left = list(shares)
    while len(left) > 1:
        random.shuffle(left)
        left.append(fold([left.pop(), left.pop()]))
    return left[0]


def _last(life: Iterable[Touchpoint], group: str) -> Touchpoint:
    calls = [each for each in life if each.data.group_id == group]
    return max(calls, key=lambda each: (each.data.trust == "server", each.at, each.id, each.source))
