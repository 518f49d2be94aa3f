"""Which processes are ours, and that no other is ever touched."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from deploy.local.control import clear, halt
from deploy.local.errors import Refused
from deploy.local.home import Home
from deploy.local.processes import Child, Command, complaint, left_behind, marked, run_once, started_for
from tests.waiting import until

SLEEP = (sys.executable, "-S", "-c", "import time; time.sleep(3600)")
DEAF = (
    sys.executable, "-S", "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(3600)",
)  # fmt: skip
PARENT = (sys.executable, "-S", "-c", f"import subprocess, time; subprocess.Popen({SLEEP!r}); time.sleep(3600)")


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    home = Home.at(tmp_path / "state")
    home.claim()
    yield home
    clear(home)


@pytest.fixture
def stranger() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(SLEEP) as process:
        yield process
        process.kill()


async def test_a_child_is_known_by_its_pid_file_until_it_has_ended(home: Home) -> None:
    child = await Child.start(Command("dummy", SLEEP), home)
    known = started_for(home.pid_file("dummy"))
    assert known is not None
    assert known.pid == child.pid == int(home.pid_file("dummy").read_text())
    await child.stop()
    assert started_for(home.pid_file("dummy")) is None
    assert not home.pid_file("dummy").exists()


async def test_a_stale_pid_file_never_leads_to_somebody_elses_process(
    home: Home, stranger: subprocess.Popen[bytes]
) -> None:
    home.pid_file("dummy").write_text(f"{stranger.pid}\n")
    assert started_for(home.pid_file("dummy")) is None
    assert halt(home) is False
    assert stranger.poll() is None
    assert not home.pid_file("dummy").exists()


@pytest.mark.parametrize("content", ["", "not a number", "4194304999"])
async def test_a_damaged_pid_file_means_down(home: Home, content: str) -> None:
    home.pid_file("dummy").write_text(content)
    assert started_for(home.pid_file("dummy")) is None


async def test_another_stacks_process_of_the_same_name_is_not_ours(home: Home, tmp_path: Path) -> None:
    other = Home.at(tmp_path / "other")
    other.claim()
    child = await Child.start(Command("dummy", SLEEP), other)
    home.pid_file("dummy").write_text(f"{child.pid}\n")
    assert started_for(home.pid_file("dummy")) is None
    clear(home)
    assert started_for(other.pid_file("dummy")) is not None
    await child.stop()


async def test_what_was_left_behind_is_ended_even_without_its_pid_file(home: Home) -> None:
    child = await Child.start(Command("dummy", SLEEP), home)
    home.pid_file("dummy").unlink()
    assert [process.pid for process in left_behind(home)["dummy"]] == [child.pid]
    assert await asyncio.to_thread(halt, home) is True
    assert not left_behind(home)


async def test_what_was_left_behind_is_ended_even_where_it_was_paused(home: Home) -> None:
    child = await Child.start(Command("dummy", SLEEP), home)
    psutil.Process(child.pid).suspend()
    await asyncio.to_thread(clear, home)
    assert not left_behind(home)


async def test_a_process_that_does_not_hear_is_killed_after_its_patience(home: Home) -> None:
    child = await Child.start(Command("dummy", DEAF, patience=0.2), home)
    await until(lambda: "deaf" in child.said())
    await child.stop()
    assert await child.wait() == -signal.SIGKILL


async def test_children_of_a_process_that_was_killed_do_not_outlive_it(home: Home) -> None:
    child = await Child.start(Command("dummy", PARENT), home)
    await until(lambda: len(list(marked(home.pid_file("dummy")))) == 2)
    os.kill(child.pid, signal.SIGKILL)
    await child.wait()
    await child.stop()
    assert not list(marked(home.pid_file("dummy")))


async def test_a_command_that_fails_is_told_with_what_it_complained_of(home: Home) -> None:
    script = "import sys; print('line one'); sys.exit('FATAL: could not extend file')"
    with pytest.raises(
        Refused, match=r"dummy could not be made ready \(FATAL: could not extend file\): see .*dummy\.log"
    ):
        await run_once(Command("dummy", (sys.executable, "-S", "-c", script)), home)


async def test_a_program_that_is_not_there_is_told(home: Home) -> None:
    with pytest.raises(Refused, match="/no/such/program is not there"):
        await run_once(Command("dummy", ("/no/such/program",)), home)


@pytest.mark.parametrize(
    ("output", "code", "said"),
    [
        ("", 3, "it ended with code 3 and said nothing"),
        ("Error: no\n  and more\n", 1, "Error: no"),
        ("all well\nthen this.\n", 1, "then this"),
        ("ERROR: of another day\n", -9, "ended by SIGKILL"),
        (
            '{"event": "Traceback:\\n  line 1\\nOSError: gone", "level": "error"}\n{"event": "exiting"}\n',
            1,
            "OSError: gone",
        ),
    ],
)
def test_why_a_process_ended(output: str, code: int, said: str) -> None:
    assert complaint(output, code) == said
