"""Who is likely there twice: on registers of which it is known, on families, on few people, and with no room."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest

from services.profile.domain.description import Description
from services.profile.service.matching.pool import Looked, pool
from shared.identifiers import Identifier
from tests.profile.registers import pairs, people, person, quality, register

LIKELY = 0.99


def look(descriptions: Sequence[Description], limit: int = 100_000, **rest: Any) -> Looked:
    with pool() as waiting:
        waiting.add(descriptions)
        return waiting.look(at_least=LIKELY, limit=limit, **rest)


@cache
def found_in(number: int) -> Looked:
    return look(people(number))


# --- registers of which it is known ----------------------------------------------------------------------------------


def test_febrl4() -> None:
    looked = look(people(4))
    precision, recall = quality(looked.found, register(4)[1])
    assert precision >= 0.999
    assert recall >= 0.99
    assert looked.complete
    assert (looked.described, looked.left_out, looked.chance, looked.agreement) == (10_000, (), True, True)


@pytest.mark.parametrize("number", [1, 3])
def test_registers_where_somebody_is_there_up_to_six_times(number: int) -> None:
    precision, recall = quality(found_in(number).found, register(number)[1])
    assert precision >= 0.999
    assert recall >= 0.985


@pytest.mark.parametrize(
    ("number", "without", "at_least"),
    [
        (1, ["soc_sec_id"], 0.93),
        (1, ["given_name", "surname"], 0.95),
    ],
)
def test_what_nobody_tells_costs_recall_and_no_precision(number: int, without: list[str], at_least: float) -> None:
    precision, recall = quality(look(people(number, without)).found, register(number)[1])
    assert precision >= 0.998
    assert recall >= at_least


def test_in_whatever_order_they_come_the_heaviest_come_first_and_a_limit_is_told() -> None:
    everybody = people(1)
    whole, some = found_in(1), look(Random(1).sample(everybody, len(everybody)), limit=100)
    assert some.found == whole.found[:100]
    assert (whole.complete, some.complete) == (True, False)
    weights = [each.weight for each in whole.found]
    assert weights == sorted(weights, reverse=True)


def test_the_reasons_add_up_to_the_weight() -> None:
    """But for one number that is the same for all: how rare duplicates are."""
    rarity = {round(each.weight - sum(reason.bits for reason in each.reasons), 1) for each in found_in(1).found}
    assert max(rarity) - min(rarity) <= 0.1 + 1e-9
    assert max(rarity) < 0


# --- what registers do not have --------------------------------------------------------------------------------------


def test_families_are_not_proposed() -> None:
    """Everybody of a register gets a sister: of one surname, address and phone, with a name and a birthday of hers."""
    originals = [each for each in people(4) if each.named.value.endswith("-org")]
    once, others = originals[:300], originals[-300:]
    phones = {each.named: f"02{number:08}" for number, each in enumerate(once)}
    once = [msgspec.structs.replace(each, phone=phones[each.named]) for each in once]
    sisters = [
        msgspec.structs.replace(
            each,
            named=Identifier("user_id", f"{each.named.value}-sister"),
            given_name=other.given_name,
            born=other.born,
            national_id=other.national_id,
        )
        for each, other in zip(once, others, strict=True)
    ]
    twice = [
        msgspec.structs.replace(each, named=Identifier("user_id", f"{each.named.value}-again"), house=None, city=None)
        for each in once[:100]
    ]
    found = pairs(look([*once, *sisters, *twice]).found)
    wrong = [pair for pair in found if len({name.removesuffix("-again") for name in pair}) == 2]
    assert len(found) - len(wrong) == 100
    assert len(wrong) <= 1


@cache
def found_among_odd_ones() -> Looked:
    """A register, a few of whom have an email; and one whose names have changed places."""
    told = [msgspec.structs.replace(each, email=f"{n}@example.com") for n, each in enumerate(people(1)[:12])]
    return look(
        [
            *told,
            *people(1)[12:],
            person("x", first_name="Zuzanna", last_name="Wisniewska", birthday="1980-03-04", zip="2913"),
            person("y", first_name="Wisniewska", last_name="Zuzanna", birthday="1980-04-03", zip="2913"),
        ]
    )


def test_names_that_changed_places_and_a_day_and_a_month_hide_nobody() -> None:
    found = found_among_odd_ones().found
    (mine,) = [each for each in found if {each.one.value, each.other.value} == {"x", "y"}]
    says = {reason.compared: reason.says for reason in mine.reasons}
    assert says["given_name"] == "has changed places with the surname"
    assert "surname" not in says, "it counts once"
    assert says["born"] == "is one slip away"


# --- few people, no room ---------------------------------------------------------------------------------------------


AYSE = {"first_name": "Ayşe", "last_name": "Yılmaz", "birthday": "1980-03-04", "email": "ayse@example.com"}


@pytest.mark.parametrize("count", [0, 1])
def test_of_nobody_and_of_one_nothing_is_proposed(count: int) -> None:
    assert look([person("a", **AYSE)][:count]) == Looked((), count, 0)


def test_few_people_are_too_few_to_learn_from_and_the_obvious_is_found_all_the_same() -> None:
    others = [person(f"o-{n}", first_name=f"{n} Mert", last_name="Yılmaz", email=f"m{n}@example.com") for n in range(3)]
    looked = look([person("a", **AYSE), person("b", **AYSE | {"first_name": "Ayse", "phone": "5321234567"}), *others])
    assert pairs(looked.found) == [frozenset("ab")]
    assert (looked.chance, looked.agreement) == (False, False)


def test_many_people_of_whom_hardly_one_is_there_twice_teach_what_is_chance_and_no_more() -> None:
    once = [each for each in people(4) if each.named.value.endswith("-org")][:1_000]
    again = msgspec.structs.replace(once[0], named=Identifier("user_id", "again"), postcode=None)
    looked = look([*once, again])
    assert pairs(looked.found) == [frozenset((once[0].named.value, "again"))]
    assert (looked.chance, looked.agreement) == (True, False)


def test_a_trait_that_a_few_have_is_not_taken_for_known() -> None:
    """Nothing is learned of it from so few: that their emails differ must not speak for them."""
    emails = [
        reason.bits
        for each in found_among_odd_ones().found
        for reason in each.reasons
        if (reason.compared, reason.says) == ("email", "is another")
    ]
    assert all(bits < 0 for bits in emails)


def test_a_rule_that_makes_too_many_pairs_is_left_out_and_told() -> None:
    looked = look(people(1), room=3_000)
    assert looked.compared <= 3_000
    assert "city" in looked.left_out
    assert quality(looked.found, register(1)[1])[1] > 0.9, "the narrow rules come first"


def test_a_value_that_everybody_shares_joins_nobody() -> None:
    shared: dict[str, Any] = {
        "email": "info@example.com",
        "phone": "0212345678",
        "birthday": "1900-01-01",
        "city": "Izmir",
    }
    everybody = [
        person(f"s-{n}", **shared, fullName=f"{chr(97 + n % 26) * 5} {chr(97 + n // 26) * 6}") for n in range(300)
    ]
    assert look(everybody).found == ()


def test_nothing_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pool() as waiting:
        waiting.add([person("a", **AYSE), person("b", **AYSE)])
        assert list(tmp_path.iterdir())
        waiting.look(at_least=LIKELY, limit=10)
    assert not list(tmp_path.iterdir())
