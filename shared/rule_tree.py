"""The syntax tree of a compiled rule: which facts it reads, whether it could grow without bound, and what is where.

CEL gives its checked tree as a protocol buffer (`cel.expr.CheckedExpr`, cel-spec's checked.proto and syntax.proto). We
read six kinds of node of it, by their field numbers, and spare ourselves the dependency.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Fields = Mapping[int, list[Any]]
"""A protocol buffer's fields by number: whole numbers and bytes, undecoded."""

# Expr: its id, and the one field that says its kind.
ID = 2
CONSTANT, IDENT, SELECT, CALL, LIST, STRUCT, LOOP = 3, 4, 5, 6, 7, 8, 9
# Where each kind keeps the expressions inside it.
PARTS = {SELECT: (1,), CALL: (1, 3), LIST: (1,), STRUCT: (3, 4), LOOP: (2, 4, 5, 6, 7)}
ELEMENT, RANGE = 1, 2
"""Where a loop keeps the name of each element, and what it goes through."""
TEXT = 6
"""Where a constant has its text."""
NAME = {IDENT: 1, SELECT: 2, CALL: 2}

ADDS_NUMBERS = frozenset({"add_int64", "add_uint64", "add_double", "add_int_double", "add_double_int"})


@dataclass(frozen=True, slots=True)
class Node:
    """One expression of the tree. `looped`: it may be evaluated many times, in exists, all, map or filter.

    `raw`: as CEL wrote it, so that it can be made an expression of its own (`Tree.part`).
    """

    id: int
    kind: int
    fields: Fields
    looped: bool
    raw: bytes

    @property
    def name(self) -> str:
        """The variable, the field, or the function; nothing for the other kinds."""
        return b"".join(self.fields.get(NAME.get(self.kind, 0), ())).decode()

    @property
    def text(self) -> str | None:
        """The text that it writes out; None where it is none."""
        if self.kind != CONSTANT or TEXT not in self.fields:
            return None
        written: bytes = self.fields[TEXT][0]
        return written.decode()

    def parts(self) -> Iterator[Node]:
        yield from (part for _, part in self.numbered())

    def numbered(self) -> Iterator[tuple[int, Node]]:
        """The expressions inside it, each with the number of the field that holds it."""
        looped = self.looped or self.kind == LOOP
        fields = _entries(self.fields) if self.kind == STRUCT else self.fields
        for number in PARTS.get(self.kind, ()):
            yield from ((number, _node(part, looped=looped)) for part in fields.get(number, ()))

    def walk(self) -> Iterator[Node]:
        yield self
        for part in self.parts():
            yield from part.walk()

    def chain(self) -> str:
        """`traits.address.city` where the node is such a chain of fields, else nothing."""
        if self.kind == SELECT:
            inner = next(self.parts()).chain()
            return inner and f"{inner}.{self.name}"
        return self.name if self.kind == IDENT else ""

    def chains(self) -> Iterator[str]:
        """The longest chain of fields at each place of the tree."""
        if chain := self.chain():
            yield chain
        else:
            for part in self.parts():
                yield from part.chains()


