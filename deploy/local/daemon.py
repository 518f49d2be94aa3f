"""The supervisor as a process: one for each state folder. `control.launch` starts it, marked, and so finds it again."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from deploy.local.control import SUPERVISOR, clear
from deploy.local.errors import Refused, sentence
from deploy.local.home import Home, write_private
from deploy.local.report import Board
from deploy.local.rotation import keep_small
from deploy.local.settings import Settings
from deploy.local.stack import Stack
from deploy.local.supervisor import Supervisor

log = logging.getLogger(__name__)


def supervise(settings: Settings) -> None:
    """Bring the stack of `settings` up and keep it up until SIGTERM.

    What makes that impossible is raised, and told in the report. Raises Refused where the stack has a supervisor.
    """
    home = Home.at(settings.home)
    home.claim()
    with home.supervised(), _own_pid_file(home):
        board = Board(home)
        try:
            board.say("looking around")
            clear(home)
            stack = Stack.of(settings)
            stack.make_ready(board.say)
            asyncio.run(_supervised(Supervisor(home, stack.stages(), board), home))
        except (Refused, OSError) as error:
            board.failed(sentence(error))
            raise
        except Exception as error:
            board.failed(f"The supervisor failed, and should not have ({error!r}): see {home.log_file(SUPERVISOR)}.")
            raise


async def _supervised(supervisor: Supervisor, home: Home) -> None:
    """Let `supervisor` run to its end, and keep the logs small meanwhile."""
    keeping = asyncio.create_task(keep_small(home))
    try:
        await supervisor.run()
    finally:
        keeping.cancel()


@contextmanager
def _own_pid_file(home: Home) -> Iterator[None]:
    pid_file = home.pid_file(SUPERVISOR)
    write_private(pid_file, f"{os.getpid()}\n")
    try:
        yield
    finally:
        pid_file.unlink(missing_ok=True)


def main() -> None:
    logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # it reports every try to reach a Kafka that still starts
    try:
        supervise(Settings.from_environment())
    except (Refused, OSError) as error:
        log.error("%s", sentence(error))  # noqa: TRY400 - a sentence for a person, not a traceback
        sys.exit(1)


if __name__ == "__main__":
    main()
