"""What is said of a file at the end."""

from __future__ import annotations

from collections.abc import Iterator

from services.ingest.service.importing.running import SHOWN, Run


def summary(name: str, run: Run, *, rehearsal: bool) -> str:
    """How many rows were taken and rejected, what was noticed, and the first rows that can't be used."""
    return "\n".join((_counts(name, run, rehearsal=rehearsal), *(f"  {line}" for line in _notices(run))))


def _counts(name: str, run: Run, *, rehearsal: bool) -> str:
    mark, tally = run.mark, run.tally
    verbs = ("could be taken", "would be rejected") if rehearsal else ("taken", "rejected")
    speed = f"{tally.rows:,} rows in {tally.seconds:.1f} s, {tally.rows / max(tally.seconds, 0.001):,.0f}/s"
    return f"{name}: {mark.taken:,} {verbs[0]}, {mark.rejected:,} {verbs[1]} ({speed})"


def _notices(run: Run) -> Iterator[str]:
    tally, table = run.tally, run.table
    if table.left_out:
        yield f"left out: {', '.join(sorted(table.left_out))} (--rest properties takes what is not mapped)"
    if tally.earlier:
        yield f"{tally.earlier:,} rows are from before --since, and left out"
    if tally.undated:
        yield f"{tally.undated:,} rows say no time, and count as of now (--map timestamp=COLUMN)"
    if tally.cut:
        yield f"{tally.cut:,} rows claim to come from the future, and count as of now: is --zone right?"
    if tally.departures:
        yield f"{tally.departures:,} rows depart from the tracking plan"
    for number, refused in tally.first:
        for reason in refused.reasons[:3]:
            if reason.code != "row":
                yield f"{table.unit} {number}: {reason.path}: {reason.message}"
    if run.rejected > len(tally.first) == SHOWN:
        yield f"... and {run.rejected - SHOWN:,} more, all in GET /v1/rejected"
