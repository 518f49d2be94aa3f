"""Through which channel a call came: web, mobile, store, call_centre, social, email, device, location ... or `unknown`.

The client's own word comes first (`context.channel`, `properties.channel`, RudderStack's `channel`), then what its
library is, then what its user agent is, then what its source usually is. Nothing is guessed beyond that: `unknown` is a
channel like the others.

What the client says is its own: `kiosk` and `instagram` stay what they are, for nobody here knows better. Spellings
that mean the same are made one.
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
    device=r"roku|tvos|tizen|webos|arduino|esp32|\bmqtt\b|\biot\b",
    mobile=r"(?<![a-z])ios|android|swift|kotlin|react.?native|flutter|cordova|\bunity|xamarin|mobile",
    web=r"analytics\.js|analytics-js|analytics-next|javascript|browser|\bweb\b|\bamp\b|\bgtm\b",
    server=r"python|node|ruby|php|\bgo(lang)?\b|java|\.net|rust|elixir|erlang|clojure|perl|server",
)
# A mailbox's proxy and a television say that they are Mozilla, too.
_USER_AGENTS = _table(
    email=r"googleimageproxy|yahoomailproxy|microsoft outlook|thunderbird/",
    device=r"^roku|smart-?tv|appletv|web0s|crkey|\btizen\b|esp32|esp8266|arduino",
    mobile=r"okhttp|cfnetwork|dalvik|^analytics-(ios|android|swift|kotlin)",
    web=r"^mozilla/|^opera/",
    server=r"^(analytics-|python|curl|wget|go-http|node|axios|java|ruby|faraday|guzzle|php|okapi|httpie|undici|got )",
)
_SPELLINGS = {
    spelling: channel
    for channel, spellings in {
        "web": "website web_site browser",
        "mobile": "mobile_app mobile_sdk ios android",
        "store": "in_store instore pos point_of_sale offline_store physical_store retail_store",
        "call_centre": "call_center callcenter callcentre contact_center contact_centre",
        "social": "social_media social_network",
        "email": "e_mail emails e_mails",
        "sms": "text_message sms_message",
        "push": "push_notification push_notifications mobile_push",
        "device": "devices iot internet_of_things smart_device connected_device",
        "location": "geo geolocation geofence geofencing gps",
        "server": "server_side backend",
    }.items()
    for spelling in spellings.split()
}


def channel(context: Mapping[str, Any], properties: Mapping[str, Any], sdk: Any, user_agent: str, usual: str) -> str:
    """The channel of a call. `sdk` is RudderStack's own field; `usual` is the source's, where nothing else tells it."""
    for word in (context.get("channel"), properties.get("channel"), sdk):
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
    spelled = "_".join(re.split(r"[\s\-_/]+", word.strip().lower())).strip("_")
    return _SPELLINGS.get(spelled, spelled) or None


def _found(table: _Table, text: Any) -> str | None:
    return _matched(table, text[:200]) if isinstance(text, str) and text else None


@lru_cache(maxsize=4096)
def _matched(table: _Table, text: str) -> str | None:
    return next((channel for channel, pattern in table if pattern.search(text)), None)
