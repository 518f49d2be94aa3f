"""Keys of every kind, told as ingest tells them; and whom each route of a service then lets in."""

from __future__ import annotations

import re
import secrets
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import datetime

import httpx
from fastapi import FastAPI

from shared import topics
from shared.clock import system_clock
from shared.events import Keyed, NamedKey, encode
from shared.kafka import Kafka
from shared.key_records import KeySignatures
from shared.keys import Keyring
from shared.scopes import SCOPES, Scope, digest
from tests.contract import Asked, address_of
from tests.secrets import KEY_SIGNING_SECRET
from tests.waiting import until

SHUT_OUT = (401, 403, 405, 503)


async def tell_key(kafka: Kafka, *scopes: Scope, ends_at: datetime | None = None, text: str | None = None) -> str:
    """Tell of a key, as ingest does; give its text: a new one, where it is none that was told before."""
    text = text or f"sk_{secrets.token_urlsafe(24)}"
    id = f"shop:{text[3:11]}"
    key = NamedKey(id=id, source="shop", digest=digest(text).hex(), scopes=scopes, ends_at=ends_at)
    signature = KeySignatures([KEY_SIGNING_SECRET]).sign(key)
    event = Keyed(id=f"{id}:{ends_at}", source="ingest", time=system_clock(), subject=id, data=key, signature=signature)
    await kafka.log(topics.KEYS).append([(id.encode(), encode(event))])
    return text


@dataclass(frozen=True)
class Keys:
    """A key of each scope, by that, and one that could do everything until it was revoked."""

    by_scope: Mapping[Scope, str]
    revoked: str


async def tell_keys(kafka: Kafka, app: FastAPI, now: datetime) -> Keys:
    """Tell of them, and return once `app` knows them. `now` is what time the service believes it is."""
    revoked = await tell_key(kafka, *SCOPES)
    await tell_key(kafka, *SCOPES, ends_at=now, text=revoked)
    by_scope = {scope: await tell_key(kafka, scope) for scope in SCOPES}
    last = digest(by_scope[SCOPES[-1]]).hex()

    async def known() -> bool:
        keyring: Keyring = app.state.keyring
        return last in keyring.made

    await until(known)
    return Keys(by_scope, revoked)


OPENED_BY: Mapping[Scope, frozenset[Scope]] = {
    "read": frozenset({"read", "read:people", "admin"}),
    "read:people": frozenset({"read:people", "admin"}),
    "decide": frozenset({"decide", "admin"}),
    "admin": frozenset({"admin"}),
}
"""Keys of which scopes may do what needs that one."""


SHOW_DEAD_LETTERS: Mapping[Asked, Scope] = {
    ("GET", "/v1/dead-letters"): "read:people",
    ("GET", "/v1/dead-letters/{id}"): "read:people",
}
"""Of every service: what could not be processed is about people."""


BROKEN = ("x" * 1_000, "%00", "%ED%A0%80")
"""What no address of ours can have where a name stands."""


async def looks_at_the_key_first(
    client: httpx.AsyncClient, asked: Asked, refused: Mapping[str | None, int], **names: str
) -> None:
    """Each key in `refused` is answered with its status, whatever else is wrong, and no byte of a body is read.

    `names`: what the address needs in places to be one of the route's at all.
    """
    method, path = asked
    read = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal read
        for _ in range(100):
            read += 1
            yield b'{"broken": '

    for key, status in refused.items():
        headers = {"content-type": "application/json", **({} if key is None else {"authorization": f"Bearer {key}"})}
        for broken in BROKEN:
            values = dict.fromkeys(re.findall(r"\{(\w+)", path), broken) | names
            address = address_of(path, **values) + "?limit=many&cursor=%00&days=-1&as_of=never&placement=&replace=x"
            answer = await client.request(method, address, headers=headers, content=body(), auth=None)
            assert (answer.status_code, read) == (status, 0), (key, broken, answer.text)


async def takes_any_address(client: httpx.AsyncClient, asked: Asked, key: str, **names: str) -> None:
    """Whatever stands in the address where text may stand, even what no database takes, is never answered with 5xx.

    `names` as in `looks_at_the_key_first`.
    """
    method, path = asked
    headers = {"authorization": f"Bearer {key}"}
    for broken in (*BROKEN, "user_id:%00", "user_id:%ED%A0%80", "%F0%9F", "%FF"):
        values = dict.fromkeys(re.findall(r"\{(\w+)", path), broken)
        for address in (
            address_of(path, **{**values, **names}),
            address_of(path, person="user_id:x", identifier="user_id:x", **names) + _query(broken),
        ):
            answer = await client.request(method, address, headers=headers, json={}, auth=None)
            assert answer.status_code < 500, (address, answer.text)


ASKED_FOR = (
    "cursor",
    "name",
    "channel",
    "model",
    "source",
    "event",
    "type",
    "reason",
    "message_id",
    "after",
    "placement",
)
"""Text that lists and reports are asked for by."""


def _query(text: str) -> str:
    return "?" + "&".join(f"{name}={text}" for name in ASKED_FOR)


async def lets_in_who_may(
    client: httpx.AsyncClient, asked: Asked, keys: Keys, special: Mapping[Asked, Scope] | None = None
) -> None:
    """Whoever has no key, a wrong one, one that ended or one of another scope is refused, and nobody else is.

    What is looked at needs `read`, what is changed `admin`, but for what `special` says.
    """
    method, path = asked
    needed = (special or {}).get(asked) or ("read" if method == "GET" else "admin")

    async def answered(key: str | None) -> httpx.Response:
        headers = {} if key is None else {"authorization": f"Bearer {key}"}
        address = address_of(path, person="user_id:x", identifier="user_id:x")
        return await client.request(method, address, headers=headers, json={})

    shut_out = [key for scope, key in keys.by_scope.items() if scope not in OPENED_BY[needed]]
    await looks_at_the_key_first(client, asked, {None: 401, "wrong": 403, **dict.fromkeys(shut_out, 403)})
    await takes_any_address(client, asked, keys.by_scope["admin"])
    assert (await answered(None)).status_code == 401
    assert (await answered("wrong")).status_code == 403
    assert (await answered(keys.revoked)).status_code == 403
    for scope, key in keys.by_scope.items():
        answer = await answered(key)
        if scope in OPENED_BY[needed]:
            assert answer.status_code not in SHUT_OUT, answer.text
        else:
            assert answer.status_code == 403, (scope, answer.text)
            assert f"'{needed}'" in answer.json()["message"]
