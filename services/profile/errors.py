"""What can go wrong in profile, and what the client is told.

TemasError
├── NotFound
│   ├── ProfileNotFound      404 profile_not_found
│   └── SegmentNotFound      404 segment_not_found
├── RetryLater
│   └── NotYet               503 not_yet, Retry-After: what was asked for is in the log and does not show yet
└── RuleRefused              422 rule_refused: line, column, and what CEL expected (of shared/rules.py)
"""

from __future__ import annotations

from shared.errors import NotFound, RetryLater
from shared.identifiers import Identifier


class ProfileNotFound(NotFound):
    code = "profile_not_found"

    def __init__(self, identifier: Identifier) -> None:
        super().__init__(f"no profile has {identifier.kind} {identifier.value!r}")


class SegmentNotFound(NotFound):
    code = "segment_not_found"

    def __init__(self, segment_id: str) -> None:
        super().__init__(f"there is no segment {segment_id!r}: PUT /v1/segments/{segment_id} makes it")


class NotYet(RetryLater):
    status = 503
    code = "not_yet"

    def __init__(self) -> None:
        super().__init__("it is in the log and does not show yet: ask again in a moment")
