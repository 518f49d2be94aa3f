"""Structured logs: one JSON object a line on standard error, no personal data in any of them.

Modules take their logger with `log = structlog.get_logger(__name__)` and write an event in words that do not change,
with what varies as fields. Identifiers of people are never fields; `pseudonym` gives what may stand in for one.
"""

from __future__ import annotations

import hashlib
import logging
import sys
import time
from collections.abc import Callable

import structlog


def configure(service: str, level: str) -> None:
    """Called once, by the process's command line. Libraries' own logs come out in the same form."""
    chain: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*chain, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=chain,
            processors=[
                lambda _logger, _name, event: {"service": service, **event},
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    handler.addFilter(Seldom("aiokafka"))
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)
    for chatty in ("uvicorn.access", "aiokafka", "sqlalchemy.engine"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


REMEMBERED = 1_000
"""Different texts, should a library ever fill in values before it logs."""


class Seldom(logging.Filter):
    """Lets pass of each thing that `library` has to say one line in ten seconds.

    aiokafka tells of every try to reach a broker: a hundred lines a second and process, for as long as Kafka is away.
    """

    def __init__(self, library: str, *, seconds: float = 10.0, now: Callable[[], float] = time.monotonic) -> None:
        super().__init__(library)
        self.seconds = seconds
        self.now = now
        self.said: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record passes. What it says is told by its text before anything is filled in: a closed set."""
        if not super().filter(record):
            return True  # of somebody else
        text, now = str(record.msg), self.now()
        if now - self.said.get(text, -self.seconds) < self.seconds:
            return False
        if len(self.said) >= REMEMBERED:
            self.said.clear()
        self.said[text] = now
        return True


def pseudonym(value: str) -> str:
    """Eight characters that stand for `value` in a log line: the same each time, and no way back."""
    return hashlib.blake2b(value.encode(), digest_size=4).hexdigest()
