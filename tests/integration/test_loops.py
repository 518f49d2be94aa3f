"""Each single loop of each service: whichever ends, and however, its process ends with a last word that names it."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import pytest
from fastapi import FastAPI
from structlog.testing import capture_logs

from deploy.local.settings import ROOT, SERVICES
from shared.background import background
from shared.health import Health, Part
from shared.tasks import Loop, end
from tests.secrets import KEY_SIGNING_SECRET, SECRET_KEY, USER_TOKEN_SECRET, WRITE_KEY
from tests.servers import Installation, Servers, free
from tests.waiting import in_time, until

SECRETS = {
    "TEMAS_SECRET_KEY": SECRET_KEY,
    "TEMAS_WRITE_KEY": WRITE_KEY,
    "TEMAS_KEY_SIGNING_SECRET": KEY_SIGNING_SECRET,
    "TEMAS_USER_TOKEN_SECRET": USER_TOKEN_SECRET,
}

LOOPS: Mapping[str, Collection[str]] = {
    "ingest": {
        "kafka",
        "registry",
        "counts",
        "queue of rejected events",
        "sweeper",
        "publisher keys",
        "publisher dead letters",
        "keys of user tokens",
    },
    "profile": {
        *("kafka", "consumer", "keys", "publisher profiles", "publisher segments", "publisher deleted segments"),
        *("publisher due", "publisher counts", "publisher computed", "publisher backlog", "publisher timeline"),
        "publisher dead letters",
    },
    "scoring": {
        *("kafka", "consumer", "keys", "publisher scores", "publisher models", "publisher backlog"),
        "publisher dead letters",
    },
    "personalize": {
        *("kafka", "consumer", "keys", "publisher knowledge", "publisher decisions", "publisher windows"),
        *("publisher retention", "publisher dead letters", "keys of user tokens"),
    },
}
"""All that there are. A new one is added here; that each is held to its word is what this file is for."""


@dataclass
class Breakable:
    """A loop as its service has built it, that ends when told to: `returns`, or `raises`."""

    loop: Loop
    told: asyncio.Event = field(default_factory=asyncio.Event)
    how: str = ""

    @property
    def pulse(self) -> Part:
        return self.loop.pulse

    async def run(self) -> None:
        running, told = asyncio.create_task(self.loop.run()), asyncio.create_task(self.told.wait())
        try:
            await asyncio.wait({running, told}, return_when=asyncio.FIRST_COMPLETED)
            if running.done():
                running.result()
            elif self.how == "raises":
                raise RuntimeError("broken by a test")
        finally:
            await end([running, told])

    def end(self, how: str) -> None:
        if how == "is cancelled":
            [task] = [each for each in asyncio.all_tasks() if each.get_name() == self.pulse.name]
            task.cancel()
        else:
            self.how = how
            self.told.set()


@dataclass
class Running:
    """A service at work, and its loops."""

    app: FastAPI
    health: Health
    loops: list[Breakable]


@pytest.fixture(scope="module")
async def installed(servers: Servers) -> AsyncIterator[Installation]:
    async with servers.installation() as installation:
        await installation.create()
        yield installation


def _environment(installed: Installation, service: str) -> dict[str, str]:
    return {
        **SECRETS,
        "TEMAS_KAFKA_BOOTSTRAP": installed.kafka.bootstrap,
        "TEMAS_KAFKA_PREFIX": installed.kafka.prefix,
        f"TEMAS_{service.upper()}_DATABASE_URL": installed.database(service).url.get_secret_value(),
    }


@asynccontextmanager
async def running(service: str, installed: Installation, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Running]:
    """The service as its `app.py` builds it, with loops that can be broken."""
    for name, value in _environment(installed, service).items():
        monkeypatch.setenv(name, value)
    module = import_module(f"services.{service}.app")
    made: list[Running] = []

    def breakable(app: FastAPI, health: Health, *loops: Loop) -> AbstractAsyncContextManager[None]:
        made.append(Running(app, health, [Breakable(loop) for loop in loops]))
        return background(app, health, *made[0].loops)

    monkeypatch.setattr(module, "background", breakable)
    app: FastAPI = module.build(module.Settings())
    async with app.router.lifespan_context(app):
        yield made[0]


@pytest.mark.parametrize("how", ["returns", "raises", "is cancelled"])
@pytest.mark.parametrize("service", SERVICES)
async def test_each_single_loop_that_ends_ends_its_process_and_is_named(
    service: str, how: str, installed: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(service, installed, monkeypatch) as at_work:
        names = [each.pulse.name for each in at_work.loops]
        assert sorted(names) == sorted(f"loop {name}" for name in LOOPS[service])
        for loop in at_work.loops:
            stopped = asyncio.Event()
            at_work.app.state.stop, at_work.app.state.failed = stopped.set, False
            with capture_logs() as logs:
                loop.end(how)
                await in_time(stopped.wait())
            assert at_work.app.state.failed
            last = [line for line in logs if line["log_level"] == "critical" and "loop" in line]
            assert [line["loop"] for line in last] == [loop.pulse.name]
            assert {"returns": "it returned", "raises": "broken by a test", "is cancelled": "cancelled"}[how] in (
                last[0]["why"]
            )


@pytest.mark.parametrize("service", SERVICES)
async def test_each_single_loop_reports_that_it_is_alive_and_is_missed_when_it_does_not(
    service: str, installed: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(service, installed, monkeypatch) as at_work:
        vital = {part.name: part for part in at_work.health.parts.values() if part.vital}
        # A consumer has two: it is watched by a loop of its own.
        assert set(vital) - {"loop watch of the consumer"} == {each.pulse.name for each in at_work.loops}
        for part in vital.values():
            assert part.deadline is not None
            began = part.beaten
            monkeypatch.setattr("services.ingest.service.sweeping.EVERY", 0.1)
            if part.name != "loop sweeper":  # once a minute
                await until(lambda part=part, began=began: _beats(part, began))  # type: ignore[misc]
        for part in vital.values():
            part.beaten = -1e9
            assert part.name in at_work.health.complaints(vital_only=True)
            part.beat()


async def _beats(part: Part, since: float | None) -> bool:
    return part.beaten != since


BROKEN = """
import asyncio, runpy, sys
import services.{service}.app as app

