"""A public key in the hands of somebody who means harm, before the service itself; and grants as an operator gives them."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest

from tests.builders import Json, alias, batch, identify, page, track
from tests.ingest.desk import ask, becomes, everything, make_key, make_source, told
from tests.ingest.door import SECRET_KEY, Door
from tests.ingest.rejects import waiting
from tests.waiting import until

LONG_AGO = datetime(2001, 1, 1, tzinfo=UTC)


@pytest.fixture
def name() -> str:
    """A source's name that no other test has."""
    return f"g-{uuid.uuid4().hex[:12]}"
