"""Keys: who is let in, who is told that a key is missing, and who that theirs does not do."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import httpx
import msgspec
import pytest
from fastapi import Depends, FastAPI
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from shared.auth import SHOWS_PEOPLE, Caller, credential, guard
from shared.errors import TemasError
from shared.events import NamedKey
from shared.http import Json
from shared.keys import Keyring
from shared.scopes import SCOPES, digest, opens

SECRET = "sk_secret"
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def basic(user: str, password: str = "") -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


# --- secret keys -----------------------------------------------------------------------------------------------------


def named(scopes: str, **rest: Any) -> NamedKey:
    """A key of these scopes, whose text says them."""
    told = {"id": f"shop:{scopes}", "source": "shop", "digest": digest(f"k-{scopes}").hex(), "scopes": scopes.split()}
    return msgspec.convert({**told, **rest}, NamedKey)


@pytest.fixture
def keyring() -> Keyring:
    ring = Keyring(SecretStr(SECRET), lambda: NOON, "profile")
    for scopes in OPENED:
        ring.learn(named(scopes))
    ring.learn(named("admin read", ends_at=NOON))
    ring.learn(named("read admin", ends_at=NOON + timedelta(seconds=1)))
    ring.complete = True
    return ring


@pytest.fixture
async def client(keyring: Keyring) -> AsyncIterator[httpx.AsyncClient]:
    app = FastAPI()
    app.state.keyring = keyring

    @app.exception_handler(TemasError)
    async def told(request: object, error: TemasError) -> Json:
        return Json(error.body(), status_code=error.status, headers=dict(error.headers))

    @app.api_route("/closed", methods=["GET", "POST", "PUT", "PATCH", "DELETE"], dependencies=[Depends(guard())])
    async def closed(caller: Caller) -> str:
        return caller.id

    @app.get("/people", dependencies=[SHOWS_PEOPLE])
    async def people(caller: Caller) -> str:
        return caller.id

    @app.post("/decide", dependencies=[Depends(guard("decide"))])
    async def decide(caller: Caller) -> str:
        return caller.id

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://temas") as client:
        yield client


@pytest.mark.parametrize("given", [f"Bearer {SECRET}", f"bearer {SECRET}", basic(SECRET), basic(SECRET, "ignored")])
async def test_the_key_of_the_settings_opens_everything(client: httpx.AsyncClient, given: str) -> None:
    for method, path in (("GET", "/closed"), ("DELETE", "/closed"), ("POST", "/decide")):
        answer = await client.request(method, path, headers={"authorization": given})
        assert (answer.status_code, answer.json()) == (200, "settings:secret")


@pytest.mark.parametrize(
    "given", [None, "", "Bearer", "Bearer ", "Basic ", "Basic %%%", "Basic /w==", basic(""), SECRET]
)
async def test_without_a_key_it_says_401_and_how_to_give_one(client: httpx.AsyncClient, given: str | None) -> None:
    answer = await client.get("/closed", headers={} if given is None else {"authorization": given})
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
    assert answer.headers["www-authenticate"].startswith("Basic")
    assert "secret key" in answer.json()["message"]


@pytest.mark.parametrize(
    "given", ["Bearer wk_write", basic("wk_write"), basic(SECRET + "x"), basic(SECRET[:-1]), basic("ş")]
)
async def test_another_key_gets_403(client: httpx.AsyncClient, given: str) -> None:
    answer = await client.get("/closed", headers={"authorization": given})
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    assert SECRET not in answer.text


OPENED = {
    "write": set(),
    "read": {"GET"},
    "read:people": {"GET", "people"},
    "decide": {"decide"},
    "admin": {"GET", "POST", "PUT", "PATCH", "DELETE", "decide", "people"},
    "decide read write": {"GET", "decide"},
    "a-scope-of-next-year": set(),
}
"""Of a key with these scopes, what it opens: methods of what is closed, and asking for offers."""


@pytest.mark.parametrize("scopes", OPENED)
@pytest.mark.parametrize("asked", ["GET", "POST", "PUT", "PATCH", "DELETE", "decide", "people"])
async def test_a_key_opens_what_its_scopes_say_and_is_told_what_is_missing(
    client: httpx.AsyncClient, scopes: str, asked: str
) -> None:
    special = {"decide": ("POST", "/decide"), "people": ("GET", "/people")}
    method, path = special.get(asked, (asked, "/closed"))
    answer = await client.request(method, path, headers={"authorization": f"Bearer k-{scopes}"})
    if asked in OPENED[scopes]:
        assert (answer.status_code, answer.json()) == (200, f"shop:{scopes}")
    else:
        missing = {"GET": "read", "decide": "decide", "people": "read:people"}.get(asked, "admin")
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
        assert f"'{missing}'" in answer.json()["message"]


async def test_a_key_opens_the_services_only_that_it_is_for(client: httpx.AsyncClient, keyring: Keyring) -> None:
    for scopes, told, status, said in (
        ("admin to-come-1", {"services": ("profile", "scoring")}, 200, "shop:admin"),
        ("admin to-come-2", {"services": ("scoring",)}, 403, "is not for profile: it was narrowed to scoring"),
        ("admin to-come-3", {"services": ()}, 403, "is not for profile"),
        ("admin to-come-4", {"sources": ("web",)}, 403, "is for sources of ingest"),
        ("admin to-come-5", {"services": ("profile",), "sources": ("web",)}, 403, "is for sources of ingest"),
    ):
        keyring.learn(named(scopes, **told))
        for method in ("GET", "PUT"):
            answer = await client.request(method, "/closed", headers={"authorization": f"Bearer k-{scopes}"})
            assert answer.status_code == status
            assert said in answer.text


def test_whoever_may_change_things_may_not_send_events() -> None:
    """A secret that lies in a page, because it sends, must not be one that opens anything else, nor the other way."""
    assert [scope for scope in SCOPES if opens({"admin"}, scope)] == ["read", "read:people", "decide", "admin"]
    assert [scope for scope in SCOPES if opens({"write"}, scope)] == ["write"]


async def test_a_key_opens_nothing_from_its_end_on(client: httpx.AsyncClient) -> None:
    assert (await client.get("/closed", headers={"authorization": "Bearer k-read admin"})).status_code == 200
    assert (await client.get("/closed", headers={"authorization": "Bearer k-admin read"})).status_code == 403


async def test_until_keys_have_been_read_a_key_that_is_not_known_is_to_come_again(
    client: httpx.AsyncClient, keyring: Keyring
) -> None:
    keyring.complete = False
    answer = await client.get("/closed", headers={"authorization": "Bearer k-unknown"})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert (await client.get("/closed", headers={"authorization": f"Bearer {SECRET}"})).status_code == 200
    assert (await client.get("/closed", headers={"authorization": "Bearer k-read"})).status_code == 200
    assert (await client.get("/closed", headers={"authorization": "Bearer k-write"})).status_code == 403
    assert (await client.get("/closed")).status_code == 401


@given(st.lists(st.none() | st.integers(-5, 5), min_size=1), st.randoms())
def test_a_key_ends_when_the_earliest_word_says_in_whatever_order_they_come(
    ends: list[int | None], random: Random
) -> None:
    ring = Keyring(SecretStr(SECRET), lambda: NOON, "profile")
    told = [named("read", ends_at=None if end is None else NOON + timedelta(days=end)) for end in (*ends, *ends)]
    random.shuffle(told)
    for each in told:
        ring.learn(each)
    [key] = ring.made.values()
    earliest = min((end for end in ends if end is not None), default=None)
    assert key.ends_at == (None if earliest is None else NOON + timedelta(days=earliest))


def test_the_credential_is_the_basic_user_name_or_what_follows_bearer() -> None:
    assert credential(basic("key", "pass:word")) == "key"
    assert credential("Bearer  t.o.k ") == "t.o.k"
    assert credential("Digest x") is None