built = app.background

def breaks(application, health, *loops):
    for loop in loops:
        if loop.pulse.name == "loop {name}":
            loop.run = ending
    return built(application, health, *loops)

async def ending():
    await asyncio.sleep(0.5)
    {does}

app.background = breaks
sys.argv = ["services.{service}", "serve"]
runpy.run_module("services.{service}", run_name="__main__")
"""

ENDINGS = {
    "returns": "return",
    "raises": "raise KeyError('x')",
    "is cancelled": "asyncio.current_task().cancel(); await asyncio.sleep(1)",
}


@pytest.mark.parametrize(
    ("service", "name", "how"),
    [
        ("ingest", "registry", "returns"),
        ("profile", "keys", "is cancelled"),
        ("scoring", "publisher models", "raises"),
        ("personalize", "consumer", "is cancelled"),
    ],
)
async def test_the_real_process_ends_with_code_1_and_its_last_word_names_the_loop(
    service: str, name: str, how: str, installed: Installation
) -> None:
    code = BROKEN.format(service=service, name=name, does=ENDINGS[how])
    told = {**_environment(installed, service), f"TEMAS_{service.upper()}_PORT": str(free(1)[0])}
    argv: list[Any] = [sys.executable, "-c", code]

    def run() -> subprocess.CompletedProcess[str]:
        env = {**os.environ, **told}
        return subprocess.run(argv, cwd=ROOT, env=env, text=True, capture_output=True, check=False, timeout=120)

    ended = await asyncio.to_thread(run)
    assert ended.returncode == 1, ended.stderr
    (last,) = [line for line in ended.stderr.splitlines() if '"level": "critical"' in line]
    assert "this process ends, to be started again" in last
    assert f'"loop": "loop {name}"' in last
