"""Records of the topic `keys`: signed by ingest, verified by everybody.

Whoever can write to Kafka could otherwise let themselves in everywhere. So ingest signs what a record says of a key
with a secret of the installation, and what is not so signed is ignored and reported. While one secret takes another's
place there are several: the first one signs, all of them verify.

What a signature does not prevent, `Keyring.learn` does: a record that was written down and comes again later never
makes a key hold longer, or open more. And what compaction may have taken away, because somebody else's record came
later under the same name, ingest tells anew every few minutes.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC
from typing import Literal

import msgspec
import structlog
from aiokafka import ConsumerRecord

from shared import metrics
from shared.events import Keyed, NamedKey

log = structlog.get_logger(__name__)

PURPOSE = "temas.key.v1"
"""Stands in everything that is signed, so that no signature made for something else fits here."""

REMEMBERED = 1_000
"""Names of records whose report waits. Whoever writes more of them at once is reported at once."""

PUT_ASIDE = 1_000
"""Records that one process gives as dead letters. What comes after them is counted and logged."""

KEPT_BYTES = 8 * 1024
"""Of such a record. What ingest says of a key has some 500."""

Doubt = Literal["unreadable", "unsigned", "wrongly signed"]


class KeySignatures:
    """Signs with the first of some secrets, verifies with all of them."""

    def __init__(self, secrets: Sequence[str]) -> None:
        self.secrets = [secret.encode() for secret in secrets]

    def sign(self, key: NamedKey) -> str:
        """Give the signature of what is said of `key`, in hexadecimal."""
        return _signature(self.secrets[0], _signed(key))

    def fits(self, key: NamedKey, signature: str) -> bool:
        """Whether one of the secrets has signed exactly this."""
        signed, given = _signed(key), signature.encode()
        return any(hmac.compare_digest(_signature(secret, signed).encode(), given) for secret in self.secrets)


def _signed(key: NamedKey) -> bytes:
    """The bytes that are signed: all that a reader goes by. A new field of `NamedKey` that limits it belongs here."""
    ends_at = key.ends_at and key.ends_at.astimezone(UTC).isoformat()
    said = (PURPOSE, key.id, key.source, key.digest, sorted(key.scopes), ends_at, key.services, key.sources)
    return msgspec.json.encode(said)


def _signature(secret: bytes, signed: bytes) -> str:
    return hmac.new(secret, signed, hashlib.sha256).hexdigest()


class KeyRecords:
    """Reads records of the topic, and reports those that ingest has not written.

    A record that ingest has told anew since, under the same name, is not reported: so it is with those from before they
    were signed, and with those that a secret has signed which is no longer in use. What comes while the process runs is
    always reported.
    """

    def __init__(self, service: str, signatures: KeySignatures) -> None:
        self.unreadable = metrics.KEYS_UNREADABLE.labels(service)
        self.unsigned = metrics.KEYS_UNSIGNED.labels(service)
        self.signatures = signatures
        self.decoder = msgspec.json.Decoder(Keyed)
        self.doubtful: dict[bytes | None, tuple[Doubt, ConsumerRecord]] = {}
        self.reported: list[tuple[Doubt, ConsumerRecord]] = []
        self.left = PUT_ASIDE

    def read(self, records: Iterable[ConsumerRecord]) -> Iterator[NamedKey]:
        """Give the keys that `records` tell of and ingest has signed. Call `report` when they are the newest."""
        for record in records:
            read = self._read(record)
            if isinstance(read, NamedKey):
                self.doubtful.pop(record.key, None)
                yield read
                continue
            if len(self.doubtful) >= REMEMBERED:
                self.report()
            self.doubtful[record.key] = read, replace(record, value=record.value[:KEPT_BYTES])

    def report(self) -> None:
        """Count and log what could not be trusted since the last time, by its offsets, without what it said.

        The records are then in `reported`, for somebody to look at, unless there are too many of them.
        """
        for doubt, counter in (
            ("unreadable", self.unreadable), ("unsigned", self.unsigned), ("wrongly signed", self.unsigned),
        ):  # fmt: skip
            offsets = [record.offset for which, record in self.doubtful.values() if which == doubt]
            if offsets:
                counter.inc(len(offsets))
                log.critical(
                    f"records of the topic keys are ignored: {doubt}",
                    records=len(offsets),
                    offsets=sorted(offsets)[:10],
                )
        kept = list(self.doubtful.values())[: self.left]
        self.left -= len(kept)
        self.reported += kept
        self.doubtful.clear()

    def _read(self, record: ConsumerRecord) -> NamedKey | Doubt:
        try:
            event = self.decoder.decode(record.value)
        except msgspec.MsgspecError:
            # Not a reason to shut out everybody whose key can be read; but it may have been a key's end.
            return "unreadable"
        if not event.signature:
            return "unsigned"
        return event.data if self.signatures.fits(event.data, event.signature) else "wrongly signed"
