"""Dead letters are found, mended, applied once more, once, or discarded: over HTTP and from the command line.

Scoring stands for all services: the queue, its routes and its commands are the same code in each.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from deploy.local.settings import ROOT
from shared import topics
from shared.clock import system_clock
from shared.dead_letter_queue import DeadLetterQueue, Order
from shared.dead_letter_store import Selection
from shared.events import Keyed, NamedKey, Touchpoint, encode
from shared.fix_bodies import FixBody
from shared.scopes import digest
from tests.builders import Json, touchpoint
from tests.contract import told
from tests.scoring.office import SECRET, Office, make_topics, open_office, settings
from tests.servers import Installation, Servers
from tests.waiting import until

NUL = "u-\0"
"""A user id that PostgreSQL does not take: what a version of ingest with a mistake in it might have let through."""

UNREADABLE = b'{"type": "temas.touchpoint.v1", "id": 7'


@pytest.fixture(scope="module")
async def installation(servers: Servers) -> AsyncIterator[Installation]:
    async with servers.installation() as mine:
        await make_topics(mine)
        yield mine


@pytest.fixture(scope="module")
async def office(installation: Installation) -> AsyncIterator[Office]:
    async with open_office(settings(installation), puts_aside=True) as office:
        yield office


@pytest.fixture
def name() -> str:
    """A person of this test's own."""
    return f"u-{os.urandom(4).hex()}"


def order(id: str, user: str = NUL) -> Touchpoint:
    return touchpoint(
        "Order Completed", user=user, id=id, at=system_clock(), received_at=system_clock(), properties={"total": 40}
    )


async def put_aside(office: Office, value: bytes, topic: topics.Topic = topics.TOUCHPOINTS) -> Json:
    """Have the service read this record, which it can't process; give the letter once it waits."""
    known = {each["id"] for each in await waiting(office)}
    await office.kafka.log(topic).append([(b"key", value)])

    async def fresh() -> Json | None:
        return next((each for each in await waiting(office) if each["id"] not in known), None)

    return await until(fresh)


async def waiting(office: Office) -> list[Json]:
    letters: list[Json] = (await office.get("/v1/dead-letters", status="waiting", limit=500))["dead_letters"]
    return letters


async def letter(office: Office, id: str) -> Json:
    return await office.get(f"/v1/dead-letters/{id}")


async def replay(office: Office, *ids: str, **rest: object) -> Json:
    body = {"select": {"ids": list(ids)}, "dry_run": False, **rest}
    answer = await office.send("POST", "/v1/dead-letters/replay", body)
    assert answer.status_code == 200, answer.text
    outcome: Json = answer.json()
    while outcome["ordered"]:  # on a busy machine it is answered before all is done
        after = await letter(office, ids[0])
        if after["status"] != "ordered":
            outcome |= {"ordered": 0, "replayed" if after["status"] == "replayed" else "failed": 1}
    return outcome


async def orders_of(office: Office, user: str) -> int:
    """How many orders scoring has counted of them."""
    days = "SELECT jsonb_each(state->'days') AS day FROM fragment WHERE kind = 'user_id' AND value = :user"
    rows = await office.rows(f"SELECT sum(CAST((day).value->>0 AS integer)) FROM ({days}) AS days", user=user)
    return int(rows[0][0] or 0)


def mending(user: str) -> Json:
    return {"set": {"data.user_id": f"'{user}'"}}


# --- looking ---------------------------------------------------------------------------------------------------------


async def test_a_record_that_could_not_be_processed_is_found_with_its_reason_and_its_place(office: Office) -> None:
    found = await put_aside(office, UNREADABLE)
    assert found["topic"].endswith("touchpoints")
    assert "Unreadable" in found["reason"]
    shown = await letter(office, found["id"])
    assert (shown["value"], shown["value_form"], shown["key"]) == (UNREADABLE.decode(), "text", "key")
    assert shown["history"] == []


async def test_letters_are_found_by_topic_reason_and_time_and_paged(office: Office) -> None:
    ids = {(await put_aside(office, UNREADABLE))["id"] for _ in range(3)}
    first = await office.get("/v1/dead-letters", reason="unreadable", limit=2)
    rest = await office.get("/v1/dead-letters", reason="unreadable", limit=500, cursor=first["next"])
    listed = [each["id"] for each in (*first["dead_letters"], *rest["dead_letters"])]
    assert ids <= set(listed)
    assert len(listed) == len(set(listed))
    assert (await office.get("/v1/dead-letters", topic="nothing"))["dead_letters"] == []
    assert (await office.get("/v1/dead-letters", to="2020-01-01T00:00:00Z"))["dead_letters"] == []


