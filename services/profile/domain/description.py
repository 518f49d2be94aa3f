"""How a profile describes its person, in a form that compares: the traits that name somebody, in one spelling.

Clients call the same trait by many names (`firstName`, `given_name`) and write one value in many ways (`04/03/1980`,
`1980-03-04`). Both are brought to one form here. Nothing is guessed: what can't be read as a date, a phone or an email
is left out, and what looks like a typo stays as it is, because how near two values are is for the comparison to say.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from services.profile.domain.identity import NAMED, profile_id
from shared.events import View
from shared.identifiers import Identifier, names_nobody


class Description(msgspec.Struct, frozen=True, kw_only=True):
    """Who somebody is said to be. `named` is the identifier that names the profile."""

    named: Identifier
    given_name: str | None = None
    surname: str | None = None
    born: str | None = None
    national_id: str | None = None
    email: str | None = None
    phone: str | None = None
    house: str | None = None
    street: str | None = None
    line2: str | None = None
    city: str | None = None
    postcode: str | None = None
    region: str | None = None
    country: str | None = None


COLUMNS = tuple(each for each in Description.__struct_fields__ if each != "named")
"""What of a description is compared."""

SPELLINGS: Mapping[str, tuple[str, ...]] = {
    "given_name": ("givenname", "firstname", "forename", "fname", "first"),
    "surname": ("surname", "lastname", "familyname", "lname", "last"),
    "name": ("name", "fullname", "displayname"),
    "born": ("birthday", "birthdate", "dateofbirth", "dob", "born"),
    "national_id": ("nationalid", "ssn", "socialsecuritynumber", "socialsecurityid", "socsecid", "nin"),
    "email": ("email", "emailaddress", "mail"),
    "phone": ("phone", "phonenumber", "mobile", "mobilephone", "mobilenumber", "telephone", "cellphone", "tel"),
    "house": ("streetnumber", "housenumber", "houseno"),
    "street": ("street", "streetaddress", "streetname", "address1", "addressline1", "line1", "address"),
    "line2": ("address2", "addressline2", "line2", "unit", "apartment"),
    "city": ("city", "town", "suburb", "locality"),
    "postcode": ("postcode", "postalcode", "zip", "zipcode"),
    "region": ("state", "region", "province", "county"),
    "country": ("country", "countrycode", "countryname"),
}
"""What clients call each trait, without case and punctuation; where somebody has several, the first one counts."""

ADDRESSES = ("address", "homeaddress", "postaladdress", "billingaddress")
"""Traits that hold an address as an object; or, with a dot, one part of it."""


def described(view: View) -> Description | None:
    """What `view` says of its person; None where it says nothing that compares, or was absorbed."""
    named = _named(view)
    if named is None:
        return None
    said = {
        **{_plain_key(each.kind): each.value for each in reversed(view.identifiers) if each.kind not in NAMED},
        **dict(_flat({name: trait.value for name, trait in view.traits.items()})),
    }
    values = {column: read(_said(said, column)) for column, read in READERS.items()}
    given, surname = _names(values["given_name"], values["surname"], _said(said, "name"))
    house, street = _house(values["house"], values["street"])
    values |= {"given_name": given, "surname": surname, "house": house, "street": street}
    if not any(values.values()):
        return None
    return Description(named=named, **values)


def _named(view: View) -> Identifier | None:
    """The identifier that the profile's id follows from."""
    own = (Identifier(each.kind, each.value) for each in view.identifiers if each.kind in NAMED)
    return next((each for each in own if profile_id(each) == view.profile_id), None)


# --- names of traits -------------------------------------------------------------------------------------------------


def _plain_key(name: str) -> str:
    return "".join(character for character in name.casefold() if character.isalnum())


