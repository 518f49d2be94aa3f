"""What another search makes of earlier proposals."""

from __future__ import annotations

from typing import Any

from services.profile.domain.identity import profile_id
from services.profile.domain.proposals import Found, Past, Revision, Status, revised
from shared.identifiers import Identifier

A, B, C = (Identifier("user_id", name) for name in "abc")
APART = {each: profile_id(each) for each in (A, B, C)}


def found(one: Identifier, other: Identifier, weight: float = 20.0) -> Found:
    return Found(one=one, other=other, weight=weight, probability=0.999, reasons=())


def past(one: Identifier, other: Identifier, status: Status) -> Past:
    return Past(found(one, other).id, one, other, status)


def revision(*all_found: Found, past: list[Past], **rest: Any) -> Revision:
    told: dict[str, Any] = {"splits": set(), "places": APART, "complete": True} | rest
    return revised(all_found, past, **told)


def test_what_is_found_for_the_first_time_is_proposed() -> None:
    after = revision(found(A, B), past=[])
    assert ([each.id for each in after.open], after.new, after.gone) == ([found(B, A).id], 1, ())


def test_what_is_found_again_is_the_same_proposal() -> None:
    after = revision(found(A, B, 31.0), past=[past(A, B, "open")])
    assert [(each.id, each.weight) for each in after.open] == [(found(A, B).id, 31.0)]
    assert (after.new, after.gone) == (0, ())


def test_what_was_decided_stays_decided() -> None:
    after = revision(found(A, B), found(A, C), past=[past(A, B, "refused"), past(A, C, "accepted")])
    assert (after.open, after.gone, after.decided) == ((), (), 2)


def test_a_refusal_holds_for_the_person_not_for_the_identifier_they_were_named_by() -> None:
    """C and B became one profile, named by C."""
    places = {**APART, B: profile_id(C)}
    assert revision(found(A, C), past=[past(A, B, "refused")], places=places).open == ()


def test_an_open_proposal_keeps_its_id_when_another_identifier_names_one_of_the_two() -> None:
    places = {**APART, B: profile_id(C)}
    after = revision(found(A, C), past=[past(A, B, "open")], places=places)
    assert [(each.one, each.other) for each in after.open] == [(A, B)]
    assert after.gone == ()


def test_two_who_are_one_profile_or_look_alike_no_more_are_gone() -> None:
    together = {**APART, B: profile_id(A)}
    assert revision(past=[past(A, B, "open")], places=together).gone == (found(A, B).id,)
    assert revision(found(A, B), past=[past(A, B, "open")], places=together).gone == (found(A, B).id,)
    assert revision(past=[past(A, B, "open")]).gone == (found(A, B).id,)


def test_of_a_search_that_was_cut_short_it_is_not_known_who_looks_alike_no_more() -> None:
    assert revision(past=[past(A, B, "open")], complete=False).gone == ()
    together = {**APART, B: profile_id(A)}
    assert revision(past=[past(A, B, "open")], complete=False, places=together).gone == (found(A, B).id,)


def test_what_is_gone_is_proposed_again_when_it_looks_alike_again() -> None:
    after = revision(found(A, B), past=[past(A, B, "gone")])
    assert ([each.id for each in after.open], after.new) == ([found(A, B).id], 1)


def test_who_was_ruled_apart_is_not_proposed() -> None:
    splits = {frozenset((profile_id(A), profile_id(B)))}
    after = revision(found(A, B), past=[past(A, B, "open")], splits=splits)
    assert (after.open, after.apart, after.gone) == ((), 1, (found(A, B).id,))


def test_who_was_merged_while_it_was_looked_is_not_proposed() -> None:
    assert revision(found(A, B), past=[], places={**APART, B: profile_id(A)}).open == ()
    assert revision(found(A, B), past=[], places={A: profile_id(A)}).open == ()
