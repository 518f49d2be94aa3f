"""What may change in a schema that others rely on: adding optional fields and widening. Nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Schema = Mapping[str, Any]


@dataclass(frozen=True)
class Field:
    """One place in a document: the JSON types and constants it may hold, and whether it must be there."""

    kinds: frozenset[str]
    values: frozenset[str]
    required: bool


def breaks(old: Schema, new: Schema) -> list[str]:
    """How `new` departs from what readers and writers of `old` rely on, as JSON paths with words; empty is good."""
    before, after = dict(_fields(old, old, "$", required=True)), dict(_fields(new, new, "$", required=True))
    gone = [f"{path}: is gone; keep it" for path in before if path not in after]
    added = [
        f"{path}: is new and required; give it a default"
        for path, field in after.items()
        if path not in before and field.required and path.rpartition(".")[0] in before
    ]
    changed = [
        f"{path}: {change}" for path in before.keys() & after.keys() for change in _changes(before[path], after[path])
    ]
    return sorted(gone + added + changed)


def _changes(old: Field, new: Field) -> Iterator[str]:
    if new.required and not old.required:
        yield "is now required; give it a default"
    # No kinds at all means that anything goes.
    if new.kinds and (lost := (old.kinds or {"anything"}) - new.kinds):
        yield f"no longer holds {', '.join(sorted(lost))}"
    if new.values and (lost := (old.values or {"any value"}) - new.values):
        yield f"no longer holds {', '.join(sorted(lost))}"


def _fields(schema: Schema, root: Schema, path: str, *, required: bool) -> Iterator[tuple[str, Field]]:
    """Every place that `schema` speaks of, by its JSON path. Our structs never contain themselves."""
    choices = [_resolved(choice, root) for choice in _resolved(schema, root).get("anyOf", [schema])]
    kinds = frozenset(kind for choice in choices for kind in _kinds(choice))
    values = frozenset(repr(value) for choice in choices for value in choice.get("enum", ()))
    yield path, Field(kinds, values, required)
    for choice in choices:
        for name, inner in choice.get("properties", {}).items():
            yield from _fields(inner, root, f"{path}.{name}", required=name in choice.get("required", ()))
        for several in ("items", "additionalProperties"):
            if isinstance(choice.get(several), Mapping):
                yield from _fields(choice[several], root, f"{path}[]", required=False)


def _resolved(schema: Schema, root: Schema) -> Schema:
    while "$ref" in schema:
        schema = root["$defs"][schema["$ref"].rsplit("/", 1)[1]]
    return schema


def _kinds(schema: Schema) -> set[str]:
    kind = schema.get("type")
    if kind is None:
        return {"string"} if all(isinstance(value, str) for value in schema.get("enum", (None,))) else set()
    return {kind} if isinstance(kind, str) else set(kind)
