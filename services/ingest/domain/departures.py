"""Where a call departs from its shape, told so that whoever sends it can mend it.

Only calls that have been found to depart come here. No sentence repeats a value: it may be somebody's, and it may be
long. Where the call stood is told by its path; what the plan asks for is the plan's own text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any, NamedTuple

import msgspec

from services.ingest.domain.bounds import KEPT_REASONS
from services.ingest.domain.paths import cut, json_path
from services.ingest.domain.shapes import Shape
from shared.events import Reason

VIOLATION = "plan_violation"

VALUES = 200
"""Past so many values in a call only its first fault is looked for: finding those of 8,000 wrong ones takes 30 ms."""

PLACE_LENGTH = 200
"""Characters of a place."""


class Fault(NamedTuple):
    """One reason, and its `place`: the path as the plan would write it, `$.properties.products[*].price`.

    There are only so many places, whatever clients send: they can be counted by.
    """

    reason: Reason
    place: str


def faults(shape: Shape, held: Mapping[str, Any], root: str) -> tuple[Fault, ...]:
    """Why `held`, which stands in a call at `root`, has not this shape; one at least, and at most KEPT_REASONS."""
    found = tuple(islice(_faults(shape, held, root), KEPT_REASONS))
    return found or (unchecked(root),)


def unchecked(root: str) -> Fault:
    """What is said of a call that the validator can't deal with: it is not let through as if it were right."""
    sentence = f"{root.removeprefix('$.')} can't be held against the plan: please tell us"
    return Fault(Reason(root, VIOLATION, sentence), root)


def _faults(shape: Shape, held: Mapping[str, Any], root: str) -> Iterator[Fault]:
    for error in shape.iter_errors(held) if _few(held) else _first(shape, held):
        place = _place(root, error.evaluation_path)
        for step in _missing_or_unexpected(error.kind):
            path = json_path(root, (*error.instance_path, *step))
            where = f"{place}.{step[0]}" if step and error.kind.name == "required" else place
            yield Fault(Reason(path, VIOLATION, _sentence(path, error)), cut(where, PLACE_LENGTH))


def _first(shape: Shape, held: Mapping[str, Any]) -> Iterator[Any]:
    try:
        shape.validate(held)
    except ValueError as error:
        yield error


def _few(value: object) -> bool:
    """Whether there are at most VALUES in `value`, lists and objects among them."""
    waiting, seen = [value], 0
    while waiting and seen <= VALUES:
        value = waiting.pop()
        seen += 1
        if isinstance(value, dict | list):
            if len(value) > VALUES:
                return False
            waiting += value.values() if isinstance(value, dict) else value
    return seen <= VALUES


def _missing_or_unexpected(kind: Any) -> list[tuple[str, ...]]:
    """The field of each reason, below the object that the error is about: one where the error names none."""
    if kind.name == "required":
        return [(kind.property,)]
    unexpected = getattr(kind, "unexpected", None) or ()
    return [(name,) for name in unexpected if isinstance(name, str)] or [()]


# --- places ----------------------------------------------------------------------------------------------------------

_LIST = {"items", "contains", "unevaluatedItems"}
_ANY_NAME = {"additionalProperties", "patternProperties", "unevaluatedProperties", "propertyNames"}
_AND_NAME = {"properties", "patternProperties", "dependentSchemas"}
_AND_INDEX = {"prefixItems", "allOf", "anyOf", "oneOf"}


def _place(root: str, way: list[str | int]) -> str:
    """Where in a call the schema's keyword speaks about, by the `way` that validation took through the schema."""
    place = root
    steps = iter(way)
    for keyword in steps:
        name = next(steps, None) if keyword in _AND_NAME | _AND_INDEX else None
        if keyword == "properties" and isinstance(name, str):
            place = json_path(place, (name,))
        elif keyword in _ANY_NAME:
            place += ".*"
        elif keyword in _LIST:
            place += "[*]"
        elif keyword == "prefixItems" and name is not None:
            place += f"[{name}]"
    return place


# --- sentences -------------------------------------------------------------------------------------------------------


def _sentence(path: str, error: Any) -> str:
    """What to do about `error`, of which `path` names the field."""
    told = _SENTENCES.get(error.kind.name)
    advice = told(error.kind) if told else f"does not fit the plan's {error.kind.name}"
    kind = f"; it is {_kind(error.instance)}" if error.kind.name == "type" else ""
    return cut(f"{path.removeprefix('$.')} {advice}{kind}", 400)


def _kind(value: object) -> str:
    names = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array", type(None): "null"}
    return _TYPES[names.get(type(value), "object")]


_TYPES = {
    "string": "text",
    "number": "a number",
    "integer": "a whole number",
    "boolean": "true or false",
    "object": "an object",
    "array": "a list",
    "null": "null",
}


def _either(options: list[Any]) -> str:
    """Some of the plan's own values."""
    shown = [cut(msgspec.json.encode(option).decode(), 60) for option in options[:10]]
    return ", ".join([*shown, f"… ({len(options)} in all)"] if len(options) > 10 else shown)


def _forms(kind: Any) -> str:
    """What the call lacks of each of the forms that are allowed, in the words of the form's first error."""
    lacks = [_lack(errors[0]) for errors in kind.context[:3] if errors]
    return f"has none of the {len(kind.context)} forms that the plan allows: {'; or '.join(lacks)}"


def _lack(error: Any) -> str:
    step = _missing_or_unexpected(error.kind)[0]
    return _sentence(json_path("$", (*error.instance_path, *step)), error)


_UNEXPECTED = "is not in the plan: leave it out, or add it to the plan"

_SENTENCES: Mapping[str, Callable[[Any], str]] = {
    "type": lambda kind: f"must be {' or '.join(_TYPES[each] for each in kind.types)}",
    "required": lambda kind: "is missing: the plan asks for it",
    "additionalProperties": lambda kind: _UNEXPECTED,
    "unevaluatedProperties": lambda kind: _UNEXPECTED,
    "falseSchema": lambda kind: _UNEXPECTED,
    "enum": lambda kind: f"must be one of {_either(kind.options)}",
    "const": lambda kind: f"must be {_either([kind.expected_value])}",
    "format": lambda kind: f"must have the format {kind.format}",
    "pattern": lambda kind: f"must match {cut(kind.pattern, 100)}",
    "minimum": lambda kind: f"must be {kind.limit} or more",
    "maximum": lambda kind: f"must be {kind.limit} or less",
    "exclusiveMinimum": lambda kind: f"must be more than {kind.limit}",
    "exclusiveMaximum": lambda kind: f"must be less than {kind.limit}",
    "multipleOf": lambda kind: f"must be a multiple of {kind.multiple_of}",
    "minLength": lambda kind: f"must have {kind.limit} characters or more",
    "maxLength": lambda kind: f"must have {kind.limit} characters or fewer",
    "minItems": lambda kind: f"must have {kind.limit} items or more",
    "maxItems": lambda kind: f"must have {kind.limit} items or fewer",
    "minProperties": lambda kind: f"must have {kind.limit} fields or more",
    "maxProperties": lambda kind: f"must have {kind.limit} fields or fewer",
    "uniqueItems": lambda kind: "holds something twice: each item must differ from the others",
    "contains": lambda kind: "has not the items that the plan asks for (contains)",
    "propertyNames": lambda kind: f"has a field whose name {_sentence('$.it', kind.error).removeprefix('it ')}",
    "anyOf": _forms,
    "oneOf": lambda kind: _forms(kind) if type(kind).__name__ == "OneOfNotValid" else "has more than one of the forms",
    "not": lambda kind: "has a form that the plan rules out",
}
