"""Secrets of the settings: which are too weak to start with.

Whoever can guess a secret has all that it opens, and nobody sees them guess user tokens and signatures: that is done
at home. So what is short, regular, or stands in an example is refused at the start, with a word on how to make one.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Final

SHORTEST: Final = 32
"""Characters. HS256 wants as many bytes as its hash has (RFC 7518, 3.2); `secrets.token_urlsafe(32)` gives 43."""

SHORTEST_PUBLIC: Final = 16
"""Characters of a key that is public anyway. Those of other platforms, brought along, have 27 and 32."""

FEWEST_DIFFERENT: Final = 8
"""Characters that differ. 32 random hexadecimal digits have fewer once in a million."""

MAKE_ONE: Final = 'make one: python -c "import secrets; print(secrets.token_urlsafe(32))"'

EXAMPLE_WORDS: Final = (
    "changeme", "change-me", "change_me", "replaceme", "replace-me", "replace_me", "placeholder", "password",
    "passw0rd", "passphrase", "secret", "example", "sample", "default", "insecure", "development", "production",
    "testing", "letmein", "qwerty", "signing", "company", "at-least", "256-bit", "string", "token",
)  # fmt: skip
"""Words that examples are made of, ours (README, docs) and others' (jwt.io). They count for nothing."""


def weakness(text: str, shortest: int = SHORTEST) -> str | None:
    """Say what is wrong with `text` as a secret; None where it will do."""
    if text != text.strip():
        return "begins or ends with white space, which no client sends: take it away"
    if len(text) < shortest:
        return f"has {len(text)} characters, and needs {shortest}"
    left = _without_example_words(text)
    if len(left) < shortest:
        return "is made of words that stand in examples"
    if len(set(left)) < FEWEST_DIFFERENT or _repeats(text) or _counts(text):
        return "is too regular to be random"
    return None


def equal_pair(secrets: Iterable[tuple[str, str]]) -> tuple[str, str] | None:
    """Give the names of two of `secrets`, which are (name, text), that are the same; None where all differ."""
    names: dict[str, str] = {}
    for name, text in secrets:
        if text in names:
            return names[text], name
        names[text] = name
    return None


def _without_example_words(text: str) -> str:
    """`text` without the words of examples and what joins words. A text that has none stays as it is."""
    left = text.lower()
    for word in EXAMPLE_WORDS:
        left = left.replace(word, "")
    return text if len(left) == len(text) else left.strip("-_ .")


def _repeats(text: str) -> bool:
    """Whether `text` is one piece, again and again: such a text is found in itself, moved on."""
    return any(text[period:] == text[:-period] for period in range(1, len(text) // 2 + 1))


def _counts(text: str) -> bool:
    """Whether most characters follow the one before in the alphabet, or repeat it: `abcdef`, `0123456789`, `aaaa`."""
    steps = [abs(ord(after) - ord(before)) for before, after in pairwise(text)]
    return 2 * sum(step <= 1 for step in steps) > len(steps)
