"""Finding who is likely there twice: probabilistic linkage (Fellegi & Sunter 1969, learned by EM), by splink on DuckDB.

Nothing is labelled: how often values of two people agree is counted on random pairs, how often those of one person do
is learned by expectation maximisation among pairs that agree in something personal. The same descriptions give the same
pairs: they are put in order first, and what is sampled is sampled by a hash.

Both libraries are an optional extra, so they are imported here alone, where they are used. They work in a file of a
temporary folder with bounded memory, and nothing is left there.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

from services.profile.domain.description import COLUMNS, Description
from services.profile.domain.proposals import Found, Pair, Reason
from services.profile.errors import ExtraMissing
from services.profile.service.likeness import (
    COMPARED,
    COMPARISONS,
    DIFFERS,
    LEARNED,
    OBVIOUS,
    OBVIOUSLY_FOUND,
    SHARED,
    SWAPPED_NAMES,
    Comparison,
    Rule,
)

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

MEMORY = "1GB"
"""What DuckDB may take; the rest of what it has to hold it puts on disk."""

PAIRS = 20_000_000
"""How many pairs are compared at most: about two minutes on two cores."""

SAMPLED = 2_000_000
"""Random pairs on which is counted how often values of two people agree: one in a million is seen about twice."""

LEARNED_FROM = 1_000_000
"""Pairs that one round of learning looks at, at most."""

ENOUGH_PEOPLE = 150
"""From so many on there are ten thousand random pairs, and how often values agree by chance is counted."""

ENOUGH_PAIRS = 50
"""From so many obvious pairs on it is learned how often the values of one person agree: to about seven in a hundred."""

UNLEARNED = 1e-4
"""How likely two people are one before anything is compared, where there are too few to tell."""

NEVER_SEEN = 0.5
"""What counts as seen where something was never seen: half of one. Of nothing it can be said that it can't be."""


class Looked(NamedTuple):
    """What was found, and how: `left_out` are rules that would have made too many pairs; `complete` whether that is
    all that was found. `chance` and `agreement`: whether they were learned rather than assumed.
    """

    found: tuple[Found, ...]
    described: int
    compared: int
    left_out: tuple[str, ...] = ()
    chance: bool = False
    agreement: bool = False
    complete: bool = True


class Pool:
    """Descriptions, put aside until all are there."""

    def __init__(self, duck: DuckDBPyConnection) -> None:
        self.duck = duck
        columns = ", ".join(f"{each} VARCHAR" for each in ("profile_id", *COLUMNS))
        duck.execute(f"CREATE TABLE described ({columns})")

    def add(self, descriptions: Sequence[Description]) -> None:
        """Put `descriptions` to the others. A profile comes once."""
        import pyarrow  # noqa: PLC0415 - comes with the extra

        rows = {each: [getattr(one, each) for one in descriptions] for each in ("profile_id", *COLUMNS)}
        schema = pyarrow.schema([(each, pyarrow.string()) for each in rows])
        self.duck.register("arrived", pyarrow.table(rows, schema=schema))
        self.duck.execute("INSERT INTO described SELECT * FROM arrived")
        self.duck.unregister("arrived")

    def look(self, *, at_least: float, limit: int, pairs: int = PAIRS) -> Looked:
        """The pairs that are one person's with a probability of `at_least`, the `limit` heaviest of them."""
        # Numbered in the order of their ids, whatever order they came in.
        self.duck.execute(
            "CREATE OR REPLACE TABLE person AS "
            "SELECT row_number() OVER (ORDER BY profile_id) AS unique_id, * FROM described ORDER BY profile_id"
        )
        return Search(self.duck).run(at_least, limit, pairs)


@contextmanager
def pool() -> Iterator[Pool]:
    """A pool for as long as the block lasts. Raises ExtraMissing where splink is not installed."""
    try:
        import duckdb  # noqa: PLC0415 - an optional extra
        import splink  # noqa: F401, PLC0415
    except ImportError as error:
        raise ExtraMissing(error.name or "splink") from error
    logging.getLogger("splink").setLevel(logging.ERROR)
    with TemporaryDirectory(prefix="temas-duplicates-") as folder:
        with duckdb.connect(str(Path(folder) / "pool.duckdb")) as duck:
            duck.execute(f"SET memory_limit = '{MEMORY}'")
            duck.execute("SET enable_progress_bar = false")
            yield Pool(duck)


