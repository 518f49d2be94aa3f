"""What a rule costs at most, told from its tree before it is asked about anybody.

The unit is a step: one expression of the tree, evaluated once. Measured on a core of a 2-core server: 0.04 microseconds
a step in plain terms (10 terms of 20 steps: 7), 0.012 in a loop. What costs more is priced in steps: see `PRICES`.

Loops are what grows. How long a person's lists are is not known here, so each is taken for `LENGTH` long; and nested
loops for no more than CEL allows in all: it gives up after 10,000 rounds of whatever loops, and the rule is unknown. So
the dearest rule that is accepted, of `LIMIT` steps, takes about 3 ms for lists of 1,000, and 30 ms for one of 10,000.
"""

from __future__ import annotations

from shared.rule_tree import CALL, CONSTANT, LOOP, Node, Tree

LIMIT = 250_000
"""Steps that a rule may take. One loop over 250 of them, or one loop in another over 25."""

LENGTH = 1_000
"""How long a list is taken to be."""

ROUNDS = 10_000
"""Of all loops of one evaluation together: CEL's own budget."""

PRICES = {
    # Linear in the text, of which a trait may have thousands of characters: 1 to 50 microseconds.
    "matches": 200,
    # A list is searched from its beginning: 1.3 microseconds for 100.
    "@in": 30,
    "contains": 10,
}

UNKNOWN_PATTERN = 1_000
"""For `matches` with a pattern that is no constant: it is compiled anew for everybody."""

MENDED = 30
"""For a calculation that we added to CEL, in Python: 1.2 microseconds for text that is read as a moment."""

_ADDED = ("string_timestamp", "timestamp_string", "string_duration", "duration_string", "int_double", "double_int")

_RANGE = 2
"""Where a loop keeps what it goes over, which is evaluated once."""


def cost(tree: Tree) -> int:
    """How many steps the rule `tree` takes at most."""
    return _cost(tree, tree.root, depth=0)


def _cost(tree: Tree, node: Node, depth: int) -> int:
    inside = depth + (node.kind == LOOP)
    whole = _price(tree, node) * _rounds(depth)
    for field, part in node.numbered():
        whole += _cost(tree, part, depth if node.kind == LOOP and field == _RANGE else inside)
    return whole


def _rounds(depth: int) -> int:
    """How often what is so many loops deep is evaluated."""
    return ROUNDS if depth > 1 else LENGTH if depth else 1


def _price(tree: Tree, node: Node) -> int:
    if node.kind != CALL:
        return 1
    if node.name == "matches" and not all(part.kind == CONSTANT for part in list(node.parts())[1:]):
        return UNKNOWN_PATTERN
    if any(name.endswith(_ADDED) for name in tree.overloads.get(node.id, ())):
        return MENDED
    return PRICES.get(node.name, 1)
