"""Who asked for which model, and which ones were activated: every change leaves a row, and no row ever changes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from msgspec.structs import replace
from typer.testing import CliRunner

from services.scoring.cli import main
from shared import topics
from shared.audit import of_operator
from shared.clock import system_clock
from tests.audited import DEAD_LETTERS, Auditor, Example, changing
from tests.builders import Json
from tests.contract import told
from tests.roles import tell_keys
from tests.scoring import cdnow
from tests.scoring.office import SECRET, Office, make_topics, membership, open_office, settings
from tests.servers import Installation, Servers
from tests.waiting import until


@pytest.fixture(scope="module")
async def installation(servers: Servers) -> AsyncIterator[Installation]:
    async with servers.installation() as mine:
        await make_topics(mine)
        yield mine


@pytest.fixture(scope="module")
async def office(installation: Installation) -> AsyncIterator[Office]:
    async with open_office(settings(installation)) as office:
        yield office


@pytest.fixture(scope="module")
async def auditor(office: Office) -> Auditor:
    key = (await tell_keys(office.kafka, office.app, system_clock())).by_scope["admin"]
    return Auditor(office.client, key, f"shop:{key[3:11]}")


@pytest.fixture(scope="module")
async def refused(office: Office) -> Json:
    """A model that nobody could be fitted to."""
    return await office.refit()


@pytest.fixture(scope="module")
async def fitted(office: Office, refused: Json) -> Json:
    """A model of all of CDNOW's customers, that was to be activated once it is ready."""
    received = system_clock()
    orders = [replace(each, data=replace(each.data, received_at=received)) for each in cdnow.touchpoints()]
    people = [membership(f"user_id:{name}") for name in sorted({each.owner.value for each in orders})]
    await office.say(*people)
    await office.tell(*orders)
    await office.applied(topics.TOUCHPOINTS, len(orders))
    await office.applied(topics.IDENTITIES, len(people))
    return await office.refit(as_of="1997-10-01T00:00:00Z", activate=True)


def test_no_route_that_changes_something_was_forgotten(office: Office) -> None:
    assert changing(office.app) == {("POST", "/v1/models/refit"), ("POST", "/v1/models/{id}/activate"), *DEAD_LETTERS}


async def test_a_model_has_one_time_line_from_whoever_asked_to_what_came_of_it(
    auditor: Auditor, refused: Json, fitted: Json
) -> None:
    asked, failed = await auditor.changes(object=f"models/{refused['id']}")
    assert [(each["actor"], each["action"]) for each in (asked, failed)] == [
        ("settings:secret", "requested"),
        ("temas:fits", "failed"),
    ]
    assert (failed["before"]["status"], failed["after"]["status"]) == ("fitting", "failed")
    assert failed["after"]["reason"] == refused["reason"]

    changes = await auditor.changes(object=f"models/{fitted['id']}")
    assert [(each["actor"], each["action"]) for each in changes] == [
        ("settings:secret", "requested"),
        ("temas:fits", "fitted"),
        ("temas:fits", "activated"),
    ]
    statuses = [(each["before"] and each["before"]["status"], each["after"]["status"]) for each in changes]
    assert statuses == [(None, "fitting"), ("fitting", "ready"), ("ready", "active")]


async def test_each_change_leaves_one_row_with_who_made_it(auditor: Auditor, office: Office, fitted: Json) -> None:
    row = await auditor.leaves_a_row("POST", Example("/v1/models/refit", "models/", "requested", {}))
    again = row["after"]["id"]

    async def ready() -> bool:
        return bool((await office.get(f"/v1/models/{again}"))["status"] == "ready")

    await until(ready)
    address = f"/v1/models/{again}/activate"
    row = await auditor.leaves_a_row("POST", Example(address, f"models/{again}", "activated"))
    assert (row["before"]["status"], row["after"]["status"]) == ("ready", "active")

    before = await auditor.changes()
    assert (await auditor.ask("POST", address)).is_success
    assert (await auditor.ask("POST", f"/v1/models/{'1999-01-01T00:00:00Z'}/activate")).status_code == 404
    assert await auditor.changes() == before, "what is so already, or refused, changes nothing"


async def test_what_is_typed_at_the_machine_has_an_actor_too(
    auditor: Auditor, installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in told(installation, "scoring", SECRET).items():
        monkeypatch.setenv(name, value)
    typed = await asyncio.to_thread(CliRunner().invoke, main, ["refit"])
    assert typed.exit_code == 0, typed.output
    asked = (await auditor.changes(object=f"models/{typed.output.strip()}"))[0]
    assert (asked["actor"], asked["action"]) == (of_operator(), "requested")
    assert asked["actor"].startswith("cli:")


@pytest.mark.parametrize("statement", ["DELETE FROM audit", "UPDATE audit SET actor = 'nobody'", "TRUNCATE audit"])
async def test_nobody_takes_back_what_is_written_down(refused: Json, office: Office, statement: str) -> None:
    with pytest.raises(Exception, match="append-only"):
        await office.rows(statement)
