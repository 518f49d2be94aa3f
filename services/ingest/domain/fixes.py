"""Fixes of rejected events: how large they may get, and what is taken out of them so that they can be read."""

from __future__ import annotations

from services.ingest.domain.bodies import cleaned
from services.ingest.domain.bounds import EVENT_BYTES
from shared import fixes
from shared.events import Reason
from shared.fixes import Fix


def fixed(body: bytes, fix: Fix | None) -> bytes | tuple[Reason, ...]:
    """`body`, a call or a CloudEvent as it was received, mended; or the reasons why it can't be mended this way."""
    return fixes.fixed(body, fix, most=EVENT_BYTES, clean=cleaned)
