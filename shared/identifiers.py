"""Ways to name a person, and when a value names nobody. Every service must agree on it: whose a touchpoint is
depends on it, and nothing that people could set differently from service to service.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Self

import msgspec

USER = "user_id"
ANONYMOUS = "anonymous_id"
EMAIL = "email"
PHONE = "phone"
PROFILE = "profile_id"


class Identifier(msgspec.Struct, frozen=True, order=True, cache_hash=True):
    """One way to name a person: a kind (`user_id`, `anonymous_id`, `email`, ...) and a value. Written `kind:value`."""

    kind: str
    value: str

    def __str__(self) -> str:
        return f"{self.kind}:{self.value}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """`user_id:u-17` as an identifier. Raises ValueError where there is no kind or no value."""
        kind, colon, value = text.partition(":")
        if not (colon and kind and value):
            raise ValueError(f"an identifier is written kind:value, such as user_id:u-17; got {text!r}")
        return cls(kind, value)


# --- values that name nobody -----------------------------------------------------------------------------------------

_WORDS = frozenset({"null", "undefined", "none", "nil", "nan", "n/a", "-1", "unknown", "anonymous", "[object object]"})
"""What programs write where they have no id."""

# Zeros, however they are set apart (0, 00-00, the UUID of zeros); or one digit over and over (11, 999999).
_PLACEHOLDER = re.compile(r"[\s0.:_-]*0[\s0.:_-]*|(\d)\1+")


@lru_cache(maxsize=16_384)  # the same people come again and again
def names_nobody(value: str) -> bool:
    """Whether `value` stands where an id is missing. It links nothing, or it would join everybody."""
    plain = value.strip().lower()
    return not plain or plain in _WORDS or _PLACEHOLDER.fullmatch(plain) is not None


@lru_cache(maxsize=16_384)
def links_nothing(identifier: Identifier) -> bool:
    """Whether `identifier` names nobody, as given or as it is compared.

    Of a phone only the digits tell: `+000` and `1-1` are no more of a number than `000` and `11`, and no number has a
    single digit. Ids, which say whose a touchpoint is, are judged as they are: `1-1` may be somebody's.
    """
    given, compared = identifier.value, normal(identifier).value
    if identifier.kind != PHONE:
        return names_nobody(given) or names_nobody(compared)
    dialled = _SET_APART.sub("", compared)
    return names_nobody(given) or names_nobody(dialled) or len(dialled) == 1


# --- normal forms ----------------------------------------------------------------------------------------------------

_PHONE_PUNCTUATION = re.compile(r"[\s().-]")
_SET_APART = re.compile(r"[\W_]")


def normal(identifier: Identifier) -> Identifier:
    """`identifier` as it is compared and shown: emails in lower case, phones without punctuation, others as given."""
    if identifier.kind == EMAIL:
        return Identifier(EMAIL, identifier.value.strip().lower())
    if identifier.kind == PHONE:
        return Identifier(PHONE, _PHONE_PUNCTUATION.sub("", identifier.value))
    return identifier
