"""What a schema for an event could be, by what has been seen of it: a proposal, for a person to look through.

Types, nesting and what was in every event are genson's. What is added here is only said of enough values, and never
tells a person's: words from a small set, moments, addresses, amounts below which nothing was seen. Whatever is proposed
accepts every event that it was made from.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec
from genson import SchemaBuilder

from services.ingest.domain.dialect import DIALECT, SCHEMA_BYTES, written
from services.ingest.domain.paths import json_path
from services.ingest.domain.shapes import Shape, compiled

ENOUGH = 50
"""Values after which a set of words, or a lowest amount, is no accident."""

SOME = 10
"""Values after which a format is none."""

MOST_WORDS = 10
"""In a set. A field with more is no choice."""

LONGEST_WORD = 40
"""Characters of a word in a set."""

MOST_DISTINCT = 1_000
"""Values told apart in one field."""

MOST_FIELDS = 500
"""Looked at, the first ones seen. Where there are more, names are made up by a program."""

MOST_NAMES = 100
"""In one object. One with more is a table by id, and the next event has other names."""

LEVELS = (8, 3, 1)
"""How deep a proposal goes; less where it would be too large."""


_KINDS: Mapping[type, str] = {
    str: "string", bool: "boolean", int: "integer", float: "number", list: "array", dict: "object", type(None): "null",
}  # fmt: skip

_FORMATS: Mapping[str, Shape] = {
    "date-time": compiled({"format": "date-time"}),
    "date": compiled({"format": "date"}),
    "email": compiled({"format": "email"}),
    "uri": compiled({"format": "uri", "pattern": "^https?://"}),  # else every `a:b` is one
    "uuid": compiled({"format": "uuid"}),
}
"""Those that are looked for, the narrower ones first."""


class Field(msgspec.Struct):
    """What has been seen of one field: in how many values, of which types, and what they have in common."""

    seen: int = 0
    types: dict[str, int] = {}
    distinct: set[Any] = set()
    formats: set[str] = msgspec.field(default_factory=lambda: set(_FORMATS))
    least: float = 0

    def add(self, value: Any) -> None:
        kind = _KINDS[type(value)]
        self.seen += 1
        self.types[kind] = self.types.get(kind, 0) + 1
        if kind == "string":
            self.formats = {each for each in self.formats if _FORMATS[each].is_valid(value)}
            value = value[: LONGEST_WORD + 1]
        elif kind in ("integer", "number"):
            self.least = min(self.least, value)
        if kind not in ("object", "array") and len(self.distinct) < MOST_DISTINCT:
            self.distinct.add(value)


class Proposal(msgspec.Struct, frozen=True):
    """A schema, and what was seen of each field by its path, in the order in which they came."""

    schema: dict[str, Any]
    fields: Mapping[str, Field]


def proposed(events: Iterable[Mapping[str, Any]], root: str) -> Proposal:
    """A schema that all of `events` have, which stand in their calls at `root`. They are looked at once, in order."""
    builder = SchemaBuilder(schema_uri=None)
    fields: dict[str, Field] = {}
    for event in events:
        builder.add_object(event)
        for path, value in _values(event, root):
            if path in fields or len(fields) < MOST_FIELDS:
                fields.setdefault(path, Field()).add(value)
    schema = {"type": "object", **builder.to_schema()}
    candidates = ({"$schema": DIALECT, **_refined(schema, root, fields, levels)} for levels in LEVELS)
    fits = (each for each in candidates if len(written(each).encode()) <= SCHEMA_BYTES)
    return Proposal(next(fits, {"$schema": DIALECT, "type": "object"}), fields)


def _values(held: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Every value in `held`, which stands at `path`, with its own path; of items of a list, the place is the same."""
    if isinstance(held, dict):
        inside = [(json_path(path, (name,)), each) for name, each in held.items()]
    else:
        inside = [(path + "[*]", each) for each in held] if isinstance(held, list) else []
    for pair in inside:
        yield pair
        yield from _values(pair[1], pair[0])


# --- from what was seen to what is asked for -------------------------------------------------------------------------


def _refined(schema: dict[str, Any], path: str, fields: Mapping[str, Field], levels: int) -> dict[str, Any]:
    """genson's `schema` for what stands at `path`, with what else can be said, and so many `levels` deep."""
    if "anyOf" in schema:
        return {**schema, "anyOf": [_refined(each, path, fields, levels) for each in schema["anyOf"]]}
    if schema.get("type") == "object":
        return _refined_object(schema, path, fields, levels)
    if schema.get("type") == "array" and "items" in schema:
        items = _refined(schema["items"], path + "[*]", fields, levels - 1)
        return {"type": "array", "items": items} if levels else {"type": "array"}
    field = fields.get(path)
    return {**schema, **_asked(path, field)} if field else schema


def _refined_object(schema: dict[str, Any], path: str, fields: Mapping[str, Field], levels: int) -> dict[str, Any]:
    properties = schema.get("properties", {})
    if not levels or not properties or len(properties) > MOST_NAMES:
        return {"type": "object"}
    required = {"required": schema["required"]} if schema.get("required") else {}
    refined = {name: _refined(each, json_path(path, (name,)), fields, levels - 1) for name, each in properties.items()}
    return {"type": "object", **required, "properties": refined}


def _asked(path: str, field: Field) -> dict[str, Any]:
    """What more can be asked of a field than its type."""
    kinds = field.types.keys() - {"null"}
    if kinds == {"string"}:
        if words := _words(path, field):
            return {"enum": words}
        if field.seen >= SOME and field.formats:
            return {"format": min(field.formats, key=tuple(_FORMATS).index)}
    amount = kinds and kinds <= {"integer", "number"} and _AMOUNT.search(path)
    return {"minimum": 0} if amount and field.seen >= ENOUGH and field.least >= 0 else {}


def _words(path: str, field: Field) -> list[str | None]:
    """The few words that the field has, where it is a choice and nobody's own."""
    words = sorted(each for each in field.distinct if each is not None)
    few = len(words) <= MOST_WORDS and field.seen >= ENOUGH and 5 * len(words) <= field.seen
    if not few or field.formats or _PERSONAL.search(path) or any(_telling(each) for each in words):
        return []
    return [*words, None] if "null" in field.types else list(words)


def _telling(word: str) -> bool:
    """Whether it may tell who somebody is: an address, a phone number, an id; or is too long to be a choice."""
    return len(word) > LONGEST_WORD or "@" in word or sum(map(str.isdigit, word)) >= 6


_PERSONAL = re.compile(
    r"(id|ids|key|token|session|mail|phone|mobile|tel|name|first|last|surname|address|street|city|town|zip|postal|"
    r"postcode|birth|birthday|dob|age|gender|sex|ip|iban|card|ssn|tax|user|login|lat|lon|lng|latitude|longitude|"
    r"comment|message|text|note|query|search)(?![a-z])",
    re.IGNORECASE,
)
_AMOUNT = re.compile(
    r"(total|subtotal|price|revenue|value|amount|cost|quantity|qty|count|shipping|discount|number|size|length|duration"
    r")(?![a-z])[^.]*$",
    re.IGNORECASE,
)
