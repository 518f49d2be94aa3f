"""What an operator sees of a rebuild: how far it is, what differs, what was kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from services.profile.domain.rebuilt import Difference, Kept, Side
from shared.clock import rfc3339
from shared.logs import pseudonym
from shared.replay import Tally


class Rate(ProgressColumn):
    """Records a second."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.finished_speed or task.speed or 0:,.0f}/s")


class Screen:
    """On a terminal a line that moves, elsewhere a line now and then. On standard error.

    `show`: identifiers as they are. Without it a digest stands for each, since what is printed ends up in logs.
    """

    def __init__(self, *, show: bool = False) -> None:
        self.console = Console(stderr=True, highlight=False, soft_wrap=True)
        self.show = show

    def say(self, text: str) -> None:
        self.console.print(text, markup=False)

    @contextmanager
    def progress(self, name: str, total: int) -> Iterator[Callable[[int], None]]:
        """Gives what is to be told how many records were read. More than `total` may come: traffic goes on."""
        columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), Rate())
        with Progress(
            *columns, TimeRemainingColumn(), console=self.console, disable=not self.console.is_terminal
        ) as progress:
            task = progress.add_task(name, total=total)
            line = _Lines(self, name, total)

            def made(records: int) -> None:
                progress.advance(task, records)
                if not self.console.is_terminal:
                    line.made(records)

            yield made

    def tally(self, tally: Tally) -> None:
        self.say(f"{tally.read:,} records read: {tally.fresh:,} touchpoints, {tally.repeated:,} repeated")
        if tally.too_old:
            self.say(f"  {tally.too_old:,} were older than duplicates are known for when they came: left out, as then")
        if tally.unreadable:
            self.say(f"  {tally.unreadable:,} could not be read or absorbed: left out, as they were then")

    def kept(self, kept: Kept) -> None:
        if kept.identifiers:
            since = f"begins at {rfc3339(kept.before)}" if kept.before else "has nothing of it"
            self.say(
                f"The log no longer reaches back: it {since}. {kept.touchpoints:,} touchpoints of {kept.identifiers:,} "
                "identifiers, received before, could not be made anew and were kept as they are"
            )

    def differences(self, found: Iterable[Difference]) -> None:
        for each in found:
            if each.equal:
                self.say(f"{each.table}: equal")
                continue
            self.say(
                f"{each.table}: {each.here.count:,} rows only served, {each.there.count:,} only rebuilt, "
                f"{each.other.count:,} different"
            )
            for name, side in (("only served", each.here), ("only rebuilt", each.there), ("different", each.other)):
                self._samples(name, side)

    def _samples(self, name: str, side: Side) -> None:
        for key in side.samples:
            self.say(f"  {name}: {self._shown(key)}")

    def _shown(self, key: Sequence[str]) -> str:
        return " ".join(key) if self.show else pseudonym("\0".join(key))


class _Lines:
    """The progress of a rebuild whose output is no terminal: a line for each tenth."""

    def __init__(self, screen: Screen, name: str, total: int) -> None:
        self.screen = screen
        self.name = name
        self.total = max(total, 1)
        self.done = 0

    def made(self, records: int) -> None:
        before, self.done = 10 * self.done // self.total, self.done + records
        if 10 * self.done // self.total > before:
            self.screen.say(f"{self.name}: {self.done:,} of {self.total:,} records")
