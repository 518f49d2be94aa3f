"""What makes two descriptions alike: the comparisons, the rules that choose which pairs are compared, the obvious ones.

It is a model as Fellegi and Sunter (1969) have it, written as data for `model`, which learns its probabilities.
Conditions are DuckDB's SQL over the two sides `_l` and `_r`. `m` is how often two descriptions of one person are on a
level, `u` how often those of two people are: assumed where there is too little to learn from, else where learning
begins. `m` is what registers and customer lists commonly show (nine values of ten are the same, of the rest most are
typos); `u` is one over how many values are about equally common.

What is measured by one thing is one comparison, because weights add up as if comparisons were independent: two names
that changed places count once, and a city with its postcode too.
"""

from __future__ import annotations

from typing import NamedTuple


class Level(NamedTuple):
    """How near two values are. `rare`: the column of which it is weighed how common its value is among people."""

    condition: str
    says: str
    m: float
    u: float
    rare: str = ""


class Comparison(NamedTuple):
    """One thing that is compared: `unknown` where it can't be, then the levels, the nearest first; what is on none of
    them differs. `needs`: the columns of which it takes at least one. `personal`: it tells a person from their family.
    """

    name: str
    needs: tuple[str, ...]
    unknown: str
    levels: tuple[Level, ...]
    personal: bool = False


DIFFERS = "is another"


def _missing(column: str) -> str:
    return f"{column}_l IS NULL OR {column}_r IS NULL"


def _same(column: str) -> str:
    return f"{column}_l = {column}_r"


def _like(column: str, similarity: float) -> str:
    return f"jaro_winkler_similarity({column}_l, {column}_r) >= {similarity}"


def _typos(column: str, count: int) -> str:
    """What is told apart by counting slips is looked over first: most pairs are far apart, and counting is slow."""
    return f"{_like(column, 0.7)} AND damerau_levenshtein({column}_l, {column}_r) <= {count}"


def _slips(count: int) -> str:
    """The same for dates, which are all of one length: a slip changes two of their characters at most."""
    return f"hamming(born_l, born_r) <= {2 * count} AND damerau_levenshtein(born_l, born_r) <= {count}"


SWAPPED = "(given_name_l = surname_r AND surname_l = given_name_r)"
DAY_AND_MONTH = "(born_l[1:4] = born_r[1:4] AND born_l[6:7] = born_r[9:10] AND born_l[9:10] = born_r[6:7])"
LOCAL = "split_part(split_part(email_{0}, '@', 1), '+', 1)"