def _flat(traits: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Traits by their plain names. Those of an address go by their own; what stands outside of it goes before."""
    for name, value in traits.items():
        if _plain_key(name) in ADDRESSES and isinstance(value, Mapping):
            yield from ((_plain_key(part), inner) for part, inner in value.items())
    for name, value in traits.items():
        outer, dot, part = name.partition(".")
        yield _plain_key(part if dot and _plain_key(outer) in ADDRESSES else name), value


def _said(said: Mapping[str, Any], column: str) -> Any:
    return next((said[name] for name in SPELLINGS[column] if said.get(name) not in (None, "")), None)


# --- values ----------------------------------------------------------------------------------------------------------

# Letters that are no letter with an accent, so that Unicode takes nothing off them.
_LETTERS = str.maketrans({"ı": "i", "ø": "o", "ł": "l", "đ": "d", "æ": "ae", "œ": "oe", "þ": "th", "ð": "d"})


def plain(value: Any) -> str | None:
    """Text without case, accents and punctuation, its words one space apart; None for what says nothing."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    bare = unicodedata.normalize("NFKD", str(value).casefold())
    letters = "".join(each for each in bare if not unicodedata.combining(each)).translate(_LETTERS)
    words = "".join(each if each.isalnum() else " " for each in letters.replace("'", "")).split()
    text = " ".join(words)
    # Digits may be a house or a postcode here, 11 or 2222, as well as a placeholder.
    return text if text.isdigit() or not (names_nobody(text) or names_nobody(str(value))) else None


def joined(value: Any) -> str | None:
    """As `plain`, without spaces: codes, which people set apart as they like."""
    text = plain(value)
    return text and text.replace(" ", "")


def unique(value: Any) -> str | None:
    """A code that is one person's: zeros, and one digit over and over, stand where nobody knew it."""
    text = joined(value)
    return None if text is None or names_nobody(text) else text


def email(value: Any) -> str | None:
    """In lower case; None where it is no address."""
    text = value.strip().casefold() if isinstance(value, str) else ""
    local, at, domain = text.rpartition("@")
    return text if at and local and domain and not any(map(str.isspace, text)) else None


def phone(value: Any) -> str | None:
    """Its digits, without what is dialled before a country; None for what is too short to be one."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    digits = re.sub(r"\D", "", str(value)).removeprefix("00")
    return None if len(digits) < 6 or names_nobody(digits) else digits


_YEAR_FIRST = re.compile(r"(\d{4})[-/. ](\d{1,2})[-/. ](\d{1,2})(?:[T ].*)?")
_YEAR_LAST = re.compile(r"(\d{1,2})[-/. ](\d{1,2})[-/. ](\d{4})")
_DIGITS = re.compile(r"(\d{4})(\d\d)(\d\d)")


def date(value: Any) -> str | None:
    """A date as YYYY-MM-DD, or what was meant as one: a month 13 is a typo, and still says most of a date.

    Where the year is last the day is taken to be first, unless it could be none: most of the world writes so.
    """
    text = str(value).strip() if isinstance(value, str | int) and not isinstance(value, bool) else ""
    if found := _YEAR_FIRST.fullmatch(text) or _DIGITS.fullmatch(text):
        year, month, day = found.groups()
    elif found := _YEAR_LAST.fullmatch(text):
        day, month, year = found.groups()
        if int(month) > 12 >= int(day):
            day, month = month, day
    else:
        return None
    return None if int(year) == 0 else f"{year}-{month:0>2}-{day:0>2}"


def _names(given: str | None, surname: str | None, whole: Any) -> tuple[str | None, str | None]:
    """Given name and surname; from the whole name where neither is told: the first word, or what a comma parts."""
    if given or surname or not isinstance(whole, str):
        return given, surname
    last, comma, first = whole.partition(",")
    if comma:
        return plain(first), plain(last)
    words = (plain(whole) or "").split()
    return (words[0] if words else None), (words[-1] if len(words) > 1 else None)


_NUMBER_FIRST = re.compile(r"(\d+[a-z]?) (.+)")
_NUMBER_LAST = re.compile(r"(.*[^\d ].*) (\d+[a-z]?)")


def _house(house: str | None, street: str | None) -> tuple[str | None, str | None]:
    """The number of the house and the street by itself; the number stands before or after it, or is told apart."""
    if house or not street:
        return house, street
    if found := _NUMBER_FIRST.fullmatch(street):
        return found[1], found[2]
    if found := _NUMBER_LAST.fullmatch(street):
        return found[2], found[1]
    return None, street


READERS = {
    "given_name": plain,
    "surname": plain,
    "born": date,
    "national_id": unique,
    "email": email,
    "phone": phone,
    "house": joined,
    "street": plain,
    "line2": plain,
    "city": plain,
    "postcode": joined,
    "region": plain,
    "country": plain,
}
"""How each is read."""
