"""Which pairs there are: the obvious ones, from which is learned, and those that are worth comparing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from services.profile.domain.description import COLUMNS
from services.profile.service.matching.likeness import (
    COMPARED,
    COMPARISONS,
    OBVIOUS,
    SHARED,
    SWAPPED_NAMES,
    Comparison,
    Rule,
)

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


class Chosen(NamedTuple):
    """The conditions by which pairs are compared, the rules that there was no room for, and how many `pairs` it makes.

    A pair that agrees in two rules is counted twice: `pairs` is never less than what is compared.
    """

    conditions: tuple[str, ...]
    left_out: tuple[str, ...]
    pairs: int


class Pairs:
    """The pairs of the table `person`.

    Makes the tables `obvious`, of the pairs that are obviously one person's, and `once`, of everybody but those who are
    obviously somebody else in it, too.
    """

    def __init__(self, duck: DuckDBPyConnection) -> None:
        self.duck = duck
        self.described = self.count("SELECT count(*) FROM person")
        counts = self.rows(f"SELECT {', '.join(f'count({each})' for each in COLUMNS)} FROM person")[0]
        self.told = {column for column, count in zip(COLUMNS, counts, strict=True) if count > 1}
        self.comparisons = tuple(each for each in COMPARISONS if self.told.intersection(each.needs))
        self.obvious = self._find_obvious()
        self.people = self._find_people()

    def chosen(self, room: int) -> Chosen:
        """What to compare, so that there are no more than `room` pairs. The narrow rules come first."""
        conditions, left_out, total = [], [], 0
        for rule in self.possible(COMPARED):
            count = self.agreeing(rule)
            if count > room - total:
                left_out.append(" and ".join(rule))
            elif count:
                conditions.append(agreement(rule))
                total += count
        if {"given_name", "surname"} <= self.told:
            conditions.append(SWAPPED_NAMES)
        return Chosen(tuple(conditions), tuple(left_out), total)

    def possible(self, rules: Sequence[Rule]) -> list[Rule]:
        """Those of `rules` whose columns are told at all."""
        return [rule for rule in rules if self.told.issuperset(rule)]

    def agreeing(self, rule: Rule) -> int:
        """How many pairs agree in `rule`."""
        return self.count(f"""
            SELECT coalesce(sum(n * (n - 1) // 2), 0)
            FROM (SELECT count(*) AS n FROM person WHERE {_told(rule)} GROUP BY {", ".join(rule)})
        """)

    def obvious_where(self, condition: str) -> int:
        """How many obvious pairs `condition` holds of, over the sides l and r."""
        return self.count(f"""
            SELECT count(*) FROM obvious
            JOIN person AS l ON l.unique_id = one JOIN person AS r ON r.unique_id = other WHERE {condition}
        """)

    def obviously_told(self, comparison: Comparison) -> int:
        """In how many obvious pairs both sides tell what is compared."""
        return self.obvious_where(" AND ".join(f"{_any(comparison, side)} IS NOT NULL" for side in ("l.", "r.")))

    def share(self, comparison: Comparison) -> float:
        """What part of people tell what is compared."""
        return self.count(f"SELECT count(*) FROM once WHERE {_any(comparison)} IS NOT NULL") / max(1, self.people)

    def count(self, statement: str) -> int:
        return int(self.rows(statement)[0][0])

    def rows(self, statement: str) -> list[Any]:
        return self.duck.execute(statement).fetchall()

    def _find_obvious(self) -> int:
        """Pairs that agree in a rule of OBVIOUS, by values that few have."""
        self.duck.execute("CREATE OR REPLACE TABLE agreed (one BIGINT, other BIGINT)")
        for rule in self.possible(OBVIOUS):
            columns = ", ".join(rule)
            self.duck.execute(f"""
                INSERT INTO agreed
                WITH few AS (
                    SELECT * FROM person WHERE {_told(rule)}
                    QUALIFY count(*) OVER (PARTITION BY {columns}) BETWEEN 2 AND {SHARED}
                )
                SELECT l.unique_id, r.unique_id FROM few AS l JOIN few AS r USING ({columns})
                WHERE l.unique_id < r.unique_id
            """)
        self.duck.execute("CREATE OR REPLACE TABLE obvious AS SELECT DISTINCT * FROM agreed ORDER BY one, other")
        return self.count("SELECT count(*) FROM obvious")

    def _find_people(self) -> int:
        self.duck.execute(
            "CREATE OR REPLACE TABLE once AS "
            "SELECT * FROM person WHERE unique_id NOT IN (SELECT other FROM obvious) ORDER BY unique_id"
        )
        return self.count("SELECT count(*) FROM once")


def agreement(rule: Rule) -> str:
    """That the sides l and r agree in `rule`."""
    return " AND ".join(f"l.{column} = r.{column}" for column in rule)


def _told(rule: Rule) -> str:
    return " AND ".join(f"{column} IS NOT NULL" for column in rule)


def _any(comparison: Comparison, side: str = "") -> str:
    return f"coalesce({', '.join(side + column for column in comparison.needs)})"
