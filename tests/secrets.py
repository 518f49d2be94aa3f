"""Secrets of the tests: good ones, made anew for each run, so that none stands in the repository."""

from __future__ import annotations

import base64
import hashlib
import os
import secrets

_RUN = os.environ.get("PYTEST_XDIST_TESTRUNUID") or secrets.token_hex(16)
"""The same in all processes of a run, which must agree on the names of tests: some of those have a key in them."""


def secret(name: str) -> str:
    """A secret of this run, of 32 characters; the same whenever it is asked for by this name."""
    return base64.urlsafe_b64encode(hashlib.sha256(f"{_RUN} {name}".encode()).digest()[:24]).decode()


SECRET_KEY = f"sk_{secret('secret key')}"
"""The secret key of every service's settings."""

WRITE_KEY = f"wk_{secret('write key')}"
"""The public key of ingest's settings."""

KEY_SIGNING_SECRET = secret("key records")
"""Ingest signs records of keys with it."""

USER_TOKEN_SECRET = secret("user tokens")
"""The company's backend signs user tokens with it."""
