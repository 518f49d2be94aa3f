"""What can go wrong in ingest, and what the client is told.

TemasError
├── Invalid              400 invalid_request: nothing of the request can be used; `details` name each field (shared)
├── Unauthorized         401 unauthorized: no key, or a wrong one; nothing was kept (shared)
├── TooSlow              408 too_slow: the body did not arrive in time; clients send again
├── TooLarge             413 too_large: the body is past what any client's batch may be; nothing was kept
├── UnknownEncoding      415 unknown_encoding: compressed in a way we don't read
└── Unavailable
    ├── LogUnavailable   503 log_unavailable, Retry-After: Kafka did not acknowledge (shared)
    └── Busy             503 busy, Retry-After: too many bodies are arriving at once

Most clients throw away what gets a 4xx other than 408 and 429, so these are only said of what will never be right.
"""

from __future__ import annotations

from shared.errors import TemasError, Unavailable


class TooSlow(TemasError):
    status = 408
    code = "too_slow"


class TooLarge(TemasError):
    status = 413
    code = "too_large"


class UnknownEncoding(TemasError):
    status = 415
    code = "unknown_encoding"


class Busy(Unavailable):
    code = "busy"
