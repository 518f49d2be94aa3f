"""Addresses with the name of an event in them, which may hold anything, slashes too."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

from fastapi.routing import APIRoute
from starlette.routing import Match
from starlette.types import Scope

from services.ingest.domain.plan import UNNAMED


class ByName(APIRoute):
    """A route below `/{type}/{name}`, or below `/{type}` for types whose calls have no name.

    It looks at the path as it was sent, still percent-encoded. In the decoded one `Cart%2Fversions` can't be told from
    the versions of `Cart`, nor the versions of `identify` from a page called `versions`.
    """

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        sent = scope.get("raw_path") or scope["path"].encode()
        match, child = super().matches({**scope, "path": sent.decode("latin-1").partition("?")[0]})
        given: dict[str, Any] = child.get("path_params", {})
        if "type" in given and (given["type"] in UNNAMED) == ("name" in given):
            return Match.NONE, {}
        return match, {**child, "path_params": {name: unquote(value) for name, value in given.items()}}