async def test_who_is_not_there_is_404_and_a_key_is_needed(office: Office) -> None:
    assert (await office.send("GET", "/v1/dead-letters/nobody")).status_code == 404
    assert (await office.client.get("/v1/dead-letters")).status_code == 401
    assert (await office.client.post("/v1/dead-letters/replay", json={})).status_code == 401


# --- replaying -------------------------------------------------------------------------------------------------------


async def test_a_letter_that_is_mended_is_applied_once_however_often_it_is_replayed(office: Office, name: str) -> None:
    found = await put_aside(office, encode(order(f"m-{name}")))
    tried = await replay(office, found["id"], fix=mending(name), dry_run=True)
    assert tried["samples"][0]["after"]["data"]["user_id"] == name
    assert await orders_of(office, name) == 0  # a dry run changes nothing
    assert (await replay(office, found["id"], fix=mending(name)))["replayed"] == 1
    assert (await replay(office, found["id"], fix=mending(name)))["selected"] == 0
    assert await orders_of(office, name) == 1
    shown = await letter(office, found["id"])
    assert [each["outcome"] for each in shown["history"]] == ["ordered", "replayed"]
    assert (shown["status"], shown["mended"]["data"]["user_id"]) == ("replayed", name)
    assert shown["value"]["data"]["user_id"] == NUL  # as it stood in the log


async def test_what_still_cannot_be_applied_waits_on_and_its_history_says_why(office: Office, name: str) -> None:
    found = await put_aside(office, encode(order(f"m-{name}")))
    assert (await replay(office, found["id"]))["failed"] == 1
    shown = await letter(office, found["id"])
    assert shown["status"] == "waiting"
    assert [each["outcome"] for each in shown["history"]] == ["ordered", "failed"]
    assert "0x00" in shown["history"][-1]["why"]
    assert (await replay(office, found["id"], fix=mending(name)))["replayed"] == 1


async def test_what_came_by_another_way_meanwhile_is_not_applied_again(office: Office, name: str) -> None:
    found = await put_aside(office, encode(order(f"m-{name}")))
    await office.tell(order(f"m-{name}", name))
    await until(lambda: orders_of(office, name))
    assert (await replay(office, found["id"], fix=mending(name)))["replayed"] == 1
    assert (await letter(office, found["id"]))["history"][-1]["outcome"] == "known already"
    assert await orders_of(office, name) == 1


async def test_what_can_not_be_read_is_written_anew(office: Office, name: str) -> None:
    found = await put_aside(office, UNREADABLE)
    body = json.loads(encode(order(f"m-{name}", name)))
    assert (await replay(office, found["id"], fix=mending(name)))["failed"] == 1
    assert (await replay(office, found["id"], fix={"body": body}))["replayed"] == 1
    assert await orders_of(office, name) == 1


async def test_a_fix_may_not_give_it_the_name_of_another_event_or_make_it_no_event(office: Office, name: str) -> None:
    found = await put_aside(office, encode(order(f"m-{name}")))
    for fix, code in (
        ({"set": {"id": "'another'"}}, "other_id"),
        ({"set": {"data": "1"}}, "not_an_event"),
        ({"patch": [{"op": "remove", "path": "/nowhere"}]}, "patch_failed"),
    ):
        outcome = await replay(office, found["id"], fix=fix)
        assert (outcome["failed"], outcome["samples"][0]["reasons"][0]["code"]) == (1, code)
    assert (await letter(office, found["id"]))["status"] == "waiting"


async def test_what_was_too_old_to_be_known_is_applied_where_a_person_says_so(office: Office, name: str) -> None:
    long_ago = system_clock() - timedelta(days=400)
    old = touchpoint("Order Completed", user=name, id=f"m-{name}", received_at=long_ago, properties={"total": 40})
    found = await put_aside(office, encode(old))
    assert found["reason"].startswith("TooOld")
    assert (await replay(office, found["id"]))["replayed"] == 1
    assert await orders_of(office, name) == 1


async def test_of_many_processes_that_replay_at_once_one_applies_a_letter(
    office: Office, installation: Installation, name: str
) -> None:
    ids = [(await put_aside(office, encode(order(f"m-{name}-{number}"))))["id"] for number in range(5)]
    queue: DeadLetterQueue = office.app.state.dead_letters
    fix = mending(name)
    async with open_office(settings(installation), puts_aside=True) as another:
        answers = await asyncio.gather(*(replay(where, *ids, fix=fix) for where in (office, another, office, another)))

    async def all_applied() -> bool:
        return [(await letter(office, id))["status"] for id in ids] == ["replayed"] * 5

    await until(all_applied)
    assert sum(each["selected"] for each in answers) == 5
    assert await orders_of(office, name) == 5
    assert await queue.count(Selection(ids=ids, status="replayed")) == 5


