"""Cancellations: ours get through whatever a library does, and those of a library are never taken for ours."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from shared.tasks import CallCancelled, LoopEnded, end, library_call, together


async def _for_ever() -> None:
    await asyncio.Event().wait()


async def _leaks() -> None:
    """As `stop` of a consumer does: awaits a task that it has cancelled itself."""
    task = asyncio.create_task(_for_ever())
    await asyncio.sleep(0)
    task.cancel()
    await task


class Deaf:
    """As `close` of a client is: takes every cancellation for that of its own task, and goes on, until `heard`."""

    def __init__(self) -> None:
        self.heard = False

    async def wait(self) -> None:
        while not self.heard:
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(0.01)


@pytest.fixture
async def deaf() -> AsyncIterator[Deaf]:
    one = Deaf()
    yield one
    one.heard = True
    await asyncio.sleep(0.1)


async def test_a_call_gives_what_it_gives_and_raises_what_it_raises() -> None:
    async def gives() -> int:
        return 7

    async def raises() -> None:
        raise KeyError("x")

    assert await library_call(gives()) == 7
    assert await library_call(gives(), within=1_000) == 7
    with pytest.raises(KeyError):
        await library_call(raises(), within=1_000)


async def test_a_cancellation_of_the_librarys_own_is_an_error_that_may_be_tried_again() -> None:
    with pytest.raises(CallCancelled, match="_leaks"):
        await library_call(_leaks())
    with pytest.raises(ConnectionError):
        await library_call(_leaks(), within=1_000)


async def test_a_call_that_takes_too_long_is_cancelled_and_is_late() -> None:
    with pytest.raises(TimeoutError, match="_for_ever took longer"):
        await library_call(_for_ever(), within=0.01)


async def test_a_call_that_suppresses_cancellations_is_left_and_does_not_hold_us_up(
    monkeypatch: pytest.MonkeyPatch, deaf: Deaf
) -> None:
    monkeypatch.setattr("shared.tasks.GIVES_UP_WITHIN", 0.01)
    with pytest.raises(TimeoutError):
        await library_call(deaf.wait(), within=0.01)
    ours = asyncio.create_task(library_call(deaf.wait()))
    await asyncio.sleep(0.01)
    ours.cancel()
    await asyncio.wait([ours])
    assert ours.cancelled()


async def test_our_own_cancellation_ends_the_call_before_it_is_passed_on() -> None:
    ended = asyncio.Event()

    async def tidies() -> None:
        try:
            await _for_ever()
        finally:
            await asyncio.sleep(0.01)
            ended.set()

    ours = asyncio.create_task(library_call(tidies()))
    await asyncio.sleep(0.01)
    ours.cancel()
    await asyncio.wait([ours])
    assert ours.cancelled()
    assert ended.is_set()


async def test_what_came_in_the_last_moment_is_not_dropped() -> None:
    async def answers_when_cancelled() -> int:
        try:
            await _for_ever()
        except asyncio.CancelledError:
            return 7
        return 0

    assert await library_call(answers_when_cancelled(), within=0.01) == 7


async def test_of_loops_that_stand_together_the_first_that_ends_is_told_and_the_others_end() -> None:
    others: list[str] = []

    async def other() -> None:
        try:
            await _for_ever()
        finally:
            others.append("ended")

    async def raises() -> None:
        await asyncio.sleep(0)
        raise KeyError("x")

    async def returns() -> None:
        await asyncio.sleep(0)

    with pytest.raises(KeyError):
        await together(one=raises(), other=other())
    with pytest.raises(LoopEnded, match="one: it returned"):
        await together(one=returns(), other=other())
    with pytest.raises(LoopEnded, match="one: it was cancelled, and not by us"):
        await together(one=_leaks(), other=other())
    assert others == ["ended"] * 3


async def test_one_that_suppressed_its_cancellation_is_asked_again(monkeypatch: pytest.MonkeyPatch, deaf: Deaf) -> None:
    monkeypatch.setattr("shared.tasks.ENDS_WITHIN", 0.01)

    async def deaf_once() -> None:
        try:
            await _for_ever()
        except asyncio.CancelledError:
            await _for_ever()

    task = asyncio.create_task(deaf_once())
    await asyncio.sleep(0)
    await end([task])
    assert task.cancelled()
    never = asyncio.create_task(deaf.wait())
    await asyncio.sleep(0)
    await end([never])  # returns
    assert not never.done()
