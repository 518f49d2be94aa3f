"""Structured logs: one JSON object a line on standard error, no personal data in any of them.

Modules take their logger with `log = structlog.get_logger(__name__)` and write an event in words that do not change,
with what varies as fields. Identifiers of people are never fields; `pseudonym` gives what may stand in for one.
"""

from __future__ import annotations

import hashlib
import logging
import sys

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
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)
    for chatty in ("uvicorn.access", "aiokafka", "sqlalchemy.engine"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


def pseudonym(value: str) -> str:
    """Eight characters that stand for `value` in a log line: the same each time, and no way back."""
    return hashlib.blake2b(value.encode(), digest_size=4).hexdigest()
