"""Records of keys: whose signature holds, what is reported, and that nothing that comes again opens more."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
import structlog
from aiokafka import ConsumerRecord
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from shared.events import Keyed, NamedKey, encode
from shared.key_records import KeyRecords, KeySignatures
from shared.keys import Keyring, narrower
from shared.metrics import KEYS_UNREADABLE, KEYS_UNSIGNED
from shared.scopes import SCOPES
from tests.secrets import KEY_SIGNING_SECRET, SECRET_KEY, secret

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
OURS = KeySignatures([KEY_SIGNING_SECRET])
THEIRS = KeySignatures([secret("somebody else's")])

KEY = NamedKey(id="shop:1", source="shop", digest="ab" * 32, scopes=("admin", "read"), ends_at=NOON)

names = st.none() | st.lists(st.sampled_from(["profile", "scoring", "ingest"]), unique=True).map(tuple)
keys = st.builds(
    NamedKey,
    id=st.just("shop:1"),
    source=st.just("shop"),
    digest=st.just("ab" * 32),
    scopes=st.lists(st.sampled_from(SCOPES), unique=True).map(tuple),
    ends_at=st.none() | st.integers(0, 3).map(lambda hours: NOON + timedelta(hours=hours)),
    services=names,
    sources=names,
)


@pytest.mark.parametrize(
    "change",
    [
        {"id": "shop:2"},
        {"source": "web"},
        {"digest": "cd" * 32},
        {"scopes": ("admin", "read", "write")},
        {"scopes": ("read",)},
        {"ends_at": None},
        {"ends_at": NOON + timedelta(microseconds=1)},
        {"services": ("profile",)},
        {"services": ()},
        {"sources": ("shop",)},
    ],
    ids=str,
)
def test_a_signature_holds_for_exactly_what_was_signed(change: dict[str, Any]) -> None:
    signature = OURS.sign(KEY)
    assert OURS.fits(KEY, signature)
    assert not OURS.fits(msgspec.structs.replace(KEY, **change), signature)


def test_a_field_that_limits_a_key_can_not_be_forgotten_in_what_is_signed() -> None:
    """Whoever adds one finds this test, and signs it."""
    assert set(NamedKey.__struct_fields__) == {"id", "source", "digest", "scopes", "ends_at", "services", "sources"}


@pytest.mark.parametrize("signature", ["", "00", THEIRS.sign(KEY), OURS.sign(KEY)[:-1], OURS.sign(KEY).upper(), "ş"])
def test_nothing_else_fits(signature: str) -> None:
    assert not OURS.fits(KEY, signature)


@given(keys)
def test_a_signature_survives_the_way_through_the_log(key: NamedKey) -> None:
    sent = Keyed(id="e", source="ingest", time=NOON, data=key, signature=OURS.sign(key))
    came = msgspec.json.decode(encode(sent), type=Keyed)
    assert OURS.fits(came.data, came.signature)


def test_the_first_secret_signs_and_all_verify() -> None:
    old, new = secret("old"), secret("new")
    both = KeySignatures([new, old])
    assert both.fits(KEY, KeySignatures([old]).sign(KEY))
    assert KeySignatures([new]).fits(KEY, both.sign(KEY))
    assert not KeySignatures([old]).fits(KEY, both.sign(KEY))


# --- what comes again, and in whatever order -------------------------------------------------------------------------


@given(st.lists(keys, min_size=1, max_size=4))
def test_what_is_told_of_a_key_comes_to_the_same_in_any_order_and_however_often(told: list[NamedKey]) -> None:
    def learned(order: Any) -> Any:
        ring = Keyring(SecretStr(SECRET_KEY), lambda: NOON, "profile")
        for each in order:
            ring.learn(each)
        [key] = ring.made.values()
        return (
            frozenset(key.scopes), key.ends_at, key.services and frozenset(key.services),
            key.sources and frozenset(key.sources),
        )  # fmt: skip

    assert {learned(order) for order in itertools.permutations(told)} == {learned(told + told[:1])}


@given(keys, keys)
def test_a_record_that_comes_again_opens_nothing_that_was_closed(one: NamedKey, other: NamedKey) -> None:
    both = narrower(one, other)
    assert set(both.scopes) == set(one.scopes) & set(other.scopes)
    for now in (NOON + timedelta(hours=hours) for hours in range(-1, 4)):
        assert both.holds(now) == (one.holds(now) and other.holds(now))
    for name in ("profile", "scoring", "ingest"):
        for which in ("services", "sources"):
            open_to = [getattr(key, which) is None or name in getattr(key, which) for key in (one, other, both)]
            assert open_to[2] == (open_to[0] and open_to[1])


# --- what is reported ------------------------------------------------------------------------------------------------


def record(offset: int, value: bytes, key: bytes = b"shop:1") -> ConsumerRecord[bytes, bytes]:
    return ConsumerRecord("keys", 0, offset, 0, 0, key, value, 0, len(key), len(value), ())


def told(signature: str, key: NamedKey = KEY) -> bytes:
    return encode(Keyed(id="e", source="ingest", time=NOON, data=key, signature=signature))


def counted() -> tuple[float, float]:
    return KEYS_UNREADABLE.labels("unit")._value.get(), KEYS_UNSIGNED.labels("unit")._value.get()


def reported(*records: ConsumerRecord[bytes, bytes]) -> tuple[list[NamedKey], tuple[float, float], list[Any]]:
    """The keys that were read, how much was counted as unreadable and unsigned, and what was logged."""
    reader, before = KeyRecords("unit", OURS), counted()
    with structlog.testing.capture_logs() as logged:
        read = list(reader.read(records))
        reader.report()
        reader.report()  # once is enough
    after = counted()
    return read, (after[0] - before[0], after[1] - before[1]), list(logged)


def test_what_is_not_signed_is_ignored_and_reported_without_what_it_said() -> None:
    read, counts, logged = reported(
        record(4, told("")), record(5, told(THEIRS.sign(KEY)), b"b"), record(6, b"no event", b"c"),
        record(7, told(OURS.sign(KEY)), b"d"),
    )  # fmt: skip
    assert (read, counts) == ([KEY], (1, 2))
    assert [(each["log_level"], each["offsets"]) for each in logged] == [("critical", [n]) for n in (6, 4, 5)]
    assert KEY.digest not in str(logged)


def test_what_ingest_has_told_anew_since_is_not_reported() -> None:
    """So it is after the update to signed records, and after a secret was exchanged."""
    read, counts, logged = reported(
        record(1, told("")), record(2, told(THEIRS.sign(KEY))), record(3, told(OURS.sign(KEY)))
    )
    assert (read, counts, logged) == ([KEY], (0, 0), [])


def test_a_flood_of_them_is_counted_in_a_few_lines_and_little_memory() -> None:
    reader, before = KeyRecords("unit", OURS), counted()
    with structlog.testing.capture_logs() as logged:
        assert not list(reader.read(record(n, told(""), str(n).encode()) for n in range(5_000)))
        assert len(reader.doubtful) <= 1_000
        reader.report()
    assert counted()[1] - before[1] == 5_000
    assert len(logged) <= 5
