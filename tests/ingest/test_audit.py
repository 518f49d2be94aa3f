"""Who changed what in ingest: every change leaves a row. What such rows say is tested with what they are about."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from tests.audited import DEAD_LETTERS, Auditor, Example, changing
from tests.builders import batch
from tests.contract import Asked
from tests.ingest.desk import becomes_admin, make_key, make_source
from tests.ingest.door import Door
from tests.ingest.rejects import MENDED, bad, waiting

DESK = ("/v1/sources", "/v1/plan", "/v1/rejected", "/v1/dead-letters")
"""What is not where clients send."""

PLANNED = {"mode": "observe", "schema": {"type": "object"}}


@pytest.fixture(scope="module")
async def auditor(door: Door) -> Auditor:
    await make_source(door, "au-keys")
    made = await make_key(door, "au-keys", "admin")
    await becomes_admin(door, made["key"])
    return Auditor(door.client, made["key"], made["id"])


async def _source(door: Door, auditor: Auditor) -> Example:
    return Example("/v1/sources/au-new", "sources/au-new", "made", {"quota": 10})


async def _key(door: Door, auditor: Auditor) -> Example:
    return Example("/v1/sources/au-keys/keys", "sources/au-keys/keys/", "made", {"scopes": ["read"]})


async def _rotated(door: Door, auditor: Auditor) -> Example:
    path = f"sources/au-keys/keys/{(await make_key(door, 'au-keys'))['id']}"
    return Example(f"/v1/{path}/rotate", path, "rotated", {}, beside=["made"])


async def _revoked(door: Door, auditor: Auditor) -> Example:
    path = f"sources/au-keys/keys/{(await make_key(door, 'au-keys'))['id']}"
    return Example(f"/v1/{path}", path, "revoked")


def _planned(path: str) -> Callable[[Door, Auditor], Awaitable[Example]]:
    async def example(door: Door, auditor: Auditor) -> Example:
        return Example(f"/v1/{path}", path, "made", PLANNED)

    return example


def _removed(path: str) -> Callable[[Door, Auditor], Awaitable[Example]]:
    async def example(door: Door, auditor: Auditor) -> Example:
        assert (await auditor.ask("PUT", f"/v1/{path}", PLANNED)).is_success
        return Example(f"/v1/{path}", path, "removed")

    return example


def _restored(path: str) -> Callable[[Door, Auditor], Awaitable[Example]]:
    async def example(door: Door, auditor: Auditor) -> Example:
        first = (await auditor.ask("PUT", f"/v1/{path}", PLANNED)).json()["version"]
        assert (await auditor.ask("PUT", f"/v1/{path}", {**PLANNED, "mode": "enforce"})).is_success
        return Example(f"/v1/{path}/versions/{first}/restore", path, "changed")

    return example


def _rejected(what: str, action: str, **rest: object) -> Callable[[Door, Auditor], Awaitable[Example]]:
    async def example(door: Door, auditor: Auditor) -> Example:
        name = f"Audited {what}"
        await door.post("/v1/batch", batch(bad(name)))
        await waiting(door, name, 1)
        body = {"select": {"event": name}, "dry_run": False, **rest}
        return Example(f"/v1/rejected/{what}", "rejected", action, body)

    return example


UNNAMED, NAMED = "/v1/plan/{type}", "/v1/plan/{type}/{name}"
"""Where events of a type without names are planned, and where all others are."""

CHANGES: dict[Asked, Callable[[Door, Auditor], Awaitable[Example]]] = {
    ("PUT", "/v1/sources/{name}"): _source,
    ("POST", "/v1/sources/{name}/keys"): _key,
    ("POST", "/v1/sources/{name}/keys/{id}/rotate"): _rotated,
    ("DELETE", "/v1/sources/{name}/keys/{id}"): _revoked,
    ("POST", "/v1/rejected/replay"): _rejected("replay", "replayed", fix=MENDED),
    ("POST", "/v1/rejected/discard"): _rejected("discard", "discarded"),
    ("PUT", UNNAMED): _planned("plan/identify"),
    ("PUT", NAMED): _planned("plan/track/Au%20Made"),
    ("DELETE", UNNAMED): _removed("plan/group"),
    ("DELETE", NAMED): _removed("plan/track/Au%20Gone"),
    ("POST", f"{UNNAMED}/versions/{{version}}/restore"): _restored("plan/group"),
    ("POST", f"{NAMED}/versions/{{version}}/restore"): _restored("plan/track/Au%20Back"),
}
"""To rotate a key makes another one, whose own row is beside it."""

NO_CHANGES: dict[Asked, str] = {
    ("POST", "/v1/plan/infer"): "it only looks",
    **{("POST", f"{route}/try"): "it only looks" for route in (UNNAMED, NAMED)},
}


def test_no_route_that_changes_something_was_forgotten(door: Door) -> None:
    where_clients_send = {(method, path) for method, path in changing(door.app) if not path.startswith(DESK)}
    assert all(method == "POST" for method, _ in where_clients_send), "they send events, which are in the log"
    assert changing(door.app) - where_clients_send == CHANGES.keys() | NO_CHANGES.keys() | DEAD_LETTERS.keys()


@pytest.mark.parametrize("asked", CHANGES, ids=" ".join)
async def test_each_change_leaves_one_row_with_who_made_it(door: Door, auditor: Auditor, asked: Asked) -> None:
    await auditor.leaves_a_row(asked[0], await CHANGES[asked](door, auditor))


async def test_a_time_line_is_of_one_object_and_of_what_lies_below_it(door: Door, auditor: Auditor) -> None:
    for name in ("au-one", "au-one-more"):
        await make_source(door, name)
        await make_key(door, name)
    changes = await auditor.changes(object="sources/au-one")
    assert [each["object"].split("/")[:3] for each in changes] == [["sources", "au-one"], ["sources", "au-one", "keys"]]
