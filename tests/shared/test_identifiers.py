"""Naming people: what two services must agree on."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from shared.events import Call, Touchpoint
from shared.identifiers import Identifier, links_nothing, names_nobody, normal

NOW = datetime(2026, 3, 1, 10, tzinfo=UTC)


def owner(user_id: str | None, anonymous_id: str | None) -> str:
    call = Call(type="track", received_at=NOW, channel="web", user_id=user_id, anonymous_id=anonymous_id)
    return str(Touchpoint(id="m-1", source="web", time=NOW, data=call).owner)


def test_emails_and_phones_are_compared_in_one_form_and_ids_as_given() -> None:
    assert normal(Identifier("email", " Ayse@Example.com ")) == Identifier("email", "ayse@example.com")
    assert normal(Identifier("phone", "+90 (532) 123-45.67")) == Identifier("phone", "+905321234567")
    assert normal(Identifier("user_id", " U-1 ")) == Identifier("user_id", " U-1 ")


@pytest.mark.parametrize("value", ["", "  ", "null", "Undefined", "0", "0000-0000", "999999"])
def test_a_placeholder_names_nobody(value: str) -> None:
    assert names_nobody(value)


@pytest.mark.parametrize("value", ["ayse", "7", "10", "nullify", "2026"])
def test_an_id_names_somebody(value: str) -> None:
    assert not names_nobody(value)


@pytest.mark.parametrize(
    "value",
    ["-1", "null", "+", "+0", "+0000000", "+00 (000) 00-00", "1", "+1", "+1111111111", "111-111-1111", "+9/9/9", "N/A"],
)
def test_a_phone_of_one_digit_over_and_over_links_nothing(value: str) -> None:
    assert links_nothing(Identifier("phone", value))


@pytest.mark.parametrize("value", ["+905321234567", "112", "0 800 000 000", "+10000000000", "ext-7"])
def test_a_real_phone_links(value: str) -> None:
    assert not links_nothing(Identifier("phone", value))


@pytest.mark.parametrize("value", ["1-1", "+0", "+11", "7"])
def test_an_id_is_judged_as_it_is_because_it_says_whose_a_touchpoint_is(value: str) -> None:
    assert not links_nothing(Identifier("user_id", value))
    assert owner(value, "tablet") == f"user_id:{value}"


@pytest.mark.parametrize(
    ("user_id", "anonymous_id", "whose"),
    [
        ("ayse", "tablet", "user_id:ayse"),
        (None, "tablet", "anonymous_id:tablet"),
        ("null", "tablet", "anonymous_id:tablet"),
        ("null", None, "user_id:null"),
        ("null", "0000", "user_id:null"),
    ],
)
def test_a_touchpoint_is_the_users_unless_that_names_nobody(user_id: str, anonymous_id: str, whose: str) -> None:
    assert owner(user_id, anonymous_id) == whose
