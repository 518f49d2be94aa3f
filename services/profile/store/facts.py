"""Which tables follow from the log, and can be made anew from it. What is added here is rebuilt with the others.

Everything else stays as it is when they are exchanged:

- what people said: `ruling`, `segment`, `computed_definition` with its `generation`, what was decided on a
  `proposal`, and who changed what of it (`audit`). A proposal names its two by identifiers, so it follows them wherever
  they are now;
- what comes from elsewhere: `score`; and what only time does: `retention`;
- what was told, and to whom: `profile` (versions never go back, and redirects are settled with who moves), `signal`,
  `segment_count`, `segment_change`;
- what is written with each publication, from facts: `view` (with `due_at`), `segment_member`, `group_member`. They
  follow where something differs, because its profiles are marked then (`shows`);
- how far the log was read: `stream_offset`, `event_seen`.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from sqlalchemy import JSON, Table

from services.profile import tables


class Fact(NamedTuple):
    """A table, and how two versions of it are held against each other.

    `owner`: the columns of the identifier whose touchpoints make a row; None: no single one's, and then the whole table
    is kept where the log no longer reaches back. `beside`: columns that do not follow from the log. `recent`: what
    retention has not passed, as SQL of :since and :month. `counts`: which rows matter at all, as SQL; others are being
    deleted. `shows`: whether views follow from it. `kept`, where the log no longer reaches back: of whom more is known
    than it says, `whole` is kept; of `all` rows those that it lacks; the `earliest` of both; or it follows from the
    others (`after`).
    """

    table: Table
    owner: tuple[str, str] | None = ("kind", "value")
    beside: tuple[str, ...] = ()
    recent: str = "true"
    counts: str = "true"
    shows: bool = True
    kept: Literal["whole", "all", "earliest", "after"] = "whole"

    @property
    def name(self) -> str:
        return self.table.name

    @property
    def key(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.table.primary_key)

    @property
    def content(self) -> tuple[tuple[str, bool], ...]:
        """What beside the key is compared, each with whether it is JSON."""
        rest = (column for column in self.table.columns if column.name not in (*self.key, *self.beside))
        return tuple((column.name, isinstance(column.type, JSON)) for column in rest)


FACTS = (
    Fact(tables.FRAGMENT),
    Fact(tables.EDGE, owner=("owner_kind", "owner_value"), shows=False, kept="earliest"),
    Fact(tables.TIMELINE, beside=("generation",), recent="at >= :since", shows=False, kept="all"),
    Fact(tables.PRESENCE, recent="month >= :month", shows=False, kept="after"),
    Fact(tables.IDENTIFIER, beside=("joined",), kept="after"),
    Fact(
        tables.COMPUTED_PART,
        counts="(trait, revision) IN "
        "(SELECT id, revision FROM computed_definition WHERE phase IN ('showing', 'ready'))",
    ),
    Fact(tables.GROUP_FRAGMENT, owner=None, shows=False),
)

COPIED = ("ruling", "retention")
"""Tables that are not in the log and that absorbing reads: a rebuild begins with them, and takes them over again."""

FUNCTIONS = ("note_presence",)
"""Functions of triggers on the tables above: they name a schema, and go where their tables go."""
