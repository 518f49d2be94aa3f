"""The descriptions, put aside until all are there, and what is found among them."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, NamedTuple

from services.profile.domain.description import COLUMNS, Description
from services.profile.domain.proposals import Found
from services.profile.errors import ExtraMissing
from services.profile.service.matching.model import Model
from services.profile.service.matching.pairs import Pairs

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

MEMORY = "1GB"
"""What DuckDB may take; the rest of what it has to hold it puts on disk."""

ROOM = 20_000_000
"""How many pairs are compared at most: minutes, on two cores."""

ENOUGH_PEOPLE = 150
"""From so many on there are ten thousand random pairs, and how often values agree by chance is counted."""

ENOUGH_PAIRS = 50
"""From so many obvious pairs on it is learned how often the values of one person agree: to about seven in a hundred."""


class Looked(NamedTuple):
    """What was found, the heaviest first, and how: `compared` is how many pairs at most, `left_out` the rules that
    would have made too many; `complete` whether that is all there was. `chance` and `agreement`: whether how often
    values of two people, and of one, agree was learned rather than assumed.
    """

    found: tuple[Found, ...]
    described: int
    compared: int
    left_out: tuple[str, ...] = ()
    chance: bool = False
    agreement: bool = False
    complete: bool = True


class Pool:
    """Some people's descriptions."""

    def __init__(self, duck: DuckDBPyConnection) -> None:
        self.duck = duck
        duck.execute(f"CREATE TABLE described ({', '.join(f'{each} VARCHAR' for each in ('kind', 'value', *COLUMNS))})")

    def add(self, descriptions: Sequence[Description]) -> None:
        """Put `descriptions` to the others. A profile comes once."""
        import pyarrow  # noqa: PLC0415 - comes with the extra

        rows = {
            "kind": [each.named.kind for each in descriptions],
            "value": [each.named.value for each in descriptions],
            **{column: [getattr(each, column) for each in descriptions] for column in COLUMNS},
        }
        schema = pyarrow.schema([(each, pyarrow.string()) for each in rows])
        self.duck.register("arrived", pyarrow.table(rows, schema=schema))
        self.duck.execute("INSERT INTO described SELECT * FROM arrived")
        self.duck.unregister("arrived")

    def look(self, *, at_least: float, limit: int, room: int = ROOM) -> Looked:
        """The pairs that are one person's with a probability of `at_least`, the `limit` heaviest of them.

        The same descriptions give the same pairs: they are numbered in the order of their names, whatever order they
        came in, and what is sampled is sampled by a hash.
        """
        self.duck.execute(
            "CREATE OR REPLACE TABLE person AS "
            "SELECT row_number() OVER (ORDER BY kind, value) AS unique_id, * FROM described ORDER BY kind, value"
        )
        pairs = Pairs(self.duck)
        chosen = pairs.chosen(room)
        if not chosen.conditions:
            return Looked((), pairs.described, 0, chosen.left_out)

        chance = pairs.people >= ENOUGH_PEOPLE
        agreement = chance and pairs.obvious >= ENOUGH_PAIRS
        model = Model(self.duck, pairs, chosen.conditions, learned=chance)
        if chance:
            model.count_chance()
        if agreement:
            model.learn_agreement(ENOUGH_PAIRS)
        found = model.found(at_least, limit + 1)
        return Looked(
            found=found[:limit],
            described=pairs.described,
            compared=chosen.pairs,
            left_out=chosen.left_out,
            chance=chance,
            agreement=agreement,
            complete=len(found) <= limit,
        )


@contextmanager
def pool() -> Iterator[Pool]:
    """A pool for as long as the block lasts. Raises ExtraMissing where splink is not installed."""
    try:
        import duckdb  # noqa: PLC0415 - an optional extra
        import splink  # noqa: F401, PLC0415
    except ImportError as error:
        raise ExtraMissing(error.name or "splink") from error
    logging.getLogger("splink").setLevel(logging.ERROR)
    with (
        TemporaryDirectory(prefix="temas-duplicates-") as folder,
        duckdb.connect(str(Path(folder) / "pool.duckdb")) as duck,
    ):
        duck.execute(f"SET memory_limit = '{MEMORY}'")
        duck.execute("SET enable_progress_bar = false")
        duck.execute("SET autoinstall_known_extensions = false")  # it would fetch them from the internet
        yield Pool(duck)
