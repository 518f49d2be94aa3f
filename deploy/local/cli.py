"""The local stack: PostgreSQL, Kafka and the four services on this machine, without Docker."""

from __future__ import annotations

import sys
import time
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from deploy.local.checks import free_disk
from deploy.local.control import follow, halt, launch
from deploy.local.errors import Refused, sentence
from deploy.local.home import Home
from deploy.local.settings import Settings
from deploy.local.show import UP, Climb, addresses, rows, table
from deploy.local.tail import added_lines, last_lines

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False)
console = Console()

NOT_ALL_UP = 3
"""The exit code of `status`, as of `systemctl status`, where something is not up."""

INTERRUPTED = 130


@app.command()
def up() -> None:
    """Start everything that is not up, and return when all of it serves."""
    settings = Settings.from_environment()
    home = Home.at(settings.home)
    home.claim()
    ours, began = not home.is_supervised(), time.monotonic()
    if ours:
        free_disk(home.path)
    try:
        climbed = _climb(home, settings)
    except KeyboardInterrupt:
        if ours:
            halt(home)
            console.print("Interrupted: everything has ended.")
        raise typer.Exit(INTERRUPTED) from None
    took = f"Everything is up,[/] {time.monotonic() - began:.1f} s."
    console.print(f"[green]{took if climbed else 'Everything was up already.[/]'}")
    console.print(addresses(home), highlight=False)


def _climb(home: Home, settings: Settings) -> bool:
    """Show the stack on its way up. Whether there was any way to go."""
    with console.status("starting") as status:
        reports = follow(home, launch(home, settings))
        if next(reports).is_up:
            return False
        climb = Climb(console, status)
        for report in reports:
            climb.show(report)
        return True


@app.command()
def down() -> None:
    """End everything, services first, so that no accepted event is lost."""
    home, began = Home.at(Settings.from_environment().home), time.monotonic()
    with console.status("ending"):
        found = halt(home)
    console.print(f"Everything has ended, {time.monotonic() - began:.1f} s." if found else "Nothing was up.")


@app.command()
def status() -> None:
    """Show what runs. Exit code 3 where something is not up."""
    found = rows(Home.at(Settings.from_environment().home))
    console.print(table(found))
    for row in found:
        if row.why:
            console.print(f"{row.name} is {row.state}: {row.why}", markup=False, highlight=False, soft_wrap=True)
    if any(row.state != UP for row in found):
        raise typer.Exit(NOT_ALL_UP)


@app.command()
def logs(
    name: Annotated[str | None, typer.Argument(help="Of which process; all where none is named.")] = None,
    follow_on: Annotated[bool, typer.Option("--follow", "-f", help="Go on as lines are added.")] = False,
) -> None:
    """Show the end of the logs."""
    home = Home.at(Settings.from_environment().home)
    found = {log.stem: log for log in sorted(home.logs.glob("*.log"))}
    if not found:
        raise Refused(f"There are no logs in {home.path}: type make up first.")
    if name is not None and name not in found:
        raise Refused(f"There is no log of {name}: name one of {', '.join(found)}.")
    chosen = {name: found[name]} if name is not None else found
    for each, log in chosen.items():
        for line in last_lines(log):
            _print_line(each, line, alone=name is not None)
    if follow_on:
        for each, line in added_lines(chosen):
            _print_line(each, line, alone=name is not None)


@app.command()
def reset() -> None:
    """End everything and delete the state folder: databases, topics, keys, logs."""
    home = Home.at(Settings.from_environment().home)
    if not home.path.exists():
        console.print(f"{home.path} is not there: nothing to delete.")
        return
    with console.status("ending"):
        home.check_ours()
        halt(home)
        home.delete()
    console.print(f"{home.path} is deleted.")


def _print_line(name: str, line: str, *, alone: bool) -> None:
    prefix = "" if alone else f"{name:<12} "
    console.print(Text.assemble((prefix, "cyan"), line), soft_wrap=True)


def main() -> None:
    """Run the command line; what can't be done is said in one sentence, with exit code 1."""
    try:
        app(prog_name="python -m deploy.local")
    except (Refused, OSError) as error:
        Console(stderr=True, soft_wrap=True).print(f"[red]{sentence(error)}[/]", highlight=False)
        sys.exit(1)
