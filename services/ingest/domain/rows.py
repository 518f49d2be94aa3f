"""Rows of a file as calls of the tracking API, and the id that a row has.

A row that has no message id gets one that follows from what it says: `uuid5` of the call that it becomes, and of how
many rows that say the same stand before it in the file. So a file that is imported twice changes nothing, nor does
tonight's export that repeats yesterday's rows below, above or between new ones: those have their ids already. Two rows
that say the same are two events in one file, and the same two in another. Where they are not, something must tell
them apart: a constant such as `--set properties.day=2026-03-01` is enough.

Consumers know an id for 35 days. What is repeated for longer, as by an export that only ever grows, counts again: such
rows have to be left out (`--since`).
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Mapping as AnyMapping
from typing import Any, NamedTuple

import msgspec
from msgspec import Raw

from services.ingest.domain.calls import named
from services.ingest.domain.cells import Notation, absent, value
from services.ingest.domain.columns import Mapping, Path
from services.ingest.domain.judgement import Accepted, Arrival, Refused, judge, refused
from shared.events import Reason

NAMESPACE = uuid.UUID("2b1a9a0e-6d0b-5f43-9c55-7e0f8f1d3c10")
"""Of the ids of rows. Changing it would make every file that is imported again count twice."""

_encoder = msgspec.json.Encoder(decimal_format="number", order="deterministic", enc_hook=str)
"""Keys in order: what a row says, and with it its id, does not depend on the order of columns or options."""


class Row(NamedTuple):
    """A row as the JSON of a call, and what is wrong with it as far as its cells show.

    `readable`: `text` is that JSON; else it is the row as it stands in the file. `own_id`: it has a message id.
    """

    text: bytes
    own_id: bool = False
    reasons: tuple[Reason, ...] = ()
    readable: bool = True


def unreadable(text: bytes, reason: Reason) -> Row:
    """A row whose cells can't be told apart."""
    return Row(text, reasons=(reason,), readable=False)


class _Head(msgspec.Struct, rename="camel"):
    message_id: str | int | None = None


_head = msgspec.json.Decoder(_Head)
_object = msgspec.json.Decoder(dict[str, Any])
_fields = msgspec.json.Decoder(dict[str, Raw])


def row_of_line(line: bytes) -> Row:
    """A line that is a call already; a line that is none is found out when it is judged."""
    try:
        return Row(_without_sending(line), named(_head.decode(line).message_id) is not None)
    except (ValueError, RecursionError):
        return Row(line)


def _without_sending(line: bytes) -> bytes:
    """The call without the moment it was sent at, unless it has the moment it was received at.

    Their difference tells how wrong a client's clock is. Received now, a call of 2024 would be moved into the present.
    """
    if b'"sentAt"' not in line:
        return line
    fields = _fields.decode(line)
    if "sentAt" not in fields or bytes(fields.get("receivedAt", Raw(b"null"))) != b"null":
        return line
    del fields["sentAt"]
    return msgspec.json.encode(fields)


def mapped_line(line: bytes, how: Mapping, notation: Notation) -> tuple[Row, AnyMapping[str, Any]]:
    """A line of another shape, by `how`; and its columns, none where it is no object."""
    try:
        cells = _object.decode(line)
    except (ValueError, RecursionError):
        return Row(line), {}
    return mapped(cells, how, notation), cells


def mapped(cells: AnyMapping[str, Any], how: Mapping, notation: Notation) -> Row:
    """The row with these cells, by `how`. A cell that does not hold what its column should is one of the reasons."""
    call: dict[str, Any] = dict(cells) if how.whole else {}
    reasons: list[Reason] = []
    if how.rest is not None:
        reasons += _put_rest(call, cells, how, how.rest)
    for field in how.fields:
        cell = cells.get(field.column) if field.column in cells else _inside(cells, field.column)
        try:
            cell = value(cell, field.kind, notation)
        except ValueError as error:
            reasons.append(Reason(f"$.{'.'.join(field.path)}", "wrong_value", str(error)))
        if cell is not None:
            _put(call, field.path, cell)
    for constant in how.constants:
        _put(call, constant.path, constant.value)
    if call.get("receivedAt") is None:
        call.pop("sentAt", None)  # see _without_sending
    return _encoded(call, tuple(reasons))