class Search:
    """One search in the table `person`."""

    def __init__(self, duck: DuckDBPyConnection) -> None:
        self.duck = duck
        self.people = self._count("SELECT count(*) FROM person")
        counted = ", ".join(f"count(DISTINCT {each})" for each in COLUMNS)
        different = self._rows(f"SELECT {counted} FROM person")[0]
        # What nobody has, or all have alike, says nothing.
        self.told = {column for column, count in zip(COLUMNS, different, strict=True) if count > 1 or self.people <= 2}
        self.comparisons = [each for each in COMPARISONS if self.told & set(each.needs)]

    def run(self, at_least: float, limit: int, pairs: int) -> Looked:
        obvious = self._find_obvious()
        rules, left_out, compared = self._choose(pairs)
        if not rules or not self.comparisons:
            return Looked((), self.people, 0, left_out)
        chance, agreement = self._people() >= ENOUGH_PEOPLE, obvious >= ENOUGH_PAIRS
        model = self._model(rules, self._prior(obvious) if chance else UNLEARNED, rare=chance)
        if chance:
            model = self._count_chance(model)
        if chance and agreement:
            model = self._learn_agreement(model)
        found = self._predict(model, at_least, limit + 1)
        return Looked(
            found[:limit], self.people, compared, left_out, chance, chance and agreement, complete=len(found) <= limit
        )

    # --- pairs -------------------------------------------------------------------------------------------------------

    def _find_obvious(self) -> int:
        """Make the table `obvious` of pairs that agree in a rule of OBVIOUS, by values that few have; count them."""
        self.duck.execute("CREATE OR REPLACE TABLE obvious (one BIGINT, other BIGINT)")
        for rule in self._possible(OBVIOUS):
            columns = ", ".join(rule)
            self.duck.execute(f"""
                INSERT INTO obvious
                WITH few AS (
                    SELECT * FROM person WHERE {_told(rule)}
                    QUALIFY count(*) OVER (PARTITION BY {columns}) BETWEEN 2 AND {SHARED}
                )
                SELECT l.unique_id, r.unique_id FROM few AS l JOIN few AS r USING ({columns})
                WHERE l.unique_id < r.unique_id
            """)
        return self._count("SELECT count(*) FROM (SELECT DISTINCT one, other FROM obvious)")

    def _people(self) -> int:
        """Make the view `once`, of everybody but those who are obviously somebody else too; count it."""
        self.duck.execute(
            "CREATE OR REPLACE TABLE once AS SELECT * FROM person "
            "WHERE unique_id NOT IN (SELECT other FROM obvious) ORDER BY unique_id"
        )
        return self._count("SELECT count(*) FROM once")

    def _choose(self, room: int) -> tuple[list[str], tuple[str, ...], int]:
        """The rules by which pairs are compared, those for which there was no room, and how many pairs that makes.

        A pair that agrees in two rules is counted twice: the sum is never less than what is compared.
        """
        chosen, left_out, sum_of_pairs = [], [], 0
        for rule in self._possible(COMPARED):
            pairs = self._pairs(rule)
            if pairs > room - sum_of_pairs:
                left_out.append(" and ".join(rule))
            elif pairs:
                chosen.append(_agreement(rule))
                sum_of_pairs += pairs
        if {"given_name", "surname"} <= self.told:
            chosen.append(SWAPPED_NAMES)
        return chosen, tuple(left_out), sum_of_pairs

    def _possible(self, rules: Sequence[Rule]) -> list[Rule]:
        return [rule for rule in rules if self.told.issuperset(rule)]

    def _pairs(self, rule: Rule) -> int:
        """How many pairs agree in `rule`."""
        return self._count(f"""
            SELECT coalesce(sum(n * (n - 1) // 2), 0)
            FROM (SELECT count(*) AS n FROM person WHERE {_told(rule)} GROUP BY {", ".join(rule)})
        """)

    def _prior(self, obvious: int) -> float:
        """How likely two of all are one person: of at least one pair it is."""
        return min(0.5, max(obvious, 1) / OBVIOUSLY_FOUND / (self.people * (self.people - 1) / 2))

    # --- the model ---------------------------------------------------------------------------------------------------

    def _model(self, rules: Sequence[str], prior: float, *, rare: bool) -> dict[str, Any]:
        """The model as splink takes it, with what is assumed. `rare`: weigh how common a value is."""
        return {
            "link_type": "dedupe_only",
            "probability_two_random_records_match": prior,
            "comparisons": [_comparison(each, rare) for each in self.comparisons],
            "blocking_rules_to_generate_predictions": [{"blocking_rule": rule} for rule in rules],
            "retain_intermediate_calculation_columns": True,
        }

    def _count_chance(self, model: dict[str, Any]) -> dict[str, Any]:
        """Count how often values of two people agree. Pairs that are obviously one person's would spoil it."""
        linker = self._linker("once", model)
        linker.training.estimate_u_using_random_sampling(max_pairs=SAMPLED, seed=1, num_chunks=1)
        people = self._people()
        seen = min(SAMPLED, people * (people - 1) / 2)
        return _completed(linker.misc.save_model_to_json(), "u_probability", NEVER_SEEN / seen)

    def _learn_agreement(self, model: dict[str, Any]) -> dict[str, Any]:
        """Learn how often the values of one person agree."""
        linker, smallest = self._linker("person", model), NEVER_SEEN / ENOUGH_PAIRS
        for rule in self._possible(LEARNED):
            pairs = self._pairs(rule)
            if pairs >= ENOUGH_PAIRS:
                linker.training.estimate_parameters_using_expectation_maximisation(
                    _agreement(rule),
                    max_pairs=LEARNED_FROM if pairs > LEARNED_FROM else None,
                )
        return _completed(linker.misc.save_model_to_json(), "m_probability", smallest)

    def _linker(self, table: str, model: dict[str, Any]) -> Any:
        """A linker of its own: nothing that another one computed is taken for its own."""
        from splink import DuckDBAPI, Linker  # noqa: PLC0415 - an optional extra

        api = DuckDBAPI(self.duck)
        linker = Linker(api.register(table), model, log_level=None, validate_settings=False)
        for column in sorted({level.rare for each in self.comparisons for level in each.levels if level.rare}):
            linker.table_management.register_term_frequency_lookup(api.register(self._commonness(column)), column)
        return linker

    def _commonness(self, column: str) -> str:
        """A table of how common each value of `column` is among people, not among descriptions."""
        table = f"commonness_{column}"
        self.duck.execute(f"""
            CREATE TABLE IF NOT EXISTS {table} AS
            SELECT {column}, greatest(1, count(once.unique_id)) / greatest(1, (SELECT count({column}) FROM once))
                AS tf_{column}
            FROM (SELECT unique_id, {column} FROM person WHERE {column} IS NOT NULL)
            LEFT JOIN (SELECT unique_id FROM once) AS once USING (unique_id)
            GROUP BY {column}
        """)
        return table

    # --- what it says ------------------------------------------------------------------------------------------------

    def _predict(self, model: dict[str, Any], at_least: float, limit: int) -> tuple[Found, ...]:
        """The heaviest pairs first.

        What tells a person from their family must speak for the pair by itself: by their surname, address and phone
        alone two who live together would be proposed.
        """
        scored = self._linker("person", model).inference.predict(threshold_match_probability=at_least)
        weights = {each.name: _weight(each, model) for each in self.comparisons}
        personal = " + ".join(weights[each.name] for each in self.comparisons if each.personal) or "0"
        told = ", ".join(f"gamma_{name}, {weight}" for name, weight in weights.items())
        rows = self._rows(f"""
            SELECT one.profile_id, other.profile_id, match_weight, match_probability, {told}
            FROM {scored.physical_name}
            JOIN person AS one ON one.unique_id = unique_id_l JOIN person AS other ON other.unique_id = unique_id_r
            WHERE {personal} > 0
            ORDER BY round(match_weight, 6) DESC, unique_id_l, unique_id_r LIMIT {limit}
        """)
        return tuple(self._found(row) for row in rows)

    def _found(self, row: Sequence[Any]) -> Found:
        one, other, weight, probability, *told = row
        levels = zip(self.comparisons, told[::2], told[1::2], strict=True)
        return Found(
            pair=Pair(one, other),
            weight=round(weight, 3),
            probability=round(probability, 6),
            reasons=tuple(
                Reason(compared=each.name, says=_says(each, gamma), bits=round(bits, 3))
                for each, gamma, bits in levels
                if gamma >= 0
            ),
        )

    def _count(self, statement: str) -> int:
        return int(self._rows(statement)[0][0])

    def _rows(self, statement: str) -> list[Any]:
        return self.duck.execute(statement).fetchall()


