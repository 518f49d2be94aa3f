"""What FastAPI's documentation says of the routes that are not FastAPI's: made from the structs that decode them."""

from __future__ import annotations

from typing import Any, get_args

import msgspec
from fastapi import FastAPI
from msgspec import Raw

from services.ingest.api import events, pixel
from services.ingest.api.tracking import BATCH_PATHS, CALLS
from services.ingest.domain.bodies import Parcel
from services.ingest.domain.calls import Sent, When
from services.ingest.domain.plan import UNNAMED
from services.ingest.domain.proof import HEADER
from shared.events import CallType

Json = dict[str, Any]
Object = dict[str, Any] | None

# The structs that decode, with what they leave undecoded spelled out.
Call = msgspec.defstruct(
    "Call",
    [(each.name, Object if each.type is Raw else each.type, None) for each in msgspec.structs.fields(Sent)],
    namespace={"__doc__": Sent.__doc__},
    rename="camel",
)
Batch = msgspec.defstruct(
    "Batch",
    [
        ("batch", list[Call]),  # type: ignore[valid-type]
        ("sent_at", When, None),
        ("context", Object, None),
        ("integrations", Object, None),
        ("write_key", str | None, None),
    ],
    namespace={"__doc__": Parcel.__doc__},
    rename="camel",
)

EXAMPLES: dict[str, Json] = {
    "track": {"userId": "u-17", "event": "Order Completed", "properties": {"order_id": "o-1", "total": 120.5}},
    "identify": {"userId": "u-17", "anonymousId": "a-3", "traits": {"email": "ayse@example.com", "plan": "pro"}},
    "page": {"anonymousId": "a-3", "name": "Home", "properties": {"path": "/"}},
    "screen": {"anonymousId": "a-3", "name": "Basket"},
    "group": {"userId": "u-17", "groupId": "g-1", "traits": {"name": "Example Ltd"}},
    "alias": {"previousId": "a-3", "anonymousId": "a-3", "userId": "u-17"},
}
EVENT: Json = {
    "specversion": "1.0",
    "id": "o-1-placed",
    "source": "https://shop.example/orders",
    "type": "Order Completed",
    "subject": "user_id:u-17",
    "time": "2026-03-01T10:00:00Z",
    "data": {"order_id": "o-1", "total": 120.5},
}
_WHOSE = "Whose it is, where subject says something else."
EVENT_SCHEMA: Json = {
    "type": "object",
    "required": ["specversion", "id", "source", "type"],
    "properties": {
        "specversion": {"const": "1.0"},
        "id": {"type": "string", "minLength": 1},
        "source": {"type": "string", "format": "uri-reference", "minLength": 1},
        "type": {"type": "string", "minLength": 1, "maxLength": 512},
        "subject": {"type": "string", "description": "`user_id:…`, `anonymous_id:…`, or what else it is about."},
        "time": {"type": "string", "format": "date-time"},
        "datacontenttype": {"type": "string"},
        "dataschema": {"type": "string", "format": "uri"},
        "userid": {"type": "string", "description": _WHOSE},
        "anonymousid": {"type": "string", "description": _WHOSE},
        "channel": {"type": "string"},
        "data": {},
        "data_base64": {"type": "string", "contentEncoding": "base64"},
    },
    "additionalProperties": {"type": ["string", "integer", "boolean", "null"]},
}
ANSWERS = {
    "200": "Kafka has it. `Temas-Position` says where (for `?after=`), `Temas-Rejected` how many calls were put aside.",
    "400": "Nothing of it can be used, and `details` say why, field by field. It is kept all the same.",
    "401": "No key, or a wrong one. Nothing was kept.",
    "403": "The key may not write, or the browser is on a page that its source does not list. Nothing was kept.",
    "408": "The body did not arrive in time: send it again.",
    "413": "The body is too large. Nothing was kept.",
    "415": "The body is compressed in a way that is not read here.",
    "429": "Past the source's rate or its quota: send it again after `Retry-After` seconds. Nothing was kept.",
    "503": "Kafka does not acknowledge, or too much arrives at once: send it again after `Retry-After` seconds, with "
    "the same message ids.",
}


def document(app: FastAPI) -> None:
    """Add the tracking API to `app`'s OpenAPI document."""
    described = app.openapi

    def openapi() -> Json:
        document = described()
        _, schemas = msgspec.json.schema_components([Call, Batch], ref_template="#/components/schemas/{name}")
        components = document.setdefault("components", {})
        components.setdefault("schemas", {}).update(schemas, Error=_ERROR, Success=_SUCCESS)
        components.setdefault("securitySchemes", {}).update(_KEYS)
        document["paths"].update(_paths())
        for path, operations in document["paths"].items():
            if path.startswith("/v1/plan/{type}"):
                _name_kinds(operations, named="{name}" in path)
        return document

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's own way to extend the document


