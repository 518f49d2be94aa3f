"""Names within addresses: `/` parts an address, and `%2F` is a slash within a name.

Starlette decodes an address first and parts it then, so that it can't tell one from the other: whoever's user id is
`a/timeline` would be asked for as the timeline of `a`.
"""

from __future__ import annotations

from urllib.parse import unquote

from starlette.convertors import StringConvertor, register_url_convertor
from starlette.types import ASGIApp, Receive, Scope, Send


class Name(StringConvertor):
    """One segment of an address, decoded."""

    def convert(self, value: str) -> str:
        return unquote(value)


class Names(Name):
    """One or more segments, decoded; so a name may hold slashes that nobody encoded, too, and ends of lines."""

    regex = "(?s:.*)"


# When a route is made, it looks here for what its parameters are: so this comes before all routes.
register_url_convertor("str", Name())
register_url_convertor("path", Names())


class Addressed:
    """Gives the application the path with all decoded but what `Name` decodes: slashes and percent signs."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        raw: bytes = scope.get("raw_path") or b""
        if b"%" in raw:
            kept = raw.decode("latin-1").replace("%25", "%2525").replace("%2F", "%252F").replace("%2f", "%252F")
            scope["path"] = unquote(kept)
        await self.app(scope, receive, send)
