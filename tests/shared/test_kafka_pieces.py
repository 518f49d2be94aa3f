"""What group commit decides before it sends: which records share a batch, and where each of them stands after it."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from shared.errors import Invalid, LogUnavailable
from shared.kafka import (
    BATCH_BYTES,
    RECORD_OVERHEAD,
    Position,
    Waiter,
    _fail,
    _packed,
    _pieces,
    _settle,
    connection,
    parse_token,
    token,
)
from shared.settings import KafkaSettings

LARGEST = BATCH_BYTES - RECORD_OVERHEAD
sizes = st.one_of(st.integers(0, 200), st.integers(BATCH_BYTES // 4, BATCH_BYTES // 2), st.just(LARGEST))


def records(lengths: list[int]) -> list[tuple[bytes, bytes]]:
    return [(b"", bytes(length)) for length in lengths]


def size(some: Any) -> int:
    return sum(len(key) + len(value) + RECORD_OVERHEAD for key, value in some)


# --- batches ---------------------------------------------------------------------------------------------------------


@settings(max_examples=50)
@given(st.lists(sizes, min_size=1, max_size=20))
async def test_pieces_are_the_records_in_order_each_within_a_batch(lengths: list[int]) -> None:
    wanted = records(lengths)
    pieces = list(_pieces(wanted))
    assert [record for *_, waiter in pieces for record in waiter.records] == wanted
    for start, stop, waiter in pieces:
        assert wanted[start:stop] == waiter.records
        assert waiter.size == size(waiter.records) <= BATCH_BYTES


async def test_records_that_fit_together_are_not_parted() -> None:
    assert len(list(_pieces(records([100] * 1_000)))) == 1


async def test_a_record_larger_than_a_batch_stands_alone() -> None:
    pieces = list(_pieces(records([10, BATCH_BYTES + 1, 10])))
    assert [len(waiter.records) for *_, waiter in pieces] == [1, 1, 1]


@settings(max_examples=50)
@given(st.lists(sizes, min_size=1, max_size=20))
async def test_batches_hold_all_waiters_in_order_and_no_more_than_fits(lengths: list[int]) -> None:
    waiters = [Waiter(some := records([length]), size(some)) for length in lengths]
    groups = list(_packed(waiters))
    assert [waiter for group in groups for waiter in group] == waiters
    assert all(0 < sum(waiter.size for waiter in group) <= BATCH_BYTES for group in groups)


async def test_each_waiter_gets_the_offset_of_its_own_first_record() -> None:
    waiters = [Waiter(records([1] * count), 0) for count in (3, 1, 2)]
    _settle(waiters, 40)
    assert [await waiter.base for waiter in waiters] == [40, 43, 44]


async def test_one_who_went_away_moves_nobody_elses_place() -> None:
    waiters = [Waiter(records([1] * count), 0) for count in (3, 1, 2)]
    waiters[0].base.cancel()
    _settle(waiters, 40)
    assert [await waiter.base for waiter in waiters[1:]] == [43, 44]


async def test_a_failure_reaches_everybody_who_still_waits() -> None:
    settled, waiting, gone = (Waiter(records([1]), 0) for _ in range(3))
    settled.base.set_result(7)
    gone.base.cancel()
    _fail([settled, waiting, gone])
    assert await settled.base == 7
    with pytest.raises(LogUnavailable, match="same message ids"):
        await waiting.base
    with pytest.raises(asyncio.CancelledError):
        await gone.base


# --- Temas-Position --------------------------------------------------------------------------------------------------

positions = st.lists(st.builds(Position, st.integers(0, 50), st.integers(0, 2**60)), min_size=1)


def test_a_token_reads_as_documented() -> None:
    assert token([Position(3, 80), Position(0, 1234), Position(3, 88)]) == "0:1234,3:88"


@given(positions)
def test_a_token_tells_the_highest_offset_of_each_partition(some: list[Position]) -> None:
    told = parse_token(token(some))
    assert told == {partition: max(at.offset for at in some if at.partition == partition) for partition, _ in some}


@pytest.mark.parametrize(
    "text",
    [
        *("", "x", "0", "0:", ":1", "0:1,", "0:1:2", "0:1;3:88", "zero:one"),
        *("-1:0", "0:-5", "0: 1", "0:1_0", "\u0663:1", "0:9223372036854775808", "2147483648:0"),
    ],
)
def test_what_is_no_token_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(Invalid, match="0:1234,3:88") as refused:
        parse_token(text)
    assert refused.value.details == ({"path": "after", "code": "invalid_position"},)


# --- reaching the brokers --------------------------------------------------------------------------------------------


def test_without_anything_said_the_connection_is_plain() -> None:
    arguments = connection(KafkaSettings(bootstrap="k:9092"))
    assert (arguments["bootstrap_servers"], arguments["security_protocol"]) == ("k:9092", "PLAINTEXT")
    assert not {"ssl_context", "sasl_mechanism"} & set(arguments)


def test_tls_checks_the_brokers_certificate_and_sasl_brings_the_password() -> None:
    arguments = connection(
        KafkaSettings(bootstrap="k:9093", security_protocol="SASL_SSL", username="temas", password=SecretStr("s3cret"))
    )
    context = arguments["ssl_context"]
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert arguments["sasl_mechanism"] == "SCRAM-SHA-512"
    assert (arguments["sasl_plain_username"], arguments["sasl_plain_password"]) == ("temas", "s3cret")


def test_an_authority_that_is_not_there_is_an_error_at_once(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        connection(KafkaSettings(bootstrap="k:9093", security_protocol="SSL", ca_file=str(tmp_path / "none.pem")))


def test_the_password_is_not_shown() -> None:
    assert "s3cret" not in repr(KafkaSettings(bootstrap="k", password=SecretStr("s3cret")))
