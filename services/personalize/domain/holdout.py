"""The holdout: a fixed share of people who get no offers at all, so that what offers do can be measured.

It is a hash of the identifier that a person was first seen with, so it stays when they log in, needs no storage, and
every process agrees on it. Another salt draws another holdout.
"""

from __future__ import annotations

import hashlib

FIELD = 2**53
"""As many steps as a float has exactly between 0 and 1."""


def bucket(root: str, salt: str) -> float:
    """Where `root` falls in [0, 1): uniform over roots, the same for ever under one salt."""
    digest = hashlib.blake2b(root.encode(), digest_size=8, key=salt.encode()[:64]).digest()
    return int.from_bytes(digest, "big") % FIELD / FIELD


def held_out(root: str, salt: str, share: float) -> bool:
    return bucket(root, salt) < share