# .92 and .8: where Winkler's similarity of two names parts a typo from another form, and that from chance (splink's).
COMPARISONS = (
    Comparison(
        "given_name",
        ("given_name",),
        _missing("given_name"),
        (
            Level(_same("given_name"), "is the same", 0.85, 0.005, rare="given_name"),
            Level(SWAPPED, "has changed places with the surname", 0.01, 1e-5),
            Level(_like("given_name", 0.92), "is nearly the same", 0.05, 0.002),
            Level(_like("given_name", 0.8), "is similar", 0.03, 0.01),
        ),
        personal=True,
    ),
    Comparison(
        "surname",
        ("surname",),
        f"{_missing('surname')} OR ({SWAPPED} AND given_name_l <> given_name_r)",
        (
            Level(_same("surname"), "is the same", 0.85, 0.002, rare="surname"),
            Level(_like("surname", 0.92), "is nearly the same", 0.06, 0.001),
            Level(_like("surname", 0.8), "is similar", 0.03, 0.005),
        ),
    ),
    Comparison(
        "born",
        ("born",),
        _missing("born"),
        (
            Level(_same("born"), "is the same", 0.9, 5e-5, rare="born"),
            Level(f"({_slips(1)}) OR {DAY_AND_MONTH}", "is one slip away", 0.04, 0.001),
            Level(_slips(2), "is two slips away", 0.01, 0.01),
        ),
        personal=True,
    ),
    Comparison(
        "national_id",
        ("national_id",),
        _missing("national_id"),
        (
            Level(_same("national_id"), "is the same", 0.92, 1e-6, rare="national_id"),
            Level(_typos("national_id", 1), "is one slip away", 0.04, 1e-5),
            Level(_typos("national_id", 2), "is two slips away", 0.01, 1e-4),
        ),
        personal=True,
    ),
    Comparison(
        "email",
        ("email",),
        _missing("email"),
        (
            Level(_same("email"), "is the same", 0.6, 1e-5, rare="email"),
            Level(f"{LOCAL.format('l')} = {LOCAL.format('r')}", "is the same before the @", 0.1, 1e-4),
            Level(_like("email", 0.92), "is nearly the same", 0.1, 1e-3),
        ),
        personal=True,
    ),
    Comparison(
        "phone",
        ("phone",),
        _missing("phone"),
        (
            Level(_same("phone"), "is the same", 0.6, 1e-5, rare="phone"),
            Level("right(phone_l, 9) = right(phone_r, 9)", "is the same but for its beginning", 0.1, 1e-5),
            Level(_typos("phone", 1), "is one slip away", 0.05, 1e-4),
        ),
    ),
    Comparison(
        "street",
        ("street", "line2"),
        "coalesce(street_l, line2_l) IS NULL OR coalesce(street_r, line2_r) IS NULL",
        (
            Level("street_l = street_r AND house_l = house_r", "and the house are the same", 0.6, 1e-5),
            Level(_same("street"), "is the same", 0.15, 5e-4, rare="street"),
            Level(
                f"street_l = line2_r OR line2_l = street_r OR {_like('street', 0.92)}", "is nearly the same", 0.1, 1e-3
            ),
            Level(_same("line2"), "has the same second line", 0.03, 1e-3, rare="line2"),
            Level(_like("street", 0.8), "is similar", 0.02, 0.01),
        ),
    ),
    Comparison(
        "place",
        ("city", "postcode"),
        "coalesce(city_l, postcode_l) IS NULL OR coalesce(city_r, postcode_r) IS NULL",
        (
            Level("city_l = city_r AND postcode_l = postcode_r", "and the postcode are the same", 0.6, 0.001),
            Level(_same("postcode"), "has the same postcode", 0.1, 0.001, rare="postcode"),
            Level(_same("city"), "has the same city", 0.1, 0.01, rare="city"),
            Level(f"({_typos('postcode', 1)}) OR {_like('city', 0.9)}", "is nearly the same", 0.05, 0.02),
            Level(_same("region"), "is in the same region", 0.05, 0.2),
        ),
    ),
    Comparison(
        "country", ("country",), _missing("country"), (Level(_same("country"), "is the same", 0.97, 0.5, "country"),)
    ),
)

Rule = tuple[str, ...]
"""Columns in which two descriptions must agree."""

# By any of these two descriptions are one person's, if not quite always: they tell how many such pairs there are about,
# and by whom a value is counted once when it is asked how common it is among people.
OBVIOUS: tuple[Rule, ...] = (
    ("national_id",),
    ("email",),
    ("given_name", "surname", "born"),
    ("given_name", "surname", "phone"),
    ("given_name", "surname", "street", "house"),
    ("given_name", "born", "postcode"),
    ("surname", "born", "postcode"),
)

SHARED = 10
"""A value that more have than so many names none of them: an office's address, a date that stands for no date."""

OBVIOUSLY_FOUND = 0.8
"""What part of all pairs the obvious ones are. Half of it, or all, would move each weight by less than one bit."""

# Who is one person's twice is learned among pairs that agree in one of these; the rest of what they say is learned from
# each. They are personal on purpose: among people of one address most are a family, and what is learned there is that.
LEARNED: tuple[Rule, ...] = (
    ("national_id",),
    ("email",),
    ("given_name", "surname"),
    ("surname", "born"),
    ("given_name", "born"),
    ("born", "postcode"),
)

# The pairs that are compared: all that agree in any of these, so that no one wrong value can hide a pair. The narrow
# ones come first; the broad ones at the end are for those of whom most is wrong or missing, as far as there is room.
COMPARED: tuple[Rule, ...] = (
    ("national_id",),
    ("email",),
    ("phone",),
    ("given_name", "surname"),
    ("given_name", "born"),
    ("surname", "born"),
    ("born", "postcode"),
    ("street", "house"),
    ("surname", "postcode"),
    ("given_name", "postcode"),
    ("surname", "street"),
    ("given_name", "street"),
    ("line2", "postcode"),
    ("born", "city"),
    ("surname", "city"),
    ("given_name", "city"),
    ("street",),
    ("born",),
    ("line2",),
    ("surname",),
    ("postcode",),
    ("given_name",),
    ("city",),
)
SWAPPED_NAMES = "l.given_name = r.surname AND l.surname = r.given_name"