def _put_rest(call: dict[str, Any], cells: AnyMapping[str, Any], how: Mapping, where: Path) -> list[Reason]:
    """All other columns, by their names. One that has the name of a field that is filled anyway is a reason."""
    others = {column: cell for column, cell in cells.items() if column and column not in how.used and not absent(cell)}
    if others:
        _put(call, where, others)
    return [
        Reason(f"$.{'.'.join(where)}.{column}", "given_twice", f"column {column} and another would both be this field")
        for column in sorted(how.beside_rest & others.keys())
    ]


def _inside(cells: AnyMapping[str, Any], column: str) -> Any:
    """What stands at `customer.no` in a row that has objects inside; None where there is nothing."""
    found: Any = cells
    for step in column.split("."):
        found = found.get(step) if isinstance(found, dict) else None
    return found


def _put(call: dict[str, Any], where: Path, what: Any) -> None:
    """Into a field that holds something else than an object nothing is put: that call is refused for it."""
    for step in where[:-1]:
        inner = call.get(step)
        if inner is None:
            inner = call[step] = {}
        if not isinstance(inner, dict):
            return
        call = inner
    if isinstance(what, dict) and isinstance(there := call.get(where[-1]), dict):
        there.update(what)
    else:
        call[where[-1]] = what


def _encoded(call: dict[str, Any], reasons: tuple[Reason, ...]) -> Row:
    message_id = call.get("messageId")
    own_id = isinstance(message_id, str | int) and named(message_id) is not None
    try:
        return Row(_encoder.encode(call), own_id, reasons)
    except UnicodeEncodeError:
        wrong = Reason("$", "malformed_encoding", "the row is not in the file's encoding: name it with --encoding")
        return Row(json.dumps(call, default=str, sort_keys=True).encode(), own_id, (*reasons, wrong))


# --- ids -------------------------------------------------------------------------------------------------------------


def digest(text: bytes) -> bytes:
    """Of what a row says: rows that say the same have the same, 16 bytes."""
    return hashlib.sha1(NAMESPACE.bytes + text, usedforsecurity=False).digest()[:16]


def row_id(said: bytes, before: int) -> str:
    """The id of a row that says what `said` is of, and has so many equal ones `before` it: a UUID of version 5."""
    plain = (digest(b"%b %d" % (said, before)) if before else said).hex()
    variant = "89ab"[int(plain[16], 16) & 3]
    return f"{plain[:8]}-{plain[8:12]}-5{plain[13:16]}-{variant}{plain[17:20]}-{plain[20:]}"


# --- judging ---------------------------------------------------------------------------------------------------------


def judged(row: Row, arrival: Arrival, id: str) -> Accepted | Refused:
    """The judgement over a row: the one over its call, and what is wrong with its cells. `id` is the row's."""
    if not row.readable:
        return refused(row.reasons, row.text, arrival)
    verdict = judge(Raw(row.text), arrival, lambda: id)
    if not row.reasons:
        return verdict
    named_already = {reason.path for reason in row.reasons}
    if isinstance(verdict, Accepted):
        return refused(row.reasons, row.text, arrival)
    others = (reason for reason in verdict.reasons if reason.path not in named_already)
    return msgspec.structs.replace(verdict, reasons=(*row.reasons, *others))


def located(verdict: Refused, columns: AnyMapping[str, str], place: str) -> Refused:
    """`verdict` with what finds the row again: `place`, as "line 17 of sales.csv", and the columns by their names."""
    reasons = [_in_column(reason, columns.get(reason.path)) for reason in verdict.reasons]
    return msgspec.structs.replace(verdict, reasons=(*reasons, Reason("$", "row", place)))


def _in_column(reason: Reason, column: str | None) -> Reason:
    return reason if column is None else Reason(reason.path, reason.code, f"column {column}: {reason.message}")
