"""Through which channel a call came: web, mobile, server, store, call_centre, email, ... or `unknown`, never a guess.

The client's own word comes first (`context.channel`, `properties.channel`), then what its library is, then what its
user agent is, then what its source usually is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

UNKNOWN = "unknown"
LONGEST = 64

_Table = Sequence[tuple[str, re.Pattern[str]]]


def _table(**patterns: str) -> _Table:
    return tuple((channel, re.compile(pattern, re.IGNORECASE)) for channel, pattern in patterns.items())


# In this order: React Native is JavaScript on a phone, and JavaScript is not Java.
_LIBRARIES = _table(
    mobile=r"(?<![a-z])ios|android|swift|kotlin|react.?native|flutter|cordova|\bunity|xamarin|mobile",
    web=r"analytics\.js|analytics-js|analytics-next|javascript|browser|\bweb\b|\bamp\b|\bgtm\b",
    server=r"python|node|ruby|php|\bgo(lang)?\b|java|\.net|rust|elixir|erlang|clojure|perl|server",
)
_USER_AGENTS = _table(
    mobile=r"okhttp|cfnetwork|dalvik|^analytics-(ios|android|swift|kotlin)",
    web=r"^mozilla/|^opera/",
    server=r"^(analytics-|python|curl|wget|go-http|node|axios|java|ruby|faraday|guzzle|php|okapi|httpie|undici|got )",
)
_SPELLINGS = {"e_mail": "email", "call_center": "call_centre", "callcenter": "call_centre", "callcentre": "call_centre"}


def channel(context: Mapping[str, Any], properties: Mapping[str, Any], sdk: Any, user_agent: str, usual: str) -> str:
    """The channel of a call. `sdk` is RudderStack's own field; `usual` is the source's, where nothing else tells."""
    word = context.get("channel") or properties.get("channel") or sdk
    if isinstance(word, str) and len(word) <= LONGEST and (spelled := _spelled(word)):
        return spelled
    library = context.get("library")
    return (
        _found(_LIBRARIES, library.get("name") if isinstance(library, dict) else library)
        or _found(_USER_AGENTS, context.get("userAgent"))
        or _found(_USER_AGENTS, user_agent)
        or usual
    )


@lru_cache(maxsize=1024)
def _spelled(word: str) -> str | None:
    """A channel as it is written everywhere: `Call Centre` and `call-center` are `call_centre`."""
    spelled = "_".join(re.split(r"[\s\-]+", word.strip().lower()))
    return _SPELLINGS.get(spelled, spelled) or None


def _found(table: _Table, text: Any) -> str | None:
    return _matched(table, text[:200]) if isinstance(text, str) and text else None


@lru_cache(maxsize=4096)
def _matched(table: _Table, text: str) -> str | None:
    return next((channel for channel, pattern in table if pattern.search(text)), None)
