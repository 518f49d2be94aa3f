"""The supervisor, with small programs: order by readiness, restarts, and an end within seconds."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from deploy.local import program
from deploy.local.control import clear
from deploy.local.errors import NotReady, Refused
from deploy.local.home import Home
from deploy.local.processes import Command, left_behind
from deploy.local.program import Program, Stage, Task
from deploy.local.report import Board, Report, read
from deploy.local.supervisor import Pauses, Supervisor
from tests.waiting import in_time, until

QUICK = Pauses(first=0.01, longest=0.02, ask_every=0.02, idle=0.2)

# Writes down that it began, serves after a moment, writes down that it was asked to end.
SCRIPT = """
import signal, sys, time
name, diary, served = sys.argv[1:]
def note(what):
    with open(diary, "a") as file:
        file.write(f"{name} {what}\\n")
def end(*_):
    note("ended")
    sys.exit()
signal.signal(signal.SIGTERM, end)
note("began")
time.sleep(0.1)
note("served")
open(served, "w").close()
time.sleep(3600)
"""


class Bench:
    """A state folder, small programs, and the diary that they write."""

    def __init__(self, folder: Path) -> None:
        self.home = Home.at(folder / "state")
        self.home.claim()
        self.diary = folder / "diary"
        self.diary.touch()

    def served(self, name: str) -> Path:
        """The file that says whether the program `name` does its work."""
        return self.home.path / f"{name}.served"

    def program(self, name: str, script: str = SCRIPT, patience: float = 5.0, data: Path | None = None) -> Program:
        served = self.served(name)

        async def ready() -> None:
            if not served.exists():
                raise NotReady("not yet")

        async def prepare() -> None:
            served.unlink(missing_ok=True)

        argv = (sys.executable, "-S", "-c", script, name, str(self.diary), str(served))
        return Program(name, Command(name, argv, patience=patience), 1, ready, prepare, data)

    def task(self, name: str) -> Task:
        async def run() -> None:
            self.note(f"{name} done")

        return Task(name, run)

    def note(self, line: str) -> None:
        with self.diary.open("a") as file:
            file.write(f"{line}\n")

    @property
    def lines(self) -> list[str]:
        return self.diary.read_text().splitlines()

    @property
    def report(self) -> Report:
        report = read(self.home)
        assert report is not None
        return report

    @asynccontextmanager
    async def supervised(self, *stages: Stage) -> AsyncIterator[None]:
        """The stages, up; asked to end after the block, as by `make down`."""
        running = asyncio.create_task(Supervisor(self.home, stages, Board(self.home), QUICK).run())
        await until(lambda: running.done() or self.report.phase == "up")
        if not running.done():
            yield
            os.kill(os.getpid(), signal.SIGTERM)
        await running


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    bench = Bench(tmp_path)
    Board(bench.home).say("about to begin")
    yield bench
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().remove_signal_handler(number)
    clear(bench.home)


async def test_a_stage_starts_when_all_of_the_one_before_is_ready(bench: Bench) -> None:
    async with bench.supervised([bench.program("server")], [bench.task("roles")], [bench.program("service")]):
        assert bench.lines == ["server began", "server served", "roles done", "service began", "service served"]
        assert [step.state for step in bench.report.steps] == ["done"] * 3


async def test_the_end_comes_in_the_reverse_order(bench: Bench) -> None:
    async with bench.supervised([bench.program("server")], [bench.program("service")]):
        pass
    assert bench.lines[-2:] == ["service ended", "server ended"]
    assert not left_behind(bench.home)


async def test_a_program_that_is_killed_is_started_again_and_the_others_stay(bench: Bench) -> None:
    async with bench.supervised([bench.program("server"), bench.program("service")]):
        before = bench.report.programs
        os.kill(before["service"].pid or 0, signal.SIGKILL)
        await until(lambda: bench.report.programs["service"].restarts == 1)
        await until(lambda: bench.report.programs["service"].ready)
        after = bench.report.programs
        assert after["service"].pid not in (None, before["service"].pid)
        assert after["server"] == before["server"]


async def test_a_program_that_does_no_work_for_a_while_is_shown_as_such_and_let_alone(bench: Bench) -> None:
    async with bench.supervised([bench.program("service")]):
        before = bench.report.programs["service"]
        bench.served("service").unlink()
        await until(lambda: not bench.report.programs["service"].ready)
        assert bench.report.unready == ["service"]
        await asyncio.sleep(3 * QUICK.idle)
        bench.served("service").touch()
        await until(lambda: bench.report.programs["service"].ready)
        assert bench.report.programs["service"] == before


async def test_a_server_that_does_no_work_though_its_disk_has_room_is_started_again(bench: Bench) -> None:
    async with bench.supervised([bench.program("server", data=bench.home.path)]):
        before = bench.report.programs["server"]
        bench.served("server").unlink()
        await until(lambda: bench.report.programs["server"].restarts == 1)
        await until(lambda: bench.report.programs["server"].ready)
        assert bench.report.programs["server"].pid not in (None, before.pid)


async def test_a_server_whose_disk_is_full_is_not_started_again_for_that(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with bench.supervised([bench.program("server", data=bench.home.path)]):
        monkeypatch.setattr(program, "ROOM", 2**62)
        bench.served("server").unlink()
        await until(lambda: not bench.report.programs["server"].ready)
        await asyncio.sleep(3 * QUICK.idle)
        assert bench.report.programs["server"].restarts == 0
        monkeypatch.undo()
        await until(lambda: bench.report.programs["server"].restarts == 1)


async def test_a_server_that_somebody_has_paused_is_let_alone_until_it_goes_on(bench: Bench) -> None:
    async with bench.supervised([bench.program("server", data=bench.home.path)]):
        before = bench.report.programs["server"]
        os.kill(before.pid or 0, signal.SIGSTOP)
        bench.served("server").unlink()
        await until(lambda: not bench.report.programs["server"].ready)
        await asyncio.sleep(3 * QUICK.idle)
        assert bench.report.programs["server"].pid == before.pid
        os.kill(before.pid or 0, signal.SIGCONT)
        await until(lambda: bench.report.programs["server"].restarts == 1)


async def test_a_program_that_ends_again_and_again_before_it_serves_ends_the_start_with_the_reason(
    bench: Bench,
) -> None:
    broken = bench.program("service", "import sys; sys.exit('ImportError: no module named temas')")
    with pytest.raises(
        Refused, match=r"service ended 3 times before it was ready \(ImportError: no module named temas\)"
    ):
        async with bench.supervised([bench.program("server")], [broken]):
            pytest.fail("it came up")
    assert bench.lines[-1] == "server ended"
    assert not left_behind(bench.home)


async def test_a_task_that_fails_ends_the_start(bench: Bench) -> None:
    async def fail() -> None:
        raise Refused("no roles today")

    with pytest.raises(Refused, match="no roles today"):
        async with bench.supervised([bench.program("server")], [Task("roles", fail)], [bench.program("service")]):
            pytest.fail("it came up")
    assert bench.lines == ["server began", "server served", "server ended"]


async def test_a_program_that_does_not_hear_delays_the_end_by_its_patience_only(bench: Bench) -> None:
    deaf = SCRIPT.replace("signal.signal(signal.SIGTERM, end)", "signal.signal(signal.SIGTERM, signal.SIG_IGN)")
    async with bench.supervised([bench.program("service", deaf, patience=0.3)]):
        pass
    assert not left_behind(bench.home)


async def test_it_can_be_asked_to_end_while_it_still_starts(bench: Bench) -> None:
    never = bench.program("service", "import time; time.sleep(3600)")
    running = asyncio.create_task(Supervisor(bench.home, [[never]], Board(bench.home), QUICK).run())
    await until(lambda: "service" in left_behind(bench.home))
    os.kill(os.getpid(), signal.SIGTERM)
    await in_time(running)
    assert not left_behind(bench.home)


def test_pauses_grow_to_a_limit_and_start_again_for_what_has_lasted() -> None:
    pauses, pause, seen = Pauses(), None, []
    for _ in range(7):
        pause = pauses.next(pause, lasted=1)
        seen.append(pause)
    assert seen == [0.5, 1, 2, 4, 8, 15, 15]
    assert pauses.next(pause, lasted=31) == 0.5