async def test_a_letter_that_was_ordered_while_no_service_ran_is_applied_by_the_next_one(
    office: Office, name: str
) -> None:
    found = await put_aside(office, encode(order(f"m-{name}")))
    queue = DeadLetterQueue(office.database, prefix=office.kafka.settings.prefix, clock=system_clock)
    fix = FixBody.model_validate(mending(name)).read()
    await queue.order(Order(which=Selection(ids=[found["id"]]), limit=1, actor="nobody", told={}, fix=fix))

    async def applied() -> bool:
        return bool((await letter(office, found["id"]))["status"] == "replayed")

    await until(applied)  # nobody nudged the loop: it looks by itself
    assert await orders_of(office, name) == 1


# --- discarding, keys, audit -----------------------------------------------------------------------------------------


async def test_what_nobody_will_mend_is_discarded_and_not_replayed(office: Office) -> None:
    found = await put_aside(office, UNREADABLE)
    select = {"ids": [found["id"]]}
    dry = await office.send("POST", "/v1/dead-letters/discard", {"select": select})
    assert (dry.json()["selected"], dry.json()["discarded"]) == (1, 0)
    done = await office.send("POST", "/v1/dead-letters/discard", {"select": select, "dry_run": False})
    assert done.json()["discarded"] == 1
    assert (await letter(office, found["id"]))["status"] == "discarded"
    assert (await replay(office, found["id"]))["selected"] == 0


async def test_who_replayed_and_discarded_is_in_the_audit(office: Office, name: str) -> None:
    found = await put_aside(office, encode(order(f"m-{name}")))
    await replay(office, found["id"], fix=mending(name))
    [change] = (await office.get("/v1/audit", object="dead-letters", limit=1))["changes"]
    assert (change["action"], change["actor"]) == ("replayed", "settings:secret")
    assert change["after"]["fix"] == mending(name)


async def test_a_record_of_the_topic_keys_that_ingest_has_not_written_is_found_too_and_opens_nothing(
    office: Office,
) -> None:
    forged = NamedKey(id="mine", source="mine", digest=digest("sk_mine").hex(), scopes=("admin",))
    event = encode(Keyed(id="mine", source="ingest", time=system_clock(), data=forged))
    found = await put_aside(office, event, topics.KEYS)
    assert (found["topic"], found["reason"]) == (office.kafka.settings.prefix + "keys", "NotOfIngest: unsigned")
    assert (await letter(office, found["id"]))["value"]["data"]["id"] == "mine"
    outcome = await replay(office, found["id"])
    assert (outcome["failed"], outcome["samples"][0]["reasons"][0]["code"]) == (1, "not_replayable")
    answer = await office.client.get("/v1/dead-letters", headers={"Authorization": "Bearer sk_mine"})
    assert answer.status_code == 403


# --- the command line ------------------------------------------------------------------------------------------------


def typed(installation: Installation, *words: str) -> subprocess.CompletedProcess[str]:
    command = (sys.executable, "-m", "services.scoring", "dead-letters", *words)
    return subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, **told(installation, "scoring", SECRET)},
        capture_output=True,
        text=True,
        check=False,
    )


async def test_they_are_listed_shown_mended_replayed_and_discarded_from_the_command_line(
    office: Office, installation: Installation, name: str, tmp_path: Path
) -> None:
    found = await put_aside(office, encode(order(f"m-{name}")))
    other = await put_aside(office, UNREADABLE)

    async def run(*words: str) -> subprocess.CompletedProcess[str]:
        return await asyncio.to_thread(typed, installation, *words)

    listed = await run("list", "--limit", "500")
    assert found["id"] in listed.stdout, listed.stderr
    assert json.loads((await run("show", found["id"])).stdout)["value"]["data"]["user_id"] == NUL
    assert (await run("show", "nobody")).returncode == 2
    assert "say which" in (await run("replay")).stderr
    failed = await run("replay", found["id"])
    assert (failed.returncode, json.loads(failed.stdout)["failed"]) == (1, 1)
    done = await run("replay", found["id"], "--set", f"data.user_id='{name}'")
    assert (done.returncode, json.loads(done.stdout)["replayed"]) == (0, 1), done.stderr
    assert await orders_of(office, name) == 1
    assert "1 discarded" in (await run("discard", other["id"])).stdout
    [change, *_] = (await office.get("/v1/audit", object="dead-letters", limit=1))["changes"]
    assert change["actor"].startswith("cli:")
