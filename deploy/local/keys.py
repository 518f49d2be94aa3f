"""Keys and passwords: generated once for each state folder. There are no default credentials anywhere."""

from __future__ import annotations

import secrets
from typing import Self

import msgspec
from msgspec import field

from deploy.local.errors import Refused
from deploy.local.home import Home, write_private
from deploy.local.settings import LOOPBACK

WITH_DATABASE = ("ingest", "profile", "scoring", "personalize")
"""The services that have a schema, and so a role, of their own: all of them."""

ADMIN = "temas"
"""The role that owns the database of the same name and creates the others."""


def url(port: int, password: str, role: str = ADMIN, database: str = ADMIN) -> str:
    """How to reach the local PostgreSQL as `role`."""
    return f"postgresql://{role}:{password}@{LOOPBACK}:{port}/{database}"


class Keys(msgspec.Struct, frozen=True, kw_only=True):
    """The secrets of one stack. `passwords` are those of PostgreSQL's roles, by name."""

    secret_key: str
    write_key: str
    user_token_secret: str
    key_signing_secret: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    passwords: dict[str, str]

    @classmethod
    def generate(cls) -> Self:
        return cls(
            secret_key=f"sk_{secrets.token_urlsafe(24)}",
            write_key=f"wk_{secrets.token_urlsafe(24)}",
            user_token_secret=secrets.token_urlsafe(32),
            passwords={role: secrets.token_urlsafe(24) for role in (ADMIN, *WITH_DATABASE)},
        )


def keys_of(home: Home) -> Keys:
    """The folder's keys, made on first use; roles that came later get their password then.

    Raises Refused where the file is damaged, or gone while the database it opens is still there.
    """
    fresh = Keys.generate()
    try:
        stored = msgspec.json.decode(home.keys.read_bytes(), type=Keys)
    except FileNotFoundError as error:
        if home.postgres.exists():
            raise Refused(
                f"{home.keys} is gone, and nothing else opens the database: put it back, or type make reset."
            ) from error
        stored = fresh
    except msgspec.DecodeError as error:
        raise Refused(f"{home.keys} is damaged ({error}): put it right, or type make reset.") from error
    keys = msgspec.structs.replace(stored, passwords=fresh.passwords | stored.passwords)
    text = msgspec.json.format(msgspec.json.encode(keys)).decode() + "\n"
    if not home.keys.exists() or home.keys.read_text() != text:  # there are new ones in it
        write_private(home.keys, text)
    return keys
