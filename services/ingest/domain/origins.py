"""From which pages browsers may send.

A key that stands in a page can be copied into any other. A source that lists its origins refuses browsers on other
pages; it can refuse no program, which writes into `Origin` what it likes. So a request without `Origin` is let through:
it comes from a server or an app, and refusing it would keep out nobody who means harm. Browsers too leave the header
out of images and plain GETs (pixels, settings), where it could prove nothing.
"""

from __future__ import annotations

import re
from functools import lru_cache
from urllib.parse import urlsplit

LONGEST = 300
"""Characters of an origin. A name of the DNS has 253; what is longer is not worth remembering."""

_USUAL_PORTS = {"http": 80, "https": 443}
_HOST = re.compile(r"[a-z0-9]([a-z0-9._-]*[a-z0-9])?|\[[0-9a-f:.]+\]")


def allowed(origin: str | None, origins: frozenset[str]) -> bool:
    """Whether a request with the header `Origin` (None or empty: without one) may write to a source with `origins`.

    A source that lists none takes requests from everywhere. `origins` are in the form that `normal` gives them.
    `null`, which browsers send from files, sandboxes and some redirects, could be anybody's and is never listed.
    """
    if not origins or not origin or origin in origins:
        return True
    return len(origin) <= LONGEST and normal(origin) in origins


@lru_cache(maxsize=4096)
def normal(origin: str) -> str | None:
    """An origin as browsers write it: `https://Shop.Example:443` is `https://shop.example`; None where it is none.

    It is a scheme, a host, and a port where that is not the scheme's usual one: without path, query, user or wildcard.
    One slash at the end is forgiven, since people copy addresses.
    """
    text = origin.strip().removesuffix("/")
    try:
        parts = urlsplit(text)
        host = parts.hostname or ""
        port = "" if parts.port in (None, _USUAL_PORTS.get(parts.scheme)) else f":{parts.port}"
        host = f"[{host}]" if ":" in host else host.encode("idna").decode()
    except ValueError:
        return None
    more = parts.path or parts.query or parts.fragment or "@" in text or not text.isprintable()
    return f"{parts.scheme}://{host}{port}" if parts.scheme and _HOST.fullmatch(host) and not more else None
