"""The weights: how often values agree by chance, how often those of one person do, and what that makes of each pair.

Nothing is labelled. What two people have alike is counted on random pairs; what one person's descriptions have alike is
learned by expectation maximisation among pairs that agree in something personal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import TYPE_CHECKING, Any

from services.profile.domain.proposals import Found, Reason
from services.profile.service.matching.likeness import (
    DIFFERS,
    LEARNED,
    OBVIOUSLY_FOUND,
    Comparison,
)
from services.profile.service.matching.pairs import Pairs, agreement
from shared.identifiers import Identifier

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

SAMPLED = 500_000
"""Random pairs on which chance is counted: what one pair in a hundred thousand has alike is seen five times."""

ENOUGH_SAMPLED = 10_000
"""Of those, where both sides tell what is compared: with fewer it stays assumed what they have alike by chance."""

LEARNED_FROM = 1_000_000
"""Pairs that one round of learning looks at, about."""

UNLEARNED = 1e-4
"""How likely two people are one before anything is compared, where there are too few to tell."""

NEVER_SEEN = 0.5
"""As how many counts what was never seen: that it can't be, no sample says."""


class Model:
    """What is known of the pairs that agree in one of `conditions`; assumed, until it is learned. With `learned` it is
    weighed how common a value is.
    """

    def __init__(self, duck: DuckDBPyConnection, pairs: Pairs, conditions: Sequence[str], *, learned: bool) -> None:
        self.duck = duck
        self.pairs = pairs
        self.comparisons = pairs.comparisons
        self.rare = _rare(self.comparisons) if learned else []
        self.settings: dict[str, Any] = {
            "link_type": "dedupe_only",
            "probability_two_random_records_match": _prior(pairs) if learned else UNLEARNED,
            "comparisons": [_comparison(each, self.rare) for each in self.comparisons],
            "blocking_rules_to_generate_predictions": [{"blocking_rule": each} for each in conditions],
            "retain_intermediate_calculation_columns": True,
        }

    def count_chance(self) -> None:
        """Count how often values of two people agree. Those who are obviously one would spoil it."""
        linker = self._linker("once")
        linker.training.estimate_u_using_random_sampling(max_pairs=SAMPLED, seed=1, num_chunks=1)
        sampled = min(SAMPLED, self.pairs.people * (self.pairs.people - 1) / 2)
        seen = {each.name: sampled * self.pairs.share(each) ** 2 for each in self.comparisons}
        self._take("u_probability", linker, seen, ENOUGH_SAMPLED)

    def learn_agreement(self, enough: int) -> None:
        """Learn how often the values of one person agree, where `enough` obvious pairs are there to begin with.

        How many of the pairs of a round are one person's is not learned with it: where all are, that has no end.
        """
        linker = self._linker("person")
        for rule in self.pairs.possible(LEARNED):
            if self.pairs.obvious_where(agreement(rule)) >= enough:
                linker.training.estimate_parameters_using_expectation_maximisation(
                    agreement(rule),
                    fix_probability_two_random_records_match=True,
                    max_pairs=LEARNED_FROM if self.pairs.agreeing(rule) > LEARNED_FROM else None,
                )
        seen = {each.name: self.pairs.obviously_told(each) for each in self.comparisons}
        self._take("m_probability", linker, seen, enough)

    def found(self, at_least: float, limit: int) -> tuple[Found, ...]:
        """The `limit` heaviest pairs, those that are one person's with a probability of `at_least`.

        What tells a person from their family must not speak against the pair by itself: by their surname, address and
        phone alone two who live together would be found.
        """
        scored = self._linker("person").inference.predict(threshold_match_probability=at_least)
        bits = {each.name: self._bits(each) for each in self.comparisons}
        personal = " + ".join(bits[each.name] for each in self.comparisons if each.personal) or "-1"
        told = ", ".join(f"gamma_{name}, {expression}" for name, expression in bits.items())
        rows = self.pairs.rows(f"""
            SELECT one.kind, one.value, other.kind, other.value, match_weight, match_probability, {told}
            FROM {scored.physical_name}
            JOIN person AS one ON one.unique_id = unique_id_l JOIN person AS other ON other.unique_id = unique_id_r
            WHERE {personal} >= 0
            ORDER BY round(match_weight, 6) DESC, unique_id_l, unique_id_r LIMIT {limit}
        """)
        return tuple(self._found(row) for row in rows)

    def _take(self, what: str, linker: Any, seen: Mapping[str, float], enough: float) -> None:
        """Take what was learned; what was assumed stays for a comparison that was seen less than `enough`."""
        assumed, self.settings = self.settings, linker.misc.save_model_to_json()
        for old, new in zip(assumed["comparisons"], self.settings["comparisons"], strict=True):
            times = seen[new["output_column_name"]]
            least = NEVER_SEEN / max(times, 1)
            for before, level in zip(old["comparison_levels"], new["comparison_levels"], strict=True):
                if not level.get("is_null_level"):
                    level[what] = before[what] if times < enough else max(level.get(what, least), least)

    def _linker(self, table: str) -> Any:
        """Each has a database interface of its own: nothing that another one keeps is taken for its own."""
        from splink import DuckDBAPI, Linker  # noqa: PLC0415 - an optional extra

        api = DuckDBAPI(self.duck)
        linker = Linker(api.register(table), deepcopy(self.settings), log_level=None, validate_settings=False)
        for column in self.rare:
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

    def _bits(self, comparison: Comparison) -> str:
        """What a comparison adds, with what its values' commonness adds."""
        weighed = any(level.rare in self.rare for level in comparison.levels)
        return f"(mw_{comparison.name} + mw_tf_adj_{comparison.name})" if weighed else f"mw_{comparison.name}"

    def _found(self, row: Sequence[Any]) -> Found:
        kind, value, other_kind, other_value, weight, probability, *told = row
        levels = zip(self.comparisons, told[::2], told[1::2], strict=True)
        return Found(
            one=Identifier(kind, value),
            other=Identifier(other_kind, other_value),
            weight=round(weight, 3),
            probability=round(probability, 6),
            reasons=tuple(
                Reason(compared=each.name, says=_says(each, gamma), bits=round(bits, 3))
                for each, gamma, bits in levels
                if gamma >= 0
            ),
        )


def _rare(comparisons: Sequence[Comparison]) -> list[str]:
    """The columns of which it is weighed how common a value is."""
    return sorted({level.rare for each in comparisons for level in each.levels if level.rare})


def _prior(pairs: Pairs) -> float:
    """How likely two of all are one person: of one pair at least it is so."""
    everybody = pairs.described * (pairs.described - 1) / 2
    return max(pairs.obvious, 1) / OBVIOUSLY_FOUND / everybody


def _comparison(comparison: Comparison, rare: Sequence[str]) -> dict[str, Any]:
    """A comparison as splink takes it."""
    levels = [
        {"sql_condition": level.condition, "m_probability": level.m, "u_probability": level.u}
        | ({"tf_adjustment_column": level.rare} if level.rare in rare else {})
        for level in comparison.levels
    ]
    differs = {
        "sql_condition": "ELSE",
        "m_probability": 1 - sum(level.m for level in comparison.levels),
        "u_probability": 1 - sum(level.u for level in comparison.levels),
    }
    unknown = {"sql_condition": comparison.unknown, "is_null_level": True}
    return {"output_column_name": comparison.name, "comparison_levels": [unknown, *levels, differs]}


def _says(comparison: Comparison, gamma: int) -> str:
    """The levels are numbered from the last one, 0: it differs."""
    return comparison.levels[len(comparison.levels) - gamma].says if gamma else DIFFERS
