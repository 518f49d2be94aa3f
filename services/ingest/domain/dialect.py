"""What of JSON Schema (2020-12) a plan may be written in, and what is wrong with a schema that is not.

Refused, beside what the standard itself refuses, is what would let a schema check nothing without a word, or cost more
than it seems to: keywords that nobody knows, references to other documents or back into itself, and too much of all.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any, NamedTuple
from urllib.parse import unquote

import jsonschema_rs

from services.ingest.domain.bounds import deeper
from services.ingest.domain.paths import cut

DIALECT = "https://json-schema.org/draft/2020-12/schema"

SCHEMA_BYTES = 64 * 1024
"""Of one schema. The longest that people write have some 10 KB."""

LEVELS = 64
"""How deep a schema may be nested, references followed: twice as deep as a call, for each level of one takes two."""

PARTS = 5_000
"""Subschemas in one schema, references written out. The largest such schema over the largest call takes .3 s."""

PATTERNS = 100
"""Regular expressions in one schema: compiled, each may take a megabyte."""

ENOUGH = 100
"""Unknown keywords that are looked for: guessing what somebody meant takes its time."""

Place = tuple[str | int, ...]
"""The steps from a schema's root."""


class Mistake(NamedTuple):
    """What is wrong with a schema, and where."""

    place: Place
    message: str


def mistakes(schema: Any) -> list[Mistake]:
    """What is wrong with `schema`, parsed JSON; nothing, where it can be compiled but for its patterns and formats."""
    if unfit := _unfit(schema):
        return [Mistake((), unfit)]
    try:
        jsonschema_rs.meta.validate({**schema, "$schema": DIALECT})
    except jsonschema_rs.ValidationError as error:
        return [told(error)]
    return _Reading(schema).mistakes()


