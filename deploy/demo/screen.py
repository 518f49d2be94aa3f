"""What the demo prints: chapters, sentences, tables, progress. Pretty in a terminal, plain lines without one."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.padding import Padding
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from deploy.demo.tables import Sheet

PLAIN_WIDTH = 110
"""Columns without a terminal: what a log viewer shows without wrapping."""

PLAIN_STEPS = 4
"""Without a terminal, a long step says so many times how far it is."""

Advance = Callable[[int], None]
"""Takes how much is done by now, of the total."""


class Screen:
    """Where the story is told. Indentation sets what is said apart from the chapters' titles."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(highlight=False)
        if not self.console.is_terminal and "COLUMNS" not in os.environ:
            self.console.width = PLAIN_WIDTH

    def chapter(self, title: str) -> None:
        self.console.print()
        self.console.rule(Text(title, style="bold cyan"), align="left")

    def say(self, sentence: str, style: str = "") -> None:
        """A sentence, as it is."""
        self.console.print(Padding(Text(sentence, style=style), (0, 0, 0, 2), expand=False))

    def fail(self, reason: str) -> None:
        """Why it ends here."""
        self.console.print(Text(reason, style="red"))

    def show(self, sheet: Sheet) -> None:
        """Print `sheet`: its title, the table, the note."""
        table = Table()
        for column in sheet.columns:
            table.add_column(column.lstrip("#"), justify="right" if column.startswith("#") else "left")
        for row in sheet.rows:
            table.add_row(*(Text(cell) for cell in row))
        self.console.print()
        self.say(sheet.title, style="bold")
        self.console.print(Padding(table, (0, 0, 0, 2), expand=False))
        if sheet.note:
            self.say(sheet.note, style="dim italic")

    @contextmanager
    def progress(self, title: str, total: int) -> Iterator[Advance]:
        """Show how far a long step is. Gives what to call with the count done by now."""
        if self.console.is_terminal:
            with self._bar(title, total) as advance:
                yield advance
        else:
            yield self._lines(title, total)

    @contextmanager
    def waiting(self, title: str) -> Iterator[None]:
        """Show that something is under way whose length is not known, and at its end how long it took."""
        began = time.monotonic()
        if self.console.is_terminal:
            with self.console.status(f"  {title}"):
                yield
        else:
            yield
        self.say(f"{title}: {time.monotonic() - began:.1f} s")

    @contextmanager
    def _bar(self, title: str, total: int) -> Iterator[Advance]:
        columns = (TextColumn("  {task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=self.console) as progress:
            task = progress.add_task(title, total=total)
            yield lambda done: progress.update(task, completed=min(done, total))

    def _lines(self, title: str, total: int) -> Advance:
        began, shown = time.monotonic(), -1

        def advance(done: int) -> None:
            nonlocal shown
            step = min(done, total) * PLAIN_STEPS // max(total, 1)
            if step > shown:
                shown = step
                self.say(f"{title}: {min(done, total):,} of {total:,} after {time.monotonic() - began:.1f} s")

        return advance
