"""What an operator sees of a search for duplicates."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from services.profile.domain.proposals import Found, Revision
from services.profile.service.matching.pool import ENOUGH_PAIRS, ENOUGH_PEOPLE, Looked

SHOWN = 10
"""How many of the likeliest are printed; the API gives all."""


def show(looked: Looked, revision: Revision, *, dry_run: bool) -> None:
    """Print what was found and how."""
    console = Console()
    for line in _notes(looked):
        console.print(line)
    if revision.open:
        console.print(_table(revision.open[:SHOWN]))
    told = "would be open" if dry_run else "are open"
    console.print(
        f"{len(revision.open):,} proposals {told}, {revision.new:,} of them new; {len(revision.gone):,} gone; "
        f"{revision.decided:,} pairs were decided before, {revision.apart:,} are apart by a ruling."
    )
    if not looked.complete:
        console.print("There are more: --limit says how many are proposed, and what is not among them was left alone.")


def _notes(looked: Looked) -> list[str]:
    notes = [
        f"{looked.described:,} profiles say who their people are; at most {looked.compared:,} pairs were compared."
    ]
    if not looked.chance:
        notes.append(f"Fewer than {ENOUGH_PEOPLE} people are too few to learn from: all weights are assumed ones.")
    elif not looked.agreement:
        notes.append(
            f"Fewer than {ENOUGH_PAIRS} obvious pairs are too few to learn from: how often the values of one person "
            "agree is assumed."
        )
    if looked.left_out:
        notes.append(
            f"Too many pairs agree in these alone, so they were not compared by: {'; '.join(looked.left_out)}."
        )
    return notes


def _table(found: tuple[Found, ...]) -> Table:
    table = Table("one", "other", "bits", "probability", "what speaks for it")
    for each in found:
        reasons = sorted((reason for reason in each.reasons if reason.bits > 0), key=lambda reason: -reason.bits)
        told = ", ".join(f"{reason.compared} {reason.says}" for reason in reasons[:3])
        table.add_row(str(each.one), str(each.other), f"{each.weight:.1f}", f"{each.probability:.4f}", told)
    return table
