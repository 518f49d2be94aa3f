"""Graphs that somebody built to be slow: what one touchpoint or ruling costs is bounded by what it is about.

Statements and rows are counted, not seconds: they are the same on every machine.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import event

from shared.db import Database
from shared.events import Touchpoint
from tests.profile.database import ROOMY, assigned, happened, id_of, rule
from tests.profile.lives import alias, identify, page, ruling


@contextmanager
def counted(database: Database) -> Iterator[dict[str, int]]:
    """How many statements the block sends, and how many rows it is answered with or changes."""
    count = {"statements": 0, "rows": 0}

    def note(connection: Any, cursor: Any, *_: Any) -> None:
        count["statements"] += 1
        count["rows"] += max(cursor.rowcount, 0)

    event.listen(database.engine.sync_engine, "after_cursor_execute", note)
    try:
        yield count
    finally:
        event.remove(database.engine.sync_engine, "after_cursor_execute", note)


def star(name: str, size: int) -> list[Touchpoint]:
    return [identify(f"{name}{n:04}", n, user=f"{name}-hub", anonymous=f"{name}-{n:04}") for n in range(size)]


def chain(name: str, size: int) -> list[Touchpoint]:
    links = [alias(f"{name}l{n:04}", 2000 + n, f"{name}-{n:04}", f"{name}-{n + 1:04}") for n in range(size - 1)]
    return [*(page(f"{name}{n:04}", n, user=f"{name}-{n:04}") for n in range(size)), *links]


async def test_splitting_a_star_of_a_thousand_devices_takes_as_many_statements_as_one_of_ten(
    database: Database,
) -> None:
    costs = {}
    for size in (10, 1000):
        name = f"s{size}"
        await happened(database, star(name, size), limits=ROOMY)
        with counted(database) as costs[size]:
            await rule(database, "split", f"anonymous_id:{name}-0003", f"user_id:{name}-hub")
        assert (await assigned(database))["anonymous_id", f"{name}-0003"] == id_of(f"anonymous_id:{name}-0003")
    assert costs[1000]["statements"] == costs[10]["statements"] <= 30
    assert costs[1000]["rows"] <= 8 * 1000


async def test_a_chain_of_a_thousand_aliases_is_cut_and_joined_with_as_many_statements_as_a_short_one(
    database: Database,
) -> None:
    costs = {}
    for size in (10, 1000):
        name, middle = f"c{size}", size // 2
        await happened(database, chain(name, size), limits=ROOMY)
        first, cut, end = (f"user_id:{name}-{n:04}" for n in (0, middle, size - 1))
        with counted(database) as costs[size]:
            await rule(database, "split", f"user_id:{name}-{middle - 1:04}", cut)
            await rule(database, "merge", f"user_id:{name}-{middle - 1:04}", cut)
            await rule(database, "split", first, end)
        who = await assigned(database)
        assert who["user_id", f"{name}-{size - 2:04}"] == id_of(first), "the last alias is the one left out"
        assert who["user_id", f"{name}-{size - 1:04}"] == id_of(end)
    assert costs[1000]["statements"] == costs[10]["statements"]


async def test_a_touchpoint_looks_at_no_component_but_its_own(database: Database) -> None:
    """With a thousand rulings in the database, about others."""
    await happened(database, star("other", 1000), limits=ROOMY)
    await happened(
        database,
        *(ruling(f"r{n:04}", n, "split", f"anonymous_id:other-{n:04}", "user_id:other-hub") for n in range(20)),
    )
    await happened(database, [identify("1", user="u", anonymous="a")])
    with counted(database) as cost:
        await happened(database, [identify("2", 1, user="u", anonymous="b")])
    assert cost["statements"] <= 25
    assert cost["rows"] <= 100


async def test_a_kiosk_that_everybody_used_is_split_without_walking_through_everybody(database: Database) -> None:
    costs = {}
    for users in (150, 300):
        kiosk = f"kiosk{users}"
        await happened(
            database, [identify(f"{kiosk}{n:03}", n, user=f"{kiosk}-{n:03}", anonymous=kiosk) for n in range(users)]
        )
        with counted(database) as costs[users]:
            await rule(database, "split", f"anonymous_id:{kiosk}", f"user_id:{kiosk}-000")
        assert (await assigned(database))["anonymous_id", kiosk] == id_of(f"user_id:{kiosk}-001")
    assert costs[300]["rows"] == costs[150]["rows"]
