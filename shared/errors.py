"""What can go wrong, and what a client is told.

TemasError
├── Invalid              400 invalid_request: names the field and the fix; `details` name the path of each bad field
├── Unauthorized         401 unauthorized
│   └── TokenRefused     401 unauthorized, for routes that take user tokens
├── Forbidden            403 forbidden
├── NotFound             404 not_found
├── Unavailable          503 unavailable, Retry-After: a server we need is away; the same call may be sent again
│   └── LogUnavailable   503 log_unavailable: Kafka did not acknowledge; unknown, not lost
├── TooManyRequests      429 too_many_requests, Retry-After
└── Fatal                never told to a client: this process must stop, and says why
    ├── TopicsMissing
    ├── OffsetOutOfRange
    └── TooManyDeadLetters

Each service adds its own to this family in its `errors.py`. The text of an error is the message that the client reads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar


class TemasError(Exception):
    """One family, so that one handler answers for all: `status`, `code`, the text, `details` and headers."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"

    def __init__(self, message: str, *, details: Sequence[Mapping[str, Any]] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.details = tuple(details)

    @property
    def headers(self) -> Mapping[str, str]:
        """Headers that the answer carries beside the body."""
        return {}

    def body(self) -> dict[str, Any]:
        """The answer's JSON: `{"code", "message", "details"?}`."""
        body: dict[str, Any] = {"code": self.code, "message": self.message}
        if self.details:
            body["details"] = [dict(detail) for detail in self.details]
        return body


class Invalid(TemasError):
    """The request, or the message, is wrong in itself: sending it again changes nothing."""

    status = 400
    code = "invalid_request"


class Unauthorized(TemasError):
    status = 401
    code = "unauthorized"

    @property
    def headers(self) -> Mapping[str, str]:
        return {"WWW-Authenticate": 'Basic realm="temas"'}


class TokenRefused(Unauthorized):
    """There is no user token, or one that is not accepted. `given`: whether there is one."""

    def __init__(self, message: str, *, given: bool = False) -> None:
        super().__init__(message)
        self.given = given

    @property
    def headers(self) -> Mapping[str, str]:
        return {"WWW-Authenticate": 'Bearer realm="temas"' + (', error="invalid_token"' if self.given else "")}


class Forbidden(TemasError):
    status = 403
    code = "forbidden"


class NotFound(TemasError):
    status = 404
    code = "not_found"


class RetryLater(TemasError):
    """The base of what a client may simply send again after `retry_after` seconds."""

    retry_after: ClassVar[int] = 1

    @property
    def headers(self) -> Mapping[str, str]:
        return {"Retry-After": str(self.retry_after)}


class Unavailable(RetryLater):
    status = 503
    code = "unavailable"


class LogUnavailable(Unavailable):
    """Kafka did not acknowledge in time. The records may be in the log: the retry must carry the same ids."""

    code = "log_unavailable"


class TooManyRequests(RetryLater):
    status = 429
    code = "too_many_requests"


class Fatal(Exception):
    """This process can't go on and must not pretend to: a person has to look. The text says at what."""


class TopicsMissing(Fatal):
    pass


class OffsetOutOfRange(Fatal):
    pass


class TooManyDeadLetters(Fatal):
    pass
