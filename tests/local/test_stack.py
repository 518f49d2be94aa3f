"""The whole stack as a person has it: up, broken in every way, up again, down."""

from __future__ import annotations

import dataclasses
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from deploy.local.home import Home
from deploy.local.processes import left_behind
from deploy.local.report import read
from deploy.local.settings import SERVICES
from tests.servers import Stack, started_stack
from tests.waiting import PATIENCE, until

pytestmark = pytest.mark.e2e

PROGRAMS = ("postgres", "kafka", *SERVICES)


@pytest.fixture(scope="module")
def mine() -> Iterator[Stack]:
    """A stack of these tests' own, because they break it."""
    with started_stack() as stack:
        yield stack


def pids(stack: Stack) -> dict[str, int]:
    return {name: stack.process(name).pid for name in PROGRAMS}


def restarts(stack: Stack, name: str) -> int:
    report = read(stack.home)
    assert report is not None
    return report.programs[name].restarts


def test_every_service_takes_traffic_where_local_env_says(mine: Stack) -> None:
    for service in SERVICES:
        assert httpx.get(f"{mine.url(service)}/readyz", trust_env=False, timeout=PATIENCE).status_code == httpx.codes.OK


def test_each_running_process_has_the_secrets_that_it_uses_and_no_others(mine: Stack) -> None:
    told = mine.environment
    secrets = {
        "TEMAS_SECRET_KEY": SERVICES,
        "TEMAS_KEY_SIGNING_SECRET": SERVICES,
        "TEMAS_WRITE_KEY": ("ingest",),
        "TEMAS_USER_TOKEN_SECRET": ("ingest", "personalize"),
        "TEMAS_DATABASE_URL": (),
        **{f"TEMAS_{service.upper()}_DATABASE_URL": (service,) for service in SERVICES},
    }
    for name in PROGRAMS:
        values = set(mine.process(name).environ().values())
        for secret, users in secrets.items():
            assert (told[secret] in values) == (name in users), (name, secret)


def test_up_again_changes_nothing_and_says_so(mine: Stack) -> None:
    before = pids(mine)
    assert "Everything was up already" in mine.make("up").stdout
    assert pids(mine) == before


def test_another_stack_on_the_same_ports_is_refused_in_one_sentence(mine: Stack, tmp_path: Path) -> None:
    other = dataclasses.replace(mine, home=Home.at(tmp_path / "other"))
    refused = other.make("up", check=False)
    assert refused.returncode == 1
    assert refused.stderr.startswith("Port ")
    assert "TEMAS_PORT_OFFSET=100 make up" in refused.stderr
    assert refused.stderr.count("\n") == 1


@pytest.mark.parametrize("name", ["postgres", "kafka", "ingest"])
async def test_what_is_killed_is_started_again(mine: Stack, name: str) -> None:
    before, so_far = pids(mine), restarts(mine, name)
    mine.signal(name, signal.SIGKILL)
    await until(lambda: restarts(mine, name) > so_far)
    await until(lambda: mine.make("status", check=False).returncode == 0)
    after = pids(mine)
    assert [each for each in PROGRAMS if after[each] != before[each]] == [name]


def test_a_supervisor_that_is_killed_leaves_nothing_that_up_does_not_put_right(mine: Stack) -> None:
    mine.signal("supervisor", signal.SIGKILL)
    mine.signal("kafka", signal.SIGKILL)
    assert mine.make("status", check=False).returncode == 3
    mine.make("up")
    assert mine.make("status").returncode == 0


def test_down_ends_everything_and_up_finds_what_was_there(mine: Stack) -> None:
    keys = mine.environment
    mine.make("down")
    assert not left_behind(mine.home)
    assert mine.make("status", check=False).returncode == 3
    mine.make("up")
    assert mine.environment == keys
