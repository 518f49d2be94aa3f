"""What a profile says of its person, whichever way clients say it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.profile.domain.description import COLUMNS, SPELLINGS, Description, described, plain
from services.profile.domain.identity import profile_id
from shared.events import KnownIdentifier, Trait, View
from shared.identifiers import Identifier

AYSE = Identifier("user_id", "ayse")


def view(traits: dict[str, Any], *others: Identifier) -> View:
    known = (*others, AYSE)
    return View(
        profile_id=profile_id(AYSE),
        version=1,
        identifiers=tuple(KnownIdentifier(each.kind, each.value, "") for each in known),
        traits={name: Trait(value, "", "web", "m-1") for name, value in traits.items()},
    )


def told(traits: dict[str, Any], *others: Identifier) -> dict[str, str]:
    found = described(view(traits, *others))
    return {} if found is None else {column: text for column in COLUMNS if (text := getattr(found, column)) is not None}


SEGMENTS = {
    "firstName": "Ayşe",
    "lastName": "O'Neill-Yılmaz",
    "email": " Ayse@Example.com",
    "phone": "+90 (532) 123 45 67",
    "birthday": "1980-03-04T00:00:00Z",
    "address": {"street": "12B Çiçek Sok.", "city": "İzmir", "state": "Ege", "postalCode": "35 000", "country": "TR"},
}
SNAKES = {
    "given_name": "AYSE",
    "surname": "oneill yilmaz",
    "email_address": "ayse@example.com",
    "mobile": 905321234567,
    "date_of_birth": 19800304,
    "street_number": "12 b",
    "address.street": "cicek sok",
    "town": "Izmir",
    "province": "ege",
    "zip": "35000",
    "country_code": "tr",
}


def test_one_person_is_described_alike_whatever_the_traits_are_called_and_however_they_are_written() -> None:
    expected = {
        "given_name": "ayse",
        "surname": "oneill yilmaz",
        "email": "ayse@example.com",
        "phone": "905321234567",
        "born": "1980-03-04",
        "house": "12b",
        "street": "cicek sok",
        "city": "izmir",
        "region": "ege",
        "postcode": "35000",
        "country": "tr",
    }
    assert told(SEGMENTS) == told(SNAKES) == expected


@pytest.mark.parametrize(
    ("name", "names"),
    [
        ("Ayşe Nur Yılmaz", {"given_name": "ayse", "surname": "yilmaz"}),
        ("Yılmaz, Ayşe Nur", {"given_name": "ayse nur", "surname": "yilmaz"}),
        ("Ayşe", {"given_name": "ayse"}),
        ("unknown", {}),
        (17, {}),
    ],
)
def test_a_whole_name_is_taken_apart(name: Any, names: dict[str, str]) -> None:
    assert told({"name": name}) == names


@pytest.mark.parametrize(
    ("written", "date"),
    [
        ("04/03/1980", "1980-03-04"),
        ("4.3.1980", "1980-03-04"),
        ("04/23/1980", "1980-04-23"),
        ("1980/3/4", "1980-03-04"),
        ("19801345", "1980-13-45"),  # a typo in it, and still most of a date
        ("0000-00-00", None),
        ("soon", None),
        (True, None),
        ({"year": 1980}, None),
    ],
)
def test_dates_come_in_many_forms(written: Any, date: str | None) -> None:
    assert told({"dob": written}) == ({"born": date} if date else {})


@pytest.mark.parametrize(
    ("traits", "column", "text"),
    [
        ({"address": "8 Stanley Street"}, "house", "8"),
        ({"address": "Hauptstraße 8a"}, "house", "8a"),
        ({"address": "Hauptstraße 8a"}, "street", "hauptstrasse"),
        ({"postcode": "2222"}, "postcode", "2222"),  # no placeholder there
        ({"ssn": "000-00-0000"}, "ssn", None),
        ({"phone": "999999"}, "phone", None),
        ({"email": "nobody"}, "email", None),
        ({"first_name": "N/A", "last_name": "null"}, "surname", None),
    ],
)
def test_values_are_read_for_what_they_are(traits: dict[str, Any], column: str, text: str | None) -> None:
    assert told(traits).get(column) == text


def test_what_is_known_as_an_identifier_is_told_too_but_a_trait_goes_before() -> None:
    email = Identifier("email", "old@example.com")
    assert told({}, email) == {"email": "old@example.com"}
    assert told({"email": "new@example.com"}, email) == {"email": "new@example.com"}


def test_who_says_nothing_or_was_absorbed_has_no_description() -> None:
    assert described(view({"plan": "pro"})) is None
    assert described(View(profile_id=profile_id(AYSE), version=2, redirect="another")) is None


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
NAMES = st.sampled_from([name for names in SPELLINGS.values() for name in names] + ["address.city", "x"])


@settings(max_examples=100)
@given(st.dictionaries(NAMES, JUNK, max_size=8))
def test_whatever_clients_send_is_read_or_left_out(traits: dict[str, Any]) -> None:
    found = described(view(traits))
    assert found is None or isinstance(found, Description)
    assert all(text.strip() == text and text for text in told(traits).values())


@settings(max_examples=50)
@given(st.text(max_size=30))
def test_reading_twice_is_reading_once(text: str) -> None:
    once = plain(text)
    assert once is None or plain(once) == once
