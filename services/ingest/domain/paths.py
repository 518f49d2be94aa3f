"""JSON paths, as people read them in reasons and refusals: `$.properties.products[0].price`."""

from __future__ import annotations

import re
from collections.abc import Iterable

PATH_LENGTH = 200
"""Characters of a path. What is longer has names in it that a client made up, and its beginning tells where to look."""

_PLAIN = re.compile(r"[A-Za-z_$][\w$-]*", re.ASCII)


def json_path(root: str, steps: Iterable[str | int]) -> str:
    """The way from `root` over names and places in lists, in the notation of RFC 9535."""
    return cut(root + "".join(_step(each) for each in steps), PATH_LENGTH)


def cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def _step(step: str | int) -> str:
    if isinstance(step, int):
        return f"[{step}]"
    if _PLAIN.fullmatch(step):
        return f".{step}"
    quoted = step[:PATH_LENGTH].replace("\\", "\\\\").replace("'", "\\'")
    return f"['{quoted}']"
