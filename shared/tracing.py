"""W3C trace context: one thread through HTTP, Kafka and the logs.

A request's `traceparent` is kept, or a new one begun; ingest puts it into the events it writes, so that what became
of a touchpoint can be found by the trace id that its sender knows.
"""

from __future__ import annotations

import random
import re

_FORM = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


def traceparent(given: str) -> str:
    """The caller's trace, as its header gives it, if it is of the right form; else a new one."""
    return given if given and _FORM.fullmatch(given) else _begun()


def _begun() -> str:
    # An id and no secret; neither of its parts may be all zeros.
    bits = random.getrandbits(192) | 1 << 64 | 1
    return f"00-{bits >> 64:032x}-{bits & 0xFFFF_FFFF_FFFF_FFFF:016x}-01"


def trace_id(parent: str) -> str:
    """The 32 hexadecimal digits that name the trace."""
    return parent.split("-")[1]
