"""What the person sees while a file is imported: how far it is, how fast, and what it waits for."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeRemainingColumn


class Bar:
    """On a terminal, a line that moves; elsewhere only what has to be said. On standard error."""

    def __init__(self, name: str, total: int | None) -> None:
        self.console = Console(stderr=True, highlight=False, soft_wrap=True)
        self.progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[rows]:,} rows, {task.fields[speed]:,.0f}/s"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[waiting]}", style="yellow", markup=False),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self.task: TaskID = self.progress.add_task(name, total=total, rows=0, speed=0.0, waiting="")
        self.waiting = ""

    def stop(self) -> None:
        """The line moves no more; what is said from now on stands below it."""
        self.progress.stop()

    def __enter__(self) -> Self:
        self.progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.progress.stop()

    def moved(self, read: int, rows: int, speed: float) -> None:
        """`read` of the file, in the unit of its total; `rows` acknowledged, so many a second."""
        self.progress.update(self.task, completed=read, rows=rows, speed=speed)

    def waits(self, why: str) -> None:
        if not self.waiting and not self.console.is_terminal:
            self.say(why)
        self.waiting = why
        self.progress.update(self.task, waiting=why)

    def goes_on(self) -> None:
        if self.waiting:
            self.waiting = ""
            self.progress.update(self.task, waiting="")

    def say(self, text: str) -> None:
        self.console.print(text, markup=False)
