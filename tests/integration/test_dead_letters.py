"""What can not be processed is put aside with its reason, one record at a time, and never too many of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import pytest

from shared.clock import system_clock
from shared.dead_letters import DeadLetterLimit
from shared.events import encode
from tests.builders import touchpoint
from tests.integration.counting import POISON, QUICK, Counting, Handler, contacts, counting, oracle, running, stopped
from tests.servers import Servers
from tests.waiting import until


@pytest.fixture
async def narrow(servers: Servers) -> AsyncIterator[Counting]:
    """With one partition: all that waits is one batch."""
    async with counting(servers, partitions=1) as service:
        yield service


# --- poison ----------------------------------------------------------------------------------------------------------

UNREADABLE = b'{"type": "temas.touchpoint.v1", "id": 7'


@pytest.mark.parametrize("place", [0, 500, 999])
@pytest.mark.parametrize(
    ("poison", "reason"),
    [
        (UNREADABLE, "Unreadable"),
        (encode(touchpoint(POISON, received_at=system_clock())), "nobody does that"),
        (encode(touchpoint(user="nul\0", received_at=system_clock())), "0x00"),
    ],
    ids=["unreadable", "refused by the handler", "refused by the database"],
)
async def test_of_a_batch_of_1000_with_one_bad_record_999_are_applied(
    narrow: Counting, poison: bytes, reason: str, place: int
) -> None:
    good = [encode(event) for event in contacts(999)]
    await narrow.append([*good[:place], poison, *good[place:]], ["key"] * 1_000)
    async with running(stream := narrow.stream()):
        await until(narrow.applied)
    assert sum((await narrow.tally()).values()) == 999
    [letter] = await narrow.dead()
    assert (letter.value, letter.key, letter.offset, letter.partition) == (poison, b"key", place, 0)
    assert (letter.consumer, letter.topic) == (narrow.name, narrow.settings.prefix + "touchpoints")
    assert reason in letter.reason
    assert narrow.metric("temas_stream_dead_letters_total") == 1
    assert stream.part.complaint is None


async def test_the_batch_was_tried_as_one_and_then_in_halves(narrow: Counting) -> None:
    await narrow.post(*contacts(500), touchpoint(POISON, received_at=system_clock()), *contacts(499, first=500))
    async with running(narrow.stream(handler := Handler())):
        await until(narrow.applied)
    assert handler.batches[0] == 1_000
    assert len(handler.batches) <= 2 * 10 + 1  # two for each halving of a thousand


async def test_bad_records_of_several_partitions_that_were_read_together_are_put_aside_alone(
    servers: Servers,
) -> None:
    async with counting(servers) as wide:
        good = contacts(400)
        bad = [
            touchpoint(POISON, id=f"p-{number}", user=f"bad-{number}", received_at=system_clock())
            for number in (1, 2, 3)
        ]
        positions = await wide.post(*good[:100], bad[0], *good[100:200], bad[1], bad[2], *good[200:])
        expected = {(positions[index].partition, positions[index].offset) for index in (100, 201, 202)}
        async with running(wide.stream(handler := Handler())):
            await until(wide.applied)
        assert len({position.partition for position in positions}) > 1
        assert handler.batches[0] == 403  # one transaction for all of them
        assert await wide.tally() == oracle([each for each in await wide.log() if POISON.encode() not in each.value])
        assert {(letter.partition, letter.offset) for letter in await wide.dead()} == expected


async def test_too_many_bad_records_stop_the_consumer_which_says_so_and_lives(narrow: Counting) -> None:
    bad = [touchpoint(POISON, id=f"p-{number}", received_at=system_clock()) for number in range(20)]
    await narrow.post(*contacts(10), *bad, *contacts(10, first=10))
    limits = replace(QUICK, dead_letters=DeadLetterLimit(allowed=3), stuck=2)
    async with running(stream := narrow.stream(limits=limits)):
        complaint = await until(lambda: stopped(stream))
        await asyncio.sleep(3)  # past its deadline: it goes on saying so, and does not end
        assert stream.part.complaint == complaint
    assert complaint.startswith("stopped: 4 of the last 14 records")
    assert f"{narrow.name}.dead" in complaint
    assert narrow.metric("temas_stream_stopped") == 1
    assert [letter.offset for letter in await narrow.dead()] == [10, 11, 12, 13]
    assert sum((await narrow.tally()).values()) == 10  # the log was not drained into the dead letters


async def test_a_consumer_that_was_stopped_goes_on_where_it_was_once_it_is_mended(narrow: Counting) -> None:
    bad = [touchpoint(POISON, id=f"p-{number}", received_at=system_clock()) for number in range(20)]
    await narrow.post(*bad, *contacts(10))
    limits = replace(QUICK, dead_letters=DeadLetterLimit(allowed=3))
    async with running(stream := narrow.stream(limits=limits)):
        await until(lambda: stopped(stream))
    async with running(narrow.stream(Handler(refuses=None))):
        await until(narrow.applied)
    assert narrow.metric("temas_stream_stopped") == 0
    assert len(await narrow.dead()) == 4
    assert sum((await narrow.tally()).values()) == 20 - 4 + 10


# --- what is too old, and the whole account --------------------------------------------------------------------------


async def test_what_is_older_than_our_memory_is_quarantined_never_guessed(narrow: Counting) -> None:
    long_ago = system_clock() - QUICK.remembered - timedelta(minutes=1)
    old = [touchpoint(user="old", id=f"o-{number}", received_at=long_ago) for number in range(12)]
    await narrow.post(*contacts(30), *old, *contacts(30, first=30))
    limits = replace(QUICK, dead_letters=DeadLetterLimit(allowed=2, share=0))
    async with running(stream := narrow.stream(limits=limits)):
        await until(narrow.applied)
    assert stream.part.complaint is None  # the world's age is no mistake of ours: it does not count towards the limit
    assert sum((await narrow.tally()).values()) == 60
    letters = await narrow.dead()
    assert [letter.value for letter in letters] == [encode(each) for each in old]
    assert all(letter.reason.startswith("TooOld") for letter in letters)
    assert narrow.metric("temas_stream_quarantined_total") == 12
    assert narrow.metric("temas_stream_dead_letters_total") == 0


async def test_every_record_is_accounted_for_in_the_metrics(narrow: Counting) -> None:
    old = touchpoint(user="old", received_at=system_clock() - timedelta(days=400))
    some = contacts(300)
    await narrow.post(*some, *some[:70], old, touchpoint(POISON, received_at=system_clock()))
    async with running(narrow.stream()):
        await until(narrow.applied)
    names = ("applied", "duplicates", "quarantined", "dead_letters")
    counted = [narrow.metric(f"temas_stream_{name}_total") for name in names]
    assert counted == [300, 70, 1, 1]
    assert sum(counted) == len(await narrow.log())
