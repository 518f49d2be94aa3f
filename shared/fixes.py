"""Fixes: the changes that a person makes to an event that could not be used, before it is tried once more.

A fix works on the bytes as they were received and gives the bytes to try. `fixed` raises nothing: where a fix does not
fit an event, the reasons say why, and the event stays as it is. The result may be as wrong as any event: it is judged
like one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import msgspec
from jsonpatch import JsonPatch, JsonPatchException, JsonPatchTestFailed, JsonPointer, JsonPointerException, path_split

from shared.events import Reason
from shared.rules import Expression, Unknown, results

OPERATIONS = 100
"""Of one patch. Who needs more sends the event again."""

REASON_LENGTH = 500
"""Characters of a library's sentence that are kept: it may quote the whole value that it did not like."""


class Patch(msgspec.Struct, frozen=True):
    """The operations of a JSON Patch (RFC 6902). What they copy may add up to what an event may have."""

    operations: tuple[Mapping[str, Any], ...]


class Setting(msgspec.Struct, frozen=True):
    """Fields, each with the expression that it is set to. All read the event as it was received.

    A field is named with dots (`properties.total`, `context.externalIds.0.id`) or, where its name has a dot itself, as
    a JSON Pointer (`/properties/order.id`). Objects on the way to it are made where there are none.
    """

    fields: Mapping[str, Expression]


class Replacement(msgspec.Struct, frozen=True):
    """What to take in the event's place: for a body that can't be read."""

    body: bytes


Fix = Patch | Setting | Replacement


class Misfit(Exception):
    """A fix that does not fit this event."""

    def __init__(self, *reasons: Reason) -> None:
        self.reasons = reasons


def fixed(
    body: bytes, fix: Fix | None, *, most: int, clean: Callable[[bytes], bytes] = bytes
) -> bytes | tuple[Reason, ...]:
    """`body` mended, as JSON; or the reasons why it can't be mended this way. Without a fix it is `body` itself.

    `most`: bytes that a patch may copy within it. `clean` takes out of it what can't be read as JSON.
    """
    try:
        match fix:
            case None:
                return body
            case Replacement():
                return fix.body
            case Patch():
                return _written(_patched(_read(clean(body)), fix.operations, most))
            case Setting():
                return _written(_set(_read(clean(body)), fix.fields))
    except Misfit as misfit:
        return misfit.reasons
    except RecursionError:
        return (Reason("$", "too_deep", "it is nested too deeply to be mended: give the whole event as fix.body"),)


# --- patches ---------------------------------------------------------------------------------------------------------


def _patched(document: Any, operations: Iterable[Mapping[str, Any]], most: int) -> Any:
    room = most
    for place, operation in enumerate(operations):
        try:
            if operation["op"] == "copy":  # a hundred copies of the whole would double it a hundred times
                room -= len(_written(JsonPointer(operation["from"]).resolve(document)))
            if room < 0:
                raise Misfit(_unfit(place, f"what is copied adds up to more than {most} bytes"))
            document = JsonPatch([operation]).apply(document, in_place=True)
        except JsonPatchTestFailed:
            raise Misfit(_unfit(place, f"{operation['path'] or 'the event'} is not what the test expects")) from None
        except (JsonPatchException, JsonPointerException, TypeError, ValueError, LookupError) as error:
            raise Misfit(_unfit(place, str(error)[:REASON_LENGTH])) from None
    return document


def _unfit(place: int, why: str) -> Reason:
    return Reason("$", "patch_failed", f"operation {place} of the patch: {why}")


# --- fields by expression --------------------------------------------------------------------------------------------


def _set(document: Any, fields: Mapping[str, Expression]) -> Any:
    if not isinstance(document, dict):
        raise Misfit(Reason("$", "not_an_object", "it is no JSON object, so it has no fields: give fix.body"))
    values = results(fields, document)
    unknown = [(field, value.why) for field, value in values.items() if isinstance(value, Unknown)]
    if unknown:
        raise Misfit(*(Reason(shown(field), "expression_failed", why[:REASON_LENGTH]) for field, why in unknown))
    for field, value in values.items():
        _put(document, field, value)
    return document


def steps(field: str) -> list[str]:
    """The names on the way to `field`, the outermost first. Raises ValueError where it names none."""
    names: Sequence[str]
    try:
        names = path_split(field) if field.startswith("/") else field.removeprefix("$.").split(".")
    except JsonPointerException:
        names = ()
    if not names or not all(names):
        raise ValueError(f"{field!r} names no field: write properties.total, or /properties/total")
    return list(names)


def shown(field: str) -> str:
    """`field` as a JSON path."""
    return "$." + ".".join(steps(field))


def _put(document: dict[str, Any], field: str, value: Any) -> None:
    *way, last = steps(field)
    inner: Any = document
    for name in way:
        inner = _inside(inner, name, field)
    if isinstance(inner, list):
        inner[_index(inner, last, field)] = value
    else:
        inner[last] = value


def _inside(outer: Any, name: str, field: str) -> Any:
    """What `outer` has under `name`: an object or a list, made where there is nothing."""
    if isinstance(outer, list):
        found = outer[_index(outer, name, field)]
    else:
        found = outer.get(name)
        if found is None:
            found = outer[name] = {}
    if not isinstance(found, dict | list):
        raise Misfit(Reason(shown(field), "no_such_place", f"{name} is no object: set it as a whole"))
    return found


def _index(held: list[Any], name: str, field: str) -> int:
    if name.isascii() and name.isdecimal() and len(name) < 6 and int(name) < len(held):
        return int(name)
    raise Misfit(Reason(shown(field), "no_such_place", f"there is a list of {len(held)} where {name} should be"))


# --- JSON ------------------------------------------------------------------------------------------------------------


def _no_number(word: str) -> Any:
    raise ValueError(f"{word} is no JSON")


# Not msgspec's: a number that is too large for it is a fault that a fix may mend.
_decode = json.JSONDecoder(parse_constant=_no_number).decode
_encode = partial(json.dumps, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _read(body: bytes) -> Any:
    try:
        return _decode(body.decode())
    except ValueError:
        why = "it can't be read as JSON, so it can't be mended in parts: give the whole event as fix.body"
        raise Misfit(Reason("$", "unreadable", why)) from None


def _written(document: Any) -> bytes:
    try:
        return _encode(document).encode()
    except ValueError:
        why = "it holds a number that is too large: set or remove that, too"
        raise Misfit(Reason("$", "number_out_of_range", why)) from None