def _told(rule: Rule) -> str:
    return " AND ".join(f"{column} IS NOT NULL" for column in rule)


def _agreement(rule: Rule) -> str:
    return " AND ".join(f"l.{column} = r.{column}" for column in rule)


def _comparison(comparison: Comparison, rare: bool) -> dict[str, Any]:
    levels = comparison.levels
    return {
        "output_column_name": comparison.name,
        "comparison_levels": [
            {"sql_condition": comparison.unknown, "label_for_charts": "unknown", "is_null_level": True},
            *(
                {
                    "sql_condition": level.condition,
                    "label_for_charts": level.says,
                    "m_probability": level.m,
                    "u_probability": level.u,
                    **({"tf_adjustment_column": level.rare} if level.rare and rare else {}),
                }
                for level in levels
            ),
            {
                "sql_condition": "ELSE",
                "label_for_charts": DIFFERS,
                "m_probability": 1 - sum(level.m for level in levels),
                "u_probability": 1 - sum(level.u for level in levels),
            },
        ],
    }


def _completed(model: dict[str, Any], what: str, never_seen: float) -> dict[str, Any]:
    """`model` with a probability where learning saw none."""
    for comparison in model["comparisons"]:
        for level in comparison["comparison_levels"]:
            if not level.get("is_null_level"):
                level[what] = max(level.get(what, never_seen), never_seen)
    return model


def _weight(comparison: Comparison, model: dict[str, Any]) -> str:
    """The bits that a comparison adds, with what its values' commonness adds."""
    (mine,) = (each for each in model["comparisons"] if each["output_column_name"] == comparison.name)
    adjusted = any("tf_adjustment_column" in level for level in mine["comparison_levels"])
    return f"(mw_{comparison.name} + mw_tf_adj_{comparison.name})" if adjusted else f"mw_{comparison.name}"


def _says(comparison: Comparison, gamma: int) -> str:
    """The levels are numbered from the last one, 0: it differs."""
    return comparison.levels[len(comparison.levels) - gamma].says if gamma else DIFFERS
