"""Errors of ingest, and what the client is told of them.

TemasError
├── Invalid              400 invalid_request: nothing of the request can be used; `details` name each field (shared)
├── Unauthorized         401 unauthorized: no key, or a wrong one; nothing was kept (shared)
├── Forbidden            403 forbidden: a key that may not do that (shared)
│   └── WrongOrigin      403 wrong_origin: a browser on a page that the key's source does not list; nothing was kept
├── NotFound
│   ├── SourceNotFound   404 source_not_found
│   ├── KeyNotFound      404 key_not_found
│   ├── RejectedNotFound 404 rejected_not_found
│   ├── PlannedEventNotFound 404 planned_event_not_found
│   └── VersionNotFound  404 version_not_found
├── Conflict             409, for what can't be done as things stand
│   ├── TooManySources   409 too_many_sources
│   ├── TooManyKeys      409 too_many_keys: a source has as many keys that hold as it may
│   ├── NothingVerifies  409 nothing_verifies: a source can't ask for proof while no user token could be verified
│   ├── KeyEnded         409 key_ended: a key that no longer holds can't be rotated
│   ├── PlanChanged      409 plan_changed: it is not the version any more that the caller has seen
│   ├── TooManyPlanned   409 too_many_planned
│   └── VersionRemoved   409 version_removed: that version took the event out of the plan, there is nothing to restore
├── SchemaRefused        422 schema_refused: where in the schema, and what to do (of domain/shapes.py)
├── TooLarge             413 too_large: the body is past what any client's batch may be; nothing was kept
├── UnknownEncoding      415 unknown_encoding: compressed in a way we don't read
├── TooManyCalls         429 too_many_requests, Retry-After: past the source's rate or its quota for the day
└── Unavailable
    ├── LogUnavailable   503 log_unavailable, Retry-After: Kafka did not acknowledge (shared)
    ├── Busy             503 busy, Retry-After: too much is arriving at once, or too much of it from this source
    ├── Abandoned        told to nobody: the client has gone
    └── Starting         503 starting, Retry-After: this process has not read its sources and keys yet

Before any of it, a request that does not arrive in time is a 408 (shared/protocol.py); clients send those again.

NotImported              told to an operator: a file can't be imported as asked, and nothing of it was; exit code 2
└── Unfinished           it was stopped before its end, and can go on from there; exit code 3

Most clients throw away what gets a 4xx other than 408 and 429, so these are only said of what will never be right.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from shared.errors import Forbidden, NotFound, TemasError, TooManyRequests, Unavailable


class WrongOrigin(Forbidden):
    code = "wrong_origin"


class SourceNotFound(NotFound):
    code = "source_not_found"

    def __init__(self, name: str) -> None:
        super().__init__(f"there is no source {name!r}: PUT /v1/sources/{name} makes it")


class KeyNotFound(NotFound):
    code = "key_not_found"

    def __init__(self, source: str, id: str) -> None:
        super().__init__(f"source {source!r} has no key {id!r}: GET /v1/sources/{source}/keys lists those it has")


class RejectedNotFound(NotFound):
    code = "rejected_not_found"

    def __init__(self, id: str) -> None:
        super().__init__(f"there is no rejected event {id!r}: GET /v1/rejected lists those that are kept")


class PlannedEventNotFound(NotFound):
    code = "planned_event_not_found"

    def __init__(self, event: str) -> None:
        super().__init__(f"{event} is not in the tracking plan: GET /v1/plan lists what is, PUT plans it")


class VersionNotFound(NotFound):
    code = "version_not_found"

    def __init__(self, event: str, version: int) -> None:
        super().__init__(f"{event} never had a version {version} in the tracking plan: GET .../versions lists them")


class Conflict(TemasError):
    status = 409
    code = "conflict"


class TooManySources(Conflict):
    code = "too_many_sources"

    def __init__(self, limit: int) -> None:
        super().__init__(f"there are {limit} sources already, as many as there may be: change one of those")


class TooManyKeys(Conflict):
    code = "too_many_keys"

    def __init__(self, source: str, limit: int) -> None:
        super().__init__(f"source {source!r} has {limit} keys that hold, as many as it may: revoke one first")


class NothingVerifies(Conflict):
    code = "nothing_verifies"

    def __init__(self) -> None:
        super().__init__(
            "identity_proof can't be required while ingest has nothing to verify user tokens with: set "
            "TEMAS_USER_TOKEN_SECRET or TEMAS_USER_TOKEN_JWKS for it, and start it anew"
        )


class KeyEnded(Conflict):
    code = "key_ended"

    def __init__(self, source: str, id: str) -> None:
        super().__init__(f"key {id!r} no longer holds: POST /v1/sources/{source}/keys makes a new one")


class PlanChanged(Conflict):
    code = "plan_changed"

    def __init__(self, event: str, version: int) -> None:
        super().__init__(
            f"{event} has version {version} now: look at what somebody else has changed, then send that number"
            if version
            else f"{event} is not in the tracking plan: send version 0, or none"
        )


class TooManyPlanned(Conflict):
    code = "too_many_planned"

    def __init__(self, limit: int) -> None:
        super().__init__(f"the tracking plan has {limit} events, as many as it may: take one out first")


class VersionRemoved(Conflict):
    code = "version_removed"

    def __init__(self, event: str, version: int) -> None:
        super().__init__(f"version {version} of {event} took it out of the plan: DELETE does that, or restore another")


class TooLarge(TemasError):
    status = 413
    code = "too_large"


class UnknownEncoding(TemasError):
    status = 415
    code = "unknown_encoding"


class Busy(Unavailable):
    code = "busy"


class Abandoned(Unavailable):
    """Told to nobody: the client has gone before its request was read."""

    code = "abandoned"

    def __init__(self) -> None:
        super().__init__("the client has gone")


class Starting(Unavailable):
    code = "starting"


class TooManyCalls(TooManyRequests):
    """`seconds` until the same calls would be taken."""

    def __init__(self, message: str, seconds: float) -> None:
        super().__init__(message)
        self.seconds = max(1, math.ceil(seconds))

    @property
    def headers(self) -> Mapping[str, str]:
        # The second is for those of Segment's SDKs that know no other.
        return {"Retry-After": str(self.seconds), "X-RateLimit-Reset": str(self.seconds)}


class NotImported(Exception):
    """The text says what to do."""

    exit_code = 2


class Unfinished(NotImported):
    exit_code = 3
