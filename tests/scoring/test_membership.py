"""Who is who: the highest version wins, whatever order they are heard in, and echoes change nothing."""

from __future__ import annotations

from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from services.scoring.domain.membership import latest, relinked
from shared.events import Membership
from shared.identifiers import Identifier

AYSE = Identifier("user_id", "ayse")
TABLET = Identifier("anonymous_id", "tablet")
EMAIL = Identifier("email", "ayse@example.com")


def membership(version: int, *identifiers: Identifier, **rest: Any) -> Membership:
    return Membership(**{"profile_id": "p-1", "version": version, "identifiers": identifiers, **rest})


def heard(known: dict[str, Membership], *said: Membership) -> dict[str, Membership]:
    """What is known after one batch."""
    changes = relinked(known, latest(said))
    return known | {each.profile_id: each for each in changes.heard}


@settings(max_examples=60)
@given(
    st.lists(
        st.builds(
            Membership,
            profile_id=st.sampled_from(["p-1", "p-2"]),
            version=st.integers(1, 6),
            identifiers=st.just(()),
        ),
        max_size=8,
    ).map(
        # One version of a profile says one thing, however often it is said.
        lambda said: [
            membership(each.version, *[AYSE, TABLET, EMAIL][: each.version % 4], profile_id=each.profile_id)
            for each in said
        ]
    ),
    st.randoms(),
)
def test_the_order_of_hearing_never_shows(said: list[Membership], random: Random) -> None:
    expected = latest(said)
    shuffled = [*said, *said]
    random.shuffle(shuffled)
    known: dict[str, Membership] = {}
    for each in shuffled:
        known = heard(known, each)
    assert known == expected


def test_who_joined_and_who_left_and_whose_fragments_are_concerned() -> None:
    changes = relinked({"p-1": membership(3, AYSE, TABLET)}, {"p-1": membership(4, AYSE, EMAIL)})
    assert changes.joined == (("p-1", EMAIL),)
    assert changes.left == (("p-1", TABLET),)
    assert changes.changed == ("p-1",)
    assert changes.owners == []  # no touchpoint is kept under an email
    assert relinked({}, {"p-1": membership(1, AYSE, EMAIL)}).owners == [AYSE]


def test_an_older_version_is_not_heard() -> None:
    changes = relinked({"p-1": membership(3, AYSE)}, {"p-1": membership(2, TABLET)})
    assert (changes.heard, changes.joined, changes.left, changes.changed) == ((), (), (), ())


def test_the_same_again_is_remembered_but_scores_nobody_anew() -> None:
    changes = relinked({"p-1": membership(3, AYSE, TABLET)}, {"p-1": membership(4, TABLET, AYSE)})
    assert [each.version for each in changes.heard] == [4]
    assert changes.changed == ()


def test_being_absorbed_is_a_change() -> None:
    changes = relinked({"p-1": membership(3, AYSE)}, {"p-1": membership(4, redirect="p-2")})
    assert changes.left == (("p-1", AYSE),)
    assert changes.changed == ("p-1",)
