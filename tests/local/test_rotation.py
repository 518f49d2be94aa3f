"""Logs stay small while their processes go on writing them."""

from __future__ import annotations

import asyncio
import errno
import shutil
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from deploy.local import rotation
from deploy.local.control import clear
from deploy.local.home import Home, earlier
from deploy.local.processes import Child, Command
from deploy.local.rotation import keep_small, rotate
from tests.waiting import until

LIMIT = 20_000

TALKS = (
    sys.executable, "-S", "-c",
    "import itertools, time\nfor n in itertools.count():\n print(f'line {n}', flush=True)\n time.sleep(.001)",
)  # fmt: skip


@pytest.fixture
async def home(tmp_path: Path) -> AsyncIterator[Home]:
    home = Home.at(tmp_path / "state")
    home.claim()
    yield home
    clear(home)


def numbers(log: Path) -> list[int]:
    return [int(line.removeprefix("line ")) for line in log.read_text().splitlines() if line]


async def test_a_log_is_cut_again_and_again_while_its_process_goes_on(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rotation, "LOG_LIMIT", LIMIT)
    monkeypatch.setattr(rotation, "EVERY", 0.01)
    child = await Child.start(Command("talks", TALKS), home)
    log, keeping = home.log_file("talks"), asyncio.create_task(keep_small(home))
    try:
        await until(lambda: numbers(earlier(log))[0] > 0)  # what was moved aside first is gone
        assert {each.name for each in home.logs.iterdir()} == {"talks.log", "talks.log.1"}
        so_far = numbers(earlier(log))[-1]
        await until(lambda: numbers(log)[-1] > so_far)
        assert "line " in child.said()
    finally:
        keeping.cancel()
        await child.stop()
    assert numbers(log) == sorted(set(numbers(log)))
    assert log.stat().st_mode & 0o777 == earlier(log).stat().st_mode & 0o777 == 0o600


async def test_nothing_is_lost_where_there_is_no_room_for_the_copy(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "no space left on device")

    log = home.log_file("kafka")
    log.write_text("what happened\n")
    monkeypatch.setattr(shutil, "copyfileobj", full)
    with pytest.raises(OSError, match="no space left"):
        rotate(log)
    assert log.read_text() == "what happened\n"
    assert list(home.logs.iterdir()) == [log]
