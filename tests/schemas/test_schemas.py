"""The published schemas: true to the structs, true to what is sent, and never broken for those who rely on them."""

from __future__ import annotations

import copy
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from jsonschema import Draft202012Validator

from deploy.schemas.compatibility import breaks
from deploy.schemas.documents import asyncapi, event_types, schema
from shared import topics
from shared.events import Call, Touchpoint, encode
from shared.identifiers import Identifier

FOLDER = Path(__file__).parents[2] / "deploy" / "schemas"
NOW = datetime(2026, 3, 1, 10, tzinfo=UTC)


def published(name: str) -> Any:
    return json.loads((FOLDER / f"{name}.json").read_text())


@pytest.mark.parametrize("name", sorted(event_types()))
def test_the_published_schema_is_the_struct(name: str) -> None:
    made = schema(event_types()[name])
    assert not breaks(published(name), made), "somebody relies on it: give the event a new version instead"
    assert published(name) == made, "run python -m deploy.schemas"


def test_the_published_topics_are_the_topics() -> None:
    assert published("asyncapi") == asyncapi(), "run python -m deploy.schemas"
    assert {channel["address"] for channel in published("asyncapi")["channels"].values()} == {
        topic.name for topic in topics.TOPICS
    }


def test_every_reference_of_the_topics_document_leads_somewhere() -> None:
    document = published("asyncapi")
    for channel in document["channels"].values():
        assert channel["messages"]["event"]["$ref"].rpartition("/")[2] in document["components"]["messages"]
    for message in document["components"]["messages"].values():
        assert (FOLDER / message["payload"]["schema"]["$ref"]).exists()


def test_what_is_sent_fits_the_published_schema() -> None:
    call = Call(
        type="track",
        received_at=NOW,
        channel="web",
        name="Order Completed",
        user_id="u-1",
        traits={"plan": "pro"},
        external_ids=(Identifier("crm", "7"),),
        properties=msgspec.Raw(b'{"total": 3.5}'),
    )
    sent = json.loads(encode(Touchpoint(id="m-1", source="web", time=NOW, data=call)))
    Draft202012Validator(published("temas.touchpoint.v1")).validate(sent)


def changed(**changes: Any) -> list[str]:
    old = published("temas.touchpoint.v1")
    new = copy.deepcopy(old)
    call = new["$defs"]["Call"]
    for name, change in changes.items():
        change(call, name)
    return breaks(old, new)


def test_an_optional_field_may_come() -> None:
    assert not changed(colour=lambda call, name: call["properties"].update({name: {"type": "string"}}))


def test_a_required_field_may_not() -> None:
    def add(call: dict[str, Any], name: str) -> None:
        call["properties"][name] = {"type": "string"}
        call["required"].append(name)

    assert changed(colour=add) == ["$.data.colour: is new and required; give it a default"]


def test_a_field_may_not_go() -> None:
    assert changed(user_id=lambda call, name: call["properties"].pop(name)) == ["$.data.user_id: is gone; keep it"]


def test_a_field_may_not_become_narrower() -> None:
    assert changed(user_id=lambda call, name: call["properties"].update({name: {"type": "string"}}))
    assert changed(type=lambda call, name: call["properties"][name]["enum"].remove("alias"))
