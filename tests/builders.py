"""Touchpoints and calls for tests: everything has a default, so that a test states only what it is about.

Ids follow from the content: the same line in a test always builds the same event, and two lines that differ build two
events. Two contacts that are alike in all but their identity need an `id` or another moment.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from shared.clock import rfc3339
from shared.events import Call, CallType, Touchpoint, Trust
from shared.identifiers import Identifier

START = datetime(2026, 3, 1, 10, 0, tzinfo=UTC)
"""When the lives in tests begin. `after` counts from here."""

Json = dict[str, Any]


def after(minutes: float = 0, *, days: float = 0) -> datetime:
    """The moment that long after `START`."""
    return START + timedelta(days=days, minutes=minutes)


def message_id(*content: object) -> str:
    """A short id that follows from `content` alone."""
    return "m-" + hashlib.blake2b(repr(content).encode(), digest_size=8).hexdigest()


# --- touchpoints, as they stand in the log ---------------------------------------------------------------------------


def touchpoint(
    name: str | None = "Product Viewed",
    *,
    kind: CallType = "track",
    user: str | None = None,
    anonymous: str | None = None,
    previous: str | None = None,
    group: str | None = None,
    at: datetime = START,
    received_at: datetime | None = None,
    id: str | None = None,
    source: str = "web",
    trust: Trust = "server",
    channel: str = "web",
    traits: Mapping[str, Any] | None = None,
    properties: Mapping[str, Any] | None = None,
    context: Mapping[str, Any] | None = None,
    external_ids: tuple[Identifier, ...] = (),
) -> Touchpoint:
    """A touchpoint of user `user` and visitor `anonymous`; of the visitor `a-1` where neither is named."""
    if user is None and anonymous is None:
        anonymous = "a-1"
    content = (kind, name, user, anonymous, previous, at, source, channel, traits, properties, context, external_ids)
    return Touchpoint(
        id=id or message_id(*content, *(() if group is None else (group,)), *(() if trust == "server" else (trust,))),
        source=source,
        time=at,
        subject=user or anonymous,
        data=Call(
            type=kind,
            name=name,
            user_id=user,
            anonymous_id=anonymous,
            previous_id=previous,
            group_id=group,
            received_at=received_at or at,
            channel=channel,
            traits=dict(traits or {}),
            external_ids=external_ids,
            trust=trust,
            properties=_raw(properties),
            context=_raw(context),
        ),
    )


def identified(user: str = "u-1", anonymous: str | None = None, **rest: Any) -> Touchpoint:
    """A login: `user` seen as `anonymous`; `traits` among `rest`."""
    return touchpoint(None, kind="identify", user=user, anonymous=anonymous, **rest)


def viewed(page: str = "Home", **rest: Any) -> Touchpoint:
    """A page view."""
    return touchpoint(page, kind="page", **rest)


def aliased(previous: str, user: str, **rest: Any) -> Touchpoint:
    """The statement that `previous` and `user` are one person."""
    return touchpoint(None, kind="alias", user=user, previous=previous, **rest)


def joined(group: str, **rest: Any) -> Touchpoint:
    """The statement that somebody is in `group`; its own traits are among `properties`, where ingest puts them."""
    return touchpoint(None, kind="group", group=group, **rest)


def departed(group: Any, **rest: Any) -> Touchpoint:
    """The statement that somebody has left `group`."""
    return touchpoint("Group Left", properties={"group_id": group}, **rest)


def ordered(total: float = 10.0, *, order: str = "o-1", user: str | None = "u-1", **rest: Any) -> Touchpoint:
    """A completed order."""
    return touchpoint("Order Completed", user=user, properties={"order_id": order, "total": total}, **rest)


def _raw(value: Mapping[str, Any] | None) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(dict(value or {})))


# --- calls, as a client posts them -----------------------------------------------------------------------------------


def call(kind: CallType, *, user: str | None = None, anonymous: str | None = None, **rest: Any) -> Json:
    """An item of a batch, or the body of `/v1/{kind}`, in the tracking API's own names; None leaves a field out.

    A `timestamp` may be a moment. The message id follows from the rest, where none is given.
    """
    fields = {"type": kind, "userId": user, "anonymousId": anonymous, **rest}
    said = {name: _shown(value) for name, value in fields.items() if value is not None}
    return {"messageId": message_id(sorted(said.items(), key=str)), **said}


def track(event: str, properties: Mapping[str, Any] | None = None, **rest: Any) -> Json:
    return call("track", event=event, properties=dict(properties or {}), **rest)


def identify(user: str, traits: Mapping[str, Any] | None = None, **rest: Any) -> Json:
    return call("identify", user=user, traits=dict(traits or {}), **rest)


def page(name: str = "Home", **rest: Any) -> Json:
    return call("page", name=name, **rest)


def alias(previous: str, user: str, **rest: Any) -> Json:
    return call("alias", user=user, previousId=previous, **rest)


def order(total: float, *, id: str, **rest: Any) -> Json:
    """A completed order; a second one with the same id and total at the same moment is the same event."""
    return track("Order Completed", {"order_id": id, "total": total}, **rest)


def batch(*calls: Json, **rest: Any) -> Json:
    """The body of `/v1/batch`."""
    return {"batch": list(calls), **rest}


def _shown(value: Any) -> Any:
    return rfc3339(value) if isinstance(value, datetime) else value
