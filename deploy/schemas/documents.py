"""The published documents, made from the wire structs: a JSON Schema for each event type, and one AsyncAPI document."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from typing import Any

import msgspec

from shared import topics
from shared.events import CONTENT_TYPE, CloudEvent
from shared.topics import Topic

DIALECT = "https://json-schema.org/draft/2020-12/schema"

ABOUT: Mapping[str, str] = {
    "touchpoints": "The log of record: every accepted contact of a person with the company.",
    "touchpoints.rejected": "Events that could not be used, as received, with every reason.",
    "identities": "The identifiers of each profile, or the profile that absorbed it. Compacted.",
    "profiles": "The whole unified view of each customer. Compacted; apply only higher versions.",
    "signals": "Segment entered or left, stage changed: what somebody may want to act on.",
    "scores": "The latest scores of each customer. Compacted; apply only higher versions.",
    "keys": "What each key may do, until when; of a key itself only its SHA-256. Compacted.",
    "decisions": "Every decision: the winner, every loser with the first gate it failed or its numbers.",
}


def event_types() -> dict[str, type[CloudEvent]]:
    """Every event type by its name, such as `temas.touchpoint.v1`."""
    return {str(topic.event.__struct_config__.tag): topic.event for topic in topics.TOPICS}


def schema(event: type[CloudEvent]) -> dict[str, Any]:
    """The JSON Schema of `event`, a whole CloudEvent in structured mode."""
    document: dict[str, Any] = json.loads(json.dumps({"$schema": DIALECT, **msgspec.json.schema(event)}))
    for definition in document["$defs"].values():
        if "description" in definition:
            definition["description"] = inspect.cleandoc(definition["description"])
    return document


def asyncapi() -> dict[str, Any]:
    """The topics as an AsyncAPI 3 document: what each carries, who writes it, how it is keyed and kept."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Temas topics",
            "version": "1.0.0",
            "description": "Values are CloudEvents 1.0 in JSON, structured mode. Topic names may carry a prefix.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": CONTENT_TYPE,
        "channels": {_name(topic): _channel(topic) for topic in topics.TOPICS},
        "operations": {f"send-{_name(topic)}": _operation(topic) for topic in topics.TOPICS},
        "components": {"messages": {name: _message(name, event) for name, event in event_types().items()}},
    }


def _name(topic: Topic) -> str:
    return topic.name.replace(".", "-")


def _channel(topic: Topic) -> dict[str, Any]:
    tag = str(topic.event.__struct_config__.tag)
    return {
        "address": topic.name,
        "description": ABOUT.get(topic.name, f"What {topic.giver} could not process, with the reason and the bytes."),
        "messages": {"event": {"$ref": f"#/components/messages/{tag}"}},
        "bindings": {"kafka": {"partitions": topic.partitions, "topicConfiguration": _configuration(topic)}},
    }


def _configuration(topic: Topic) -> dict[str, Any]:
    kept: dict[str, Any] = {"cleanup.policy": [topic.config["cleanup.policy"]]}
    if "retention.ms" in topic.config:
        kept["retention.ms"] = int(topic.config["retention.ms"])
    return kept


def _operation(topic: Topic) -> dict[str, Any]:
    return {
        "action": "send",
        "summary": f"Written by the {topic.giver} service.",
        "channel": {"$ref": f"#/channels/{_name(topic)}"},
    }


def _message(name: str, event: type[CloudEvent]) -> dict[str, Any]:
    return {
        "name": name,
        "contentType": CONTENT_TYPE,
        "summary": (event.__doc__ or name).strip().splitlines()[0] if event.__doc__ else name,
        "payload": {
            "schemaFormat": "application/schema+json;version=draft-2020-12",
            "schema": {"$ref": f"./{name}.json"},
        },
    }