@dataclass(frozen=True, slots=True)
class Tree:
    """A checked rule, and which overloads each call in it may turn out to be."""

    root: Node
    overloads: Mapping[int, frozenset[str]]
    offsets: Mapping[int, int]
    """Where each node stands in the rule's text: characters before it."""
    rest: tuple[bytes, bytes]
    """The name of the type CheckedExpr, and all of one but for its expression."""

    @classmethod
    def of(cls, serialized: bytes) -> Tree:
        """The tree in `serialized`: what CEL's `Expression.serialize()` gives, a CheckedExpr in an Any."""
        outside = _message(serialized)
        checked = _message(outside[2][0])
        references = (_message(entry) for entry in checked.get(2, ()))
        overloads = {
            entry[1][0]: frozenset(name.decode() for name in _message(entry[2][0]).get(3, ())) for entry in references
        }
        places = (_message(entry) for source in checked.get(5, ()) for entry in _message(source).get(4, ()))
        offsets = {entry[1][0]: entry.get(2, [0])[0] for entry in places}
        rest = b"".join(_field(number, each) for number in (2, 3) for each in checked.get(number, ()))
        return cls(_node(checked[4][0], looped=False), overloads, offsets, (outside[1][0], rest))

    def part(self, node: Node) -> bytes:
        """`node` as a whole rule of its own: what CEL's `Env.deserialize` takes."""
        type_name, rest = self.rest
        return _field(1, type_name) + _field(2, rest + _field(4, node.raw))

    def offset(self, node: Node) -> int:
        """Where `node` stands: characters before it."""
        return self.offsets.get(node.id, 0)

    def reads(self, variables: Collection[str]) -> frozenset[str]:
        """The facts it depends on: `variable.field...`, or the whole `variable` where the field can't be told."""
        return frozenset(chain for chain in self.root.chains() if chain.partition(".")[0] in variables)

    def sought(self, variable: str) -> Iterator[tuple[str, int]]:
        """The texts that are looked for in the list `variable`, each with its place: `"a" in segments`, and
        `segments.exists(each, each == "a")`.
        """
        for node in self.root.walk():
            for each in _looked_for(node, variable):
                if each.text is not None:
                    yield each.text, self.offset(each)

    def place_of(self, variable: str) -> int | None:
        """Where `variable` is read first; None where it is not."""
        found = (self.offset(node) for node in self.root.walk() if node.kind == IDENT and node.name == variable)
        return min(found, default=None)

    def grows_in_a_loop(self) -> bool:
        """Whether a loop adds texts or lists: eight a's to an a, in five nested loops, take gigabytes in a second."""
        return any(node.kind == CALL and node.looped and self._grows(node) for node in self.root.walk())

    def _grows(self, call: Node) -> bool:
        if call.name != "_+_":
            return call.name == "bytes"
        collects = any(part.name == "@result" for part in call.parts())  # CEL's own: this is how `map` makes its list
        return not collects and not self.overloads.get(call.id, frozenset()) <= ADDS_NUMBERS


def _looked_for(node: Node, variable: str) -> Iterator[Node]:
    """What `node` itself compares with the elements of the list `variable`."""
    if node.kind == CALL and node.name == "@in":
        what, where = node.parts()
        if where.chain() == variable:
            yield what
    elif node.kind == LOOP and any(number == RANGE and part.chain() == variable for number, part in node.numbered()):
        element = node.fields[ELEMENT][0].decode()
        for part in node.walk():
            if part.kind == CALL and part.name == "_==_" and any(side.chain() == element for side in part.parts()):
                yield from part.parts()


def _node(expression: bytes, *, looped: bool) -> Node:
    fields = _message(expression)
    kind = max(fields)
    return Node(fields.get(ID, [0])[0], kind, _message(fields[kind][0]) if kind > ID else {}, looped, expression)


def _entries(struct: Fields) -> Fields:
    """The keys (3) and the values (4) of all entries (2) of a map that a rule writes out."""
    entries = [_message(entry) for entry in struct.get(2, ())]
    return {number: [part for entry in entries for part in entry.get(number, ())] for number in PARTS[STRUCT]}


def _message(data: bytes) -> dict[int, list[Any]]:
    fields: dict[int, list[Any]] = {}
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        value, at = _value(data, at, tag & 7)
        fields.setdefault(tag >> 3, []).append(value)
    return fields


def _value(data: bytes, at: int, wire: int) -> tuple[Any, int]:
    if wire == 0:
        return _varint(data, at)
    size, at = _varint(data, at) if wire == 2 else ({1: 8, 5: 4}[wire], at)
    return data[at : at + size], at + size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def _field(number: int, data: bytes) -> bytes:
    """A field as a protocol buffer has it: its tag, its size, itself."""
    return _written(number << 3 | 2) + _written(len(data)) + data


def _written(value: int) -> bytes:
    """`value` as a varint: seven bits in each byte, the lowest first."""
    bits = range(0, max(value.bit_length(), 1), 7)
    return bytes((value >> shift & 0x7F) | (0x80 if shift != bits[-1] else 0) for shift in bits)
