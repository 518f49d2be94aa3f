"""`python -m services.<name> dead-letters list|show|replay|discard`: in every service the same.

They work on the service's database. A replay is carried out by the running service: where none runs, when one starts.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
import typer
from pydantic import ValidationError

from shared import audit
from shared.clock import rfc3339, system_clock
from shared.db import Database
from shared.dead_letter_bodies import MOST
from shared.dead_letter_queue import DeadLetterQueue, Order
from shared.dead_letter_routes import replayed, whole
from shared.dead_letter_store import Selection
from shared.errors import TemasError
from shared.fix_bodies import FixBody
from shared.settings import DatabaseSettings, KafkaSettings

T = TypeVar("T")

REASON_SHOWN = 100
"""Characters of a reason in a list."""

Ids = Annotated[list[str] | None, typer.Argument(help="Ids of letters, as `list` shows them.")]
Topic = Annotated[str, typer.Option(help="Only records of this topic, such as touchpoints.")]
Everything = Annotated[bool, typer.Option("--all", help="All that wait, in place of ids.")]


class Refused(Exception):
    """A command that can't be carried out as it was typed; the text says how to type it."""


def dead_letter_commands(settings: Callable[[], tuple[DatabaseSettings, KafkaSettings]]) -> typer.Typer:
    """The commands of a service. `settings` reads the settings of its database and of Kafka from the environment."""
    commands = typer.Typer(help="Records that the service could not process.", no_args_is_help=True)

    def run(use: Callable[[DeadLetterQueue], Awaitable[T]]) -> T:
        """Use the queue. Ends with exit code 2 and a sentence where that can't be done."""

        async def used() -> T:
            database, kafka = settings()
            async with Database.open(database) as opened:
                return await use(DeadLetterQueue(opened, prefix=kafka.prefix, clock=system_clock))

        try:
            return asyncio.run(used())
        except (TemasError, Refused) as error:
            print(error, file=sys.stderr)
            sys.exit(2)

    @commands.command("list")
    def listed(
        topic: Topic = "",
        status: Annotated[str, typer.Option(help="waiting, ordered, replayed, discarded, or all.")] = "waiting",
        limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 50,
    ) -> None:
        """Show those that wait, newest first: id, when, where it stood, status, reason."""
        which = Selection(topic=topic, status="" if status == "all" else _status(status))
        for row in run(lambda queue: queue.page(which, None, limit)):
            where = f"{row.topic}/{row.partition}/{row.offset}"
            print(row.id, rfc3339(row.at), where, row.status, row.reason[:REASON_SHOWN].replace("\n", " "), sep="\t")

    @commands.command()
    def show(id: Annotated[str, typer.Argument(help="Of a letter, as `list` shows it.")]) -> None:
        """Show all of one, as JSON: the record, the whole reason, and what was tried."""
        print(_json(whole(run(lambda queue: queue.get(id)))))

    @commands.command()
    def replay(
        ids: Ids = None,
        *,
        topic: Topic = "",
        everything: Everything = False,
        set: Annotated[
            list[str] | None, typer.Option(help="Field=expression in CEL over `event`, to mend it; may be repeated.")
        ] = None,
        patch: Annotated[Path | None, typer.Option(help="A file with a JSON Patch (RFC 6902), to mend it.")] = None,
        body: Annotated[Path | None, typer.Option(help="A file with what to apply in place of one letter.")] = None,
        dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be applied, no more.")] = False,
        wait: Annotated[float, typer.Option(help="Seconds to wait for the running service to apply them.")] = 30.0,
    ) -> None:
        """Have the service apply them once more. Exit code 1: some could not be applied, or not within --wait."""

        async def carried_out(queue: DeadLetterQueue) -> dict[str, Any]:
            fix = _fix(set, patch, body, ids)
            order = _order(ids, topic, everything=everything, told={"fix": fix and fix.told()}, fix=fix)
            if not dry_run:
                return await replayed(queue, order, wait)
            tried = await queue.try_out(order)
            shown = [{"id": each.id, "mended": _shown(each.mended)} for each in tried]
            return {"failed": sum(not isinstance(each.mended, bytes) for each in tried), "ordered": 0, "would": shown}

        answer = run(carried_out)
        print(_json(answer))
        sys.exit(1 if answer["failed"] or answer["ordered"] else 0)

    @commands.command()
    def discard(ids: Ids = None, *, topic: Topic = "", everything: Everything = False) -> None:
        """Set aside those that nobody will replay. They are kept until they are too old."""
        print(run(lambda queue: queue.discard(_order(ids, topic, everything=everything, told={}))), "discarded")

    return commands


def _order(
    ids: list[str] | None, topic: str, *, everything: bool, told: dict[str, Any], fix: FixBody | None = None
) -> Order:
    if bool(ids) == (everything or bool(topic)):
        raise Refused("say which: ids, or --topic, or --all")
    select = {"ids": len(ids)} if ids else {"topic": topic}
    return Order(
        which=Selection(ids=ids or None, topic=topic),
        limit=MOST,
        actor=audit.of_operator(),
        told={"select": select, **told},
        fix=fix.read() if fix else None,
    )


def _fix(set: list[str] | None, patch: Path | None, body: Path | None, ids: list[str] | None) -> FixBody | None:
    """Raises Refused where it is none."""
    if not (set or patch or body):
        return None
    if body and len(ids or ()) != 1:
        raise Refused("--body takes the place of one record: give its id, alone")
    given: dict[str, Any] = {}
    try:
        if set:
            given["set"] = dict(each.split("=", 1) for each in set)
        if patch:
            given["patch"] = json.loads(patch.read_text())
        if body:
            given["body"] = json.loads(body.read_text())
        return FixBody.model_validate(given)
    except ValidationError as error:
        raise Refused("; ".join(each["msg"].removeprefix("Value error, ") for each in error.errors())) from None
    except (OSError, ValueError) as error:
        raise Refused(f"the fix can't be read: {error}") from None


def _status(word: str) -> Any:
    if word not in ("waiting", "ordered", "replayed", "discarded"):
        raise typer.BadParameter(f"{word!r} is none of waiting, ordered, replayed, discarded, all")
    return word


def _shown(mended: Any) -> Any:
    return msgspec.Raw(mended) if isinstance(mended, bytes) else mended


def _json(value: Any) -> str:
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
