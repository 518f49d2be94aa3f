"""W3C trace context: one thread through HTTP, Kafka and the logs.

A request's `traceparent` is kept, or a new one begun; ingest puts it into the events it writes, so that what became
of a touchpoint can be found by the trace id that its sender knows.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping

_FORM = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


def traceparent(headers: Mapping[str, str]) -> str:
    """The caller's trace if it sent one of the right form, else a new one."""
    given = headers.get("traceparent", "")
    return given if _FORM.fullmatch(given) else f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"


def trace_id(parent: str) -> str:
    """The 32 hexadecimal digits that name the trace."""
    return parent.split("-")[1]
