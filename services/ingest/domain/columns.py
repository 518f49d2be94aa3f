"""Columns of a file: which of them fills which field of a call."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from typing import Any, NamedTuple

import msgspec

from services.ingest.domain.calls import Sent
from services.ingest.domain.cells import KINDS, Kind

Path = tuple[str, ...]
"""Where a value stands in a call: `("properties", "total")`, written `properties.total`."""

_OBJECTS = frozenset({"properties", "traits", "context", "integrations"})
_FIELDS = frozenset(field.encode_name for field in msgspec.structs.fields(Sent)) - {"writeKey"}
_TIMES = frozenset({"timestamp", "originalTimestamp"})


class Field(NamedTuple):
    """A field of the call, the column that fills it, and what the column holds; None: whatever it is."""

    path: Path
    column: str
    kind: Kind | None = None


class Constant(NamedTuple):
    """A field of the call that is the same in all rows."""

    path: Path
    value: Any


def path(text: str) -> Path:
    """`properties.total` as a path. Raises ValueError where a call has no such field."""
    parts = tuple(text.split("."))
    if parts[0] not in _FIELDS:
        near = get_close_matches(parts[0], _FIELDS, n=1)
        meant = f"did you mean {near[0]}?" if near else f"its fields are {', '.join(sorted(_FIELDS))}"
        raise ValueError(f"a call has no field {parts[0]!r}: {meant}")
    if not all(parts) or (len(parts) > 1 and parts[0] not in _OBJECTS):
        raise ValueError(f"{text!r} is no field: only {', '.join(sorted(_OBJECTS))} have fields inside")
    return parts


def typed_path(text: str) -> tuple[Path, Kind | None]:
    """`properties.total:number` as a path and a type; a time is one without being told. Raises ValueError."""
    name, colon, kind = text.rpartition(":")
    if not colon:
        return path(text), "time" if text in _TIMES else None
    if kind not in KINDS:
        raise ValueError(f"{text!r}: there is no type {kind!r}; types are {', '.join(KINDS)}")
    return path(name), kind  # type: ignore[return-value]  # it is one of them


def by_name(columns: Iterable[str]) -> tuple[Field, ...]:
    """The fields of a file whose columns are named after them, as `userId` and `properties.total:number`."""
    found = []
    for column in columns:
        try:
            where, kind = typed_path(column)
        except ValueError:
            continue  # a column of another meaning: whoever has the file read is told that it is left out
        found.append(Field(where, column, kind))
    return tuple(found)


@dataclass(frozen=True)
class Mapping:
    """How rows become calls. `rest`: the object that all other columns go into; None leaves them out.

    `whole`: a row is a call already, and the fields here are put over its own. Raises ValueError where something would
    be lost.
    """

    fields: tuple[Field, ...] = ()
    constants: tuple[Constant, ...] = ()
    rest: Path | None = None
    whole: bool = False

    def __post_init__(self) -> None:
        if twice := next((path for path, times in Counter(self.filled).items() if times > 1), None):
            raise ValueError(f"{'.'.join(twice)} is given twice: by two columns, or by a column and a constant")
        if ("messageId",) in [constant.path for constant in self.constants]:
            raise ValueError("messageId can't be the same in all rows: they would be one event")
        if self.rest is not None and self.rest[0] not in _OBJECTS:
            raise ValueError(f"the rest can go into {', '.join(sorted(_OBJECTS))}, not into {self.rest[0]}")

    @property
    def filled(self) -> list[Path]:
        return [*(field.path for field in self.fields), *(constant.path for constant in self.constants)]

    @cached_property
    def used(self) -> frozenset[str]:
        """The columns that need not be looked for among the rest."""
        return frozenset(field.column for field in self.fields) | (_FIELDS if self.whole else frozenset())

    @cached_property
    def beside_rest(self) -> frozenset[str]:
        """The names that others already have where the rest goes."""
        return frozenset(path[-1] for path in self.filled if path[:-1] == self.rest)

    @cached_property
    def columns(self) -> dict[str, str]:
        """The column behind each JSON path."""
        return {f"$.{'.'.join(field.path)}": field.column for field in self.fields}