def written(schema: Mapping[str, Any]) -> str:
    """The schema as it is kept: JSON, on one line. Raises ValueError for what JSON can't say (NaN)."""
    return json.dumps(schema, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def told(error: Exception) -> Mistake:
    """What jsonschema_rs found wrong, as a mistake."""
    if not isinstance(error, jsonschema_rs.ValidationError):
        return Mistake((), cut(str(error), 300))
    place = tuple(error.instance_path)
    if error.kind.name == "format" and error.kind.value == "regex":
        return Mistake(place, _NO_PATTERN)
    if place[-1:] == ("type",):
        return Mistake(place, _NO_TYPE)
    return Mistake(place, cut(error.message.splitlines()[0], 300))


_NO_TYPE = "type is one of array, boolean, integer, null, number, object and string, or a list of them"
_NO_PATTERN = (
    "this is no regular expression that is matched in linear time (no look-around, no back-reference), or it is too "
    "large: for lengths there are minLength and maxLength"
)


def _unfit(schema: Any) -> str | None:
    """What keeps a schema from being read at all."""
    if not isinstance(schema, dict):
        return 'a schema is a JSON object, such as {"type": "object", "required": ["total"]}'
    if deeper(schema, LEVELS):
        return f"a schema may be nested {LEVELS} levels deep"
    if str(schema.get("$schema", DIALECT)).removesuffix("#") != DIALECT:
        return f"schemas are JSON Schema 2020-12 here: leave $schema out, or say {DIALECT}"
    return _unwritable(schema)


def _unwritable(schema: Mapping[str, Any]) -> str | None:
    try:
        text = written(schema)
        size = len(text.encode())
    except ValueError as error:  # half of a surrogate pair is one, too
        return f"this can't be written as JSON: {error}"
    if "\\u0000" in text:
        return "U+0000 can't be kept: leave it out"
    return f"a schema may have {SCHEMA_BYTES} bytes, this one has {size}" if size > SCHEMA_BYTES else None


class _Weight(NamedTuple):
    """What a subschema comes to with its references written out: how many subschemas, how deep."""

    parts: int = 1
    levels: int = 1


class _Reading:
    """One walk through a schema that is right in form, along its references, that notes what we don't take."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self.schema = schema
        self.found: list[Mistake] = []
        self.patterns = 0
        # By identity: what many references lead to is read once. None while it is being read.
        self.weights: dict[int, _Weight | None] = {}
        # What references may lead to: elsewhere, in an example or a constant, nobody has looked at its form.
        self.schemas = {id(each) for each in _schemas(schema)}

    def mistakes(self) -> list[Mistake]:
        self._weigh(self.schema, (), LEVELS)
        if self.patterns > PATTERNS:
            self._note((), f"a schema may have {PATTERNS} patterns, this one has {self.patterns}")
        return self.found

    def _note(self, place: Place, message: str) -> _Weight:
        self.found.append(Mistake(place, message))
        return _Weight()

    def _weigh(self, schema: Any, place: Place, levels: int) -> _Weight:
        """What `schema`, found at `place`, comes to; it may have so many `levels`."""
        if not isinstance(schema, dict):
            return _Weight()
        if levels == 0:
            return self._note(place, _HEAVY)
        if id(schema) not in self.weights:
            self.weights[id(schema)] = None
            self.weights[id(schema)] = self._weighed(schema, place, levels)
        weight = self.weights[id(schema)]
        if weight is None:
            return self._note(place, _ENDLESS)
        return self._note(place, _HEAVY) if weight.levels > levels or weight.parts > PARTS else weight

    def _weighed(self, schema: Mapping[str, Any], place: Place, levels: int) -> _Weight:
        self._look(schema, place)
        weights = [self._weigh(each, where, levels - 1) for where, each in self._inside(schema, place)]
        return _Weight(1 + sum(each.parts for each in weights), 1 + max((each.levels for each in weights), default=0))

    def _look(self, schema: Mapping[str, Any], place: Place) -> None:
        for keyword in schema:
            if keyword not in _KEYWORDS and not keyword.startswith("x-") and len(self.found) < ENOUGH:
                self._note((*place, keyword), _unknown(keyword))
        if place and "$id" in schema:
            self._note((*place, "$id"), _BY_PLACE)
        self.patterns += ("pattern" in schema) + len(schema.get("patternProperties", ()))

    def _inside(self, schema: Mapping[str, Any], place: Place) -> Iterator[tuple[Place, Any]]:
        """The subschemas of `schema`, and the one that it refers to, each with its place."""
        yield from (((*place, *steps), each) for steps, each in _subschemas(schema))
        if "$ref" in schema:
            yield self._target(schema["$ref"], (*place, "$ref"))

    def _target(self, reference: str, place: Place) -> tuple[Place, Any]:
        """What `reference`, which stands at `place`, leads to."""
        shown = repr(cut(reference, 100))
        if not reference.startswith("#"):
            self._note(place, f"{shown} is another document, and none is ever fetched: put it under $defs")
            return place, True
        steps, found = _followed(self.schema, reference)
        if not isinstance(found, bool) and id(found) not in self.schemas:
            self._note(place, f"there is no schema at {shown}: {_BY_PLACE}")
            return place, True
        return steps, found


def _subschemas(schema: Mapping[str, Any]) -> Iterator[tuple[Place, Any]]:
    """What stands in `schema` as a schema of its own, each with the steps to it."""
    for keyword, held in schema.items():
        if keyword in _ONE:
            yield (keyword,), held
        elif keyword in _LISTED:
            yield from (((keyword, index), each) for index, each in enumerate(held))
        elif keyword in _NAMED:
            yield from (((keyword, name), each) for name, each in held.items())


def _schemas(schema: Any) -> Iterator[Mapping[str, Any]]:
    """`schema`, and all that stand in it."""
    if isinstance(schema, dict):
        yield schema
        for _, each in _subschemas(schema):
            yield from _schemas(each)


def _followed(schema: Mapping[str, Any], reference: str) -> tuple[Place, Any]:
    """The place that a JSON pointer leads to, and what is there; None where nothing is."""
    if reference != "#" and not reference.startswith("#/"):
        return (), None
    steps: list[str | int] = []
    found: Any = schema
    for each in unquote(reference[1:]).split("/")[1:]:
        step: str | int = each.replace("~1", "/").replace("~0", "~")
        if isinstance(found, list):
            step = int(each) if each.isdecimal() and int(each) < len(found) else -1
            found = found[step] if step != -1 else None
        else:
            found = found.get(step) if isinstance(found, dict) else None
        steps.append(step)
    return tuple(steps), found


_HEAVY = f"written out with its references, a schema may have {PARTS} parts and {LEVELS} levels: this has more"
_ENDLESS = "a schema may not lead back into itself by $ref: write out as many levels as the event has"
_BY_PLACE = "refer by place, as in #/$defs/product"

# --- keywords --------------------------------------------------------------------------------------------------------

# fmt: off
_ONE = frozenset({
    "not", "if", "then", "else", "items", "contains", "additionalProperties", "propertyNames", "unevaluatedItems",
    "unevaluatedProperties", "contentSchema",
})
_LISTED = frozenset({"allOf", "anyOf", "oneOf", "prefixItems"})
_NAMED = frozenset({"properties", "patternProperties", "dependentSchemas", "$defs", "definitions"})
_PLAIN = frozenset({
    "$schema", "$id", "$ref", "$comment", "type", "enum", "const", "multipleOf", "maximum", "exclusiveMaximum",
    "minimum", "exclusiveMinimum", "maxLength", "minLength", "pattern", "maxItems", "minItems", "uniqueItems",
    "maxContains", "minContains", "maxProperties", "minProperties", "required", "dependentRequired", "format",
    "contentEncoding", "contentMediaType", "title", "description", "default", "deprecated", "readOnly", "writeOnly",
    "examples",
})
_KEYWORDS = _ONE | _LISTED | _NAMED | _PLAIN
# fmt: on

_UNTAKEN = {
    "$anchor": _BY_PLACE,
    "$dynamicAnchor": _BY_PLACE,
    "$dynamicRef": _BY_PLACE,
    "$recursiveRef": _BY_PLACE,
    "nullable": 'write "type": ["string", "null"]',
    "dependencies": "write dependentRequired or dependentSchemas",
    "additionalItems": "write items beside prefixItems",
    "example": "write examples, as a list",
}


def _unknown(keyword: str) -> str:
    close = get_close_matches(keyword, sorted(_KEYWORDS), n=1)
    advice = _UNTAKEN.get(keyword) or (f"did you mean {close[0]}?" if close else "what is your own begins with x-")
    return f"{keyword[:60]!r} would be ignored: {advice}"
