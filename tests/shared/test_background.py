"""A process and its loops: whichever ends or hangs, the process ends and says which, so that it is started again."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from fastapi import FastAPI
from structlog.testing import capture_logs

from deploy.local.settings import ROOT
from shared.background import background
from shared.health import Health, Part
from tests.servers import free

Run = Callable[[], Awaitable[None]]


@dataclass
class Looping:
    """A loop that does as it is told, then waits for ever, beating."""

    pulse: Part
    does: Run | None = None
    log: list[str] = field(default_factory=list)

    async def run(self) -> None:
        try:
            if self.does is not None:
                await self.does()
                return
            while True:
                self.pulse.beat()
                await asyncio.sleep(0.01)
        finally:
            self.log.append(self.pulse.name)


@dataclass
class Service:
    """An application without HTTP, with its health."""

    app: FastAPI = field(default_factory=FastAPI)
    health: Health = field(default_factory=Health)
    stopped: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.app.state.stop = self.stopped.set

    def loop(self, name: str, does: Run | None = None) -> Looping:
        return Looping(self.health.pulse(name), does)


async def _returns() -> None:
    await asyncio.sleep(0)


async def _raises() -> None:
    await asyncio.sleep(0)
    raise RuntimeError("broken")


async def _is_cancelled() -> None:
    """As a library does it: by awaiting what it cancelled itself."""
    other = asyncio.create_task(asyncio.sleep(1_000))
    await asyncio.sleep(0)
    other.cancel()
    await other


@pytest.mark.parametrize(
    ("does", "reason"),
    [
        (_returns, "it returned"),
        (_raises, "RuntimeError('broken')"),
        (_is_cancelled, "it was cancelled, and not by us"),
    ],
)
async def test_a_loop_that_ends_in_whatever_way_ends_the_process_with_its_name(does: Run, reason: str) -> None:
    service = Service()
    other = service.loop("other")
    with capture_logs() as logs:
        async with background(service.app, service.health, service.loop("broken", does), other):
            await service.stopped.wait()
    assert service.app.state.failed
    assert other.log == ["loop other"]
    (last,) = [line for line in logs if line["log_level"] == "critical"]
    assert (last["loop"], last["why"]) == ("loop broken", reason)


async def test_loops_end_with_the_block_and_that_is_no_failure() -> None:
    service = Service()
    loops = [service.loop("one"), service.loop("two")]
    with capture_logs() as logs:
        async with background(service.app, service.health, *loops):
            await asyncio.sleep(0.02)
    assert [each.log for each in loops] == [["loop one"], ["loop two"]]
    assert not hasattr(service.app.state, "failed")
    assert not service.stopped.is_set()
    assert logs == []


async def test_a_loop_that_hangs_is_not_alive_and_ends_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.background.LOOK_EVERY", 0.05)
    service = Service()
    hangs = service.loop("hanging", asyncio.Event().wait)  # type: ignore[arg-type]
    hangs.pulse.deadline = 0.1
    with capture_logs() as logs:
        async with background(service.app, service.health, hangs, service.loop("other")):
            await service.stopped.wait()
            assert list(service.health.complaints(vital_only=True)) == ["loop hanging"]
    assert service.app.state.failed
    last = next(line for line in logs if line["log_level"] == "critical")
    assert "a loop hangs" in last["event"]
    assert list(last["late"]) == ["loop hanging"]


async def test_one_that_is_late_once_and_then_reports_was_paused_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.background.LOOK_EVERY", 0.05)
    service = Service()
    looks = iter([{"loop one": "late"}, {}, {"loop one": "late"}])
    monkeypatch.setattr(service.health, "complaints", lambda vital_only: next(looks, {}))
    async with background(service.app, service.health, service.loop("one")):
        await asyncio.sleep(0.5)
    assert next(looks, None) is None
    assert not service.stopped.is_set()


# --- real processes --------------------------------------------------------------------------------------------------

PROCESS = """
import asyncio, sys, time
from contextlib import asynccontextmanager
import shared.background, shared.http
from shared.background import background
from shared.health import Health
from shared.http import serve
from tests.application import made, settings

shared.background.LOOK_EVERY = 0.2
shared.http.ENDS_WITHIN = 2
health = Health()

class Broken:
    pulse = health.pulse("broken")
    async def run(self):
        self.pulse.deadline = 1
        await asyncio.sleep(0.2)
        {does}

@asynccontextmanager
async def lifespan(app):
    async with background(app, health, Broken()):
        yield
    {at_the_end}

chosen = settings(port=int(sys.argv[1]), drain=1)
app = made(service="broken", health=health, chosen=chosen, routers=[])
app.router.lifespan_context = lifespan
serve(app, chosen, "broken")
"""


def _process(does: str, at_the_end: str = "pass") -> subprocess.CompletedProcess[str]:
    code = PROCESS.format(does=does, at_the_end=at_the_end)
    argv: list[Any] = [sys.executable, "-c", code, str(free(1)[0])]
    return subprocess.run(argv, cwd=ROOT, text=True, capture_output=True, check=False, timeout=120)


ENDINGS = {
    "returns": "return",
    "raises": "raise KeyError('x')",
    "is cancelled": "asyncio.current_task().cancel(); await asyncio.sleep(1)",
    "hangs": "await asyncio.sleep(1e6)",
}


@pytest.mark.parametrize("does", ENDINGS.values(), ids=ENDINGS)
def test_the_process_ends_with_code_1_and_its_last_word_names_the_loop(does: str) -> None:
    ended = _process(does)
    assert ended.returncode == 1, ended.stderr
    assert "this process ends, to be started again" in ended.stderr
    assert "loop broken" in ended.stderr


def test_a_process_whose_event_loop_is_blocked_for_good_is_ended() -> None:
    ended = _process("time.sleep(1e6)")
    assert ended.returncode == 1
    assert "does not: it is ended now" in ended.stderr
    assert "in run" in ended.stderr  # where it was blocked


def test_a_process_that_can_not_end_is_ended() -> None:
    ended = _process("return", at_the_end="await asyncio.sleep(1e6)")
    assert ended.returncode == 1
    assert "loop broken" in ended.stderr
    assert "does not: it is ended now" in ended.stderr
