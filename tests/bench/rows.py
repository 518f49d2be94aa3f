"""The table: what was measured, beside the limit found in the same run and the budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from tests.bench.load import Outcome
from tests.bench.wrk import Driven


@dataclass(frozen=True)
class Row:
    """One line. `limit` is what the machine gave, in this run, to `limited_by`; `share` is what we made of that."""

    what: str
    measured: str
    limit: str = ""
    share: str = ""
    budget: str = ""
    limited_by: str = ""


def per_second(count: float) -> str:
    return f"{count:,.0f} /s"


def milliseconds(outcome: Outcome | Driven) -> str:
    """p50 and p99."""
    return " / ".join(f"{1000 * outcome.percentile(percent):.1f}" for percent in (50, 99)) + " ms"


def microseconds(seconds: float) -> str:
    """Of a core."""
    return f"{1e6 * seconds:,.0f} µs"


def megabytes(count: int) -> str:
    return f"{count / 2**20:.0f} MB"


def share(part: float, whole: float) -> str:
    return f"{100 * part / whole:.0f} %" if whole else ""


def show(console: Console, rows: Sequence[Row], note: str) -> None:
    table = Table(caption=note, caption_justify="left")
    table.add_column("what")
    for name in ("measured", "limit of this run", "share", "budget"):
        table.add_column(name, justify="right")
    table.add_column("the limit is that of")
    for row in rows:
        if row.what or row.measured or row.limit:
            table.add_row(row.what, row.measured, row.limit, row.share, row.budget, row.limited_by)
    console.print(table)
