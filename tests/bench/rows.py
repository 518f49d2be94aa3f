"""The table: what was measured, beside the limit found in the same run and the budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True)
class Row:
    """One line. `limit` is what the machine gave, in this run, to the least that could do the same; `share` of it."""

    what: str
    measured: str
    limit: str = ""
    share: str = ""
    budget: str = ""


def per_second(count: float) -> str:
    return f"{count:,.0f} /s"


def milliseconds(*seconds: float) -> str:
    """p50 and p99."""
    return " / ".join(f"{1000 * each:.1f}" for each in seconds) + " ms"


def share(part: float, whole: float) -> str:
    return f"{100 * part / whole:.0f} %" if whole else ""


def show(console: Console, rows: Sequence[Row], note: str) -> None:
    table = Table(caption=note, caption_justify="left")
    table.add_column("what")
    for name in ("measured", "limit of this run", "share", "budget"):
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(row.what, row.measured, row.limit, row.share, row.budget)
    console.print(table)