def _name_kinds(operations: Json, *, named: bool) -> None:
    """Of routes to events with a name, the kinds of call that have one; of the others, those that have none."""
    kinds = [kind for kind in get_args(CallType) if kind != "alias" and (kind in UNNAMED) != named]
    for operation in operations.values():
        for parameter in operation["parameters"]:
            if parameter["name"] == "type":
                parameter["schema"] = {"type": "string", "enum": kinds}


def _paths() -> Json:
    calls = {f"/v1/{name}": _operation(name, call, "Call", EXAMPLES[call]) for name, call in CALLS.items()}
    batch = {"batch": [{"type": call, **example} for call, example in EXAMPLES.items()]}
    batches = {path: _operation(path, "batch", "Batch", batch) for path in BATCH_PATHS}
    images = {path: _image(path, call) for path, call in pixel.PATHS.items()}
    return {**calls, **batches, events.PATH: _events(), **images}


def _operation(name: str, call: str, schema: str, example: Json) -> Json:
    body = {"schema": {"$ref": f"#/components/schemas/{schema}"}, "example": example}
    operation = {
        "operationId": "send_" + name.strip("/").replace("/", "_"),
        "summary": f"Send {'calls of any kind' if call == 'batch' else f'one {call} call'}",
        "tags": ["tracking"],
        "security": [{key: []} for key in _KEYS],
        "parameters": [_PROOF],
        "requestBody": {"required": True, "content": {"application/json": body}},
        "responses": {status: _answer(status, meaning) for status, meaning in ANSWERS.items()},
    }
    return {"post": operation}


def _events() -> Json:
    content = {
        "application/cloudevents+json": {"schema": EVENT_SCHEMA, "example": EVENT},
        "application/cloudevents-batch+json": {"schema": {"type": "array", "items": EVENT_SCHEMA}, "example": [EVENT]},
    }
    description = (
        "With any other `Content-Type` the body is the data of one event, whose attributes are headers: "
        "`ce-specversion`, `ce-id`, `ce-source`, `ce-type`, `ce-subject` ..."
    )
    operation = {
        "operationId": "send_cloudevents",
        "summary": "Send CloudEvents, one or many",
        "tags": ["tracking"],
        "security": [{key: []} for key in _KEYS],
        "parameters": [_PROOF],
        "requestBody": {"required": True, "description": description, "content": content},
        "responses": {status: _answer(status, meaning) for status, meaning in ANSWERS.items()},
    }
    return {"post": operation}


def _image(path: str, call: str) -> Json:
    """A call as an image: `data`, or each field by itself."""
    fields = {"data": "The call's JSON in base64. Without it, each of its fields stands by itself:"}
    fields |= {"userId": "", "anonymousId": "", "messageId": "So that an image that is looked at twice is one call."}
    parameters = [
        {"name": name, "in": "query", "description": description, "schema": {"type": "string"}}
        for name, description in fields.items()
    ]
    operation = {
        "operationId": "look_at" + path.replace("/", "_"),
        "summary": f"Send one {call} call as the address of an image",
        "tags": ["tracking"],
        "security": [{key: []} for key in _KEYS],
        "parameters": parameters,
        "responses": {
            status: {"description": meaning, "content": {"image/gif": {}}}
            for status, meaning in ANSWERS.items()
            if status not in ("408", "413", "415")
        },
    }
    return {"get": operation}


def _answer(status: str, meaning: str) -> Json:
    schema = "Success" if status == "200" else "Error"
    return {
        "description": meaning,
        "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}},
    }


_KEYS = {
    "basic": {"type": "http", "scheme": "basic", "description": "The write key, or the secret key, as user name."},
    "bearer": {"type": "http", "scheme": "bearer", "description": "Either key."},
    "query": {"type": "apiKey", "in": "query", "name": "writeKey", "description": "The write key."},
}
_PROOF: Json = {
    "name": HEADER,
    "in": "header",
    "description": "A user token, where the source asks for proof of who somebody is; it may come as "
    "`context.userToken` of a call or of its batch, too.",
    "schema": {"type": "string"},
}
_SUCCESS = {"type": "object", "required": ["success"], "properties": {"success": {"const": True}}}
_ERROR = {
    "type": "object",
    "required": ["code", "message"],
    "properties": {
        "code": {"type": "string"},
        "message": {"type": "string"},
        "details": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {name: {"type": "string"} for name in ("path", "code", "message")},
            },
        },
    },
}
