"""Proof of who somebody is: what a source that asks for it takes, and that tokens go nowhere."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import httpx
import jwt
import pytest

from services.ingest.domain.proof import without_tokens
from services.ingest.service.tokens import RememberedTokens
from shared import topics
from shared.auth import UserTokens
from shared.clock import system_clock
from shared.errors import Unauthorized
from shared.events import Rejected, Touchpoint, encode
from shared.health import Health
from shared.settings import UserTokenSettings
from tests.builders import Json, alias, batch, call, identify, page, track
from tests.ingest.desk import ask, becomes, everything, make_key, make_source, told
from tests.ingest.door import Door, Place, opened, read
from tests.ingest.rejects import replay
from tests.secrets import USER_TOKEN_SECRET
from tests.waiting import until

HEADER = "temas-user-token"


def token(user: str, *, seconds: float = 600, secret: str = USER_TOKEN_SECRET, **claims: Any) -> str:
    """A user token of `user` that holds for `seconds`."""
    told = {"sub": user, "aud": "temas", "exp": int(datetime.now(UTC).timestamp() + seconds), **claims}
    return jwt.encode(told, secret, algorithm="HS256")


@pytest.fixture(scope="module")
async def door(place: Place) -> AsyncIterator[Door]:
    """A service that has something to verify user tokens with."""
    async with opened(place, user_token_secret=USER_TOKEN_SECRET) as door:
        yield door


@pytest.fixture(scope="module")
async def key(door: Door) -> str:
    """A public key of the source `page`, which asks for proof."""
    await make_source(door, "page", identity_proof="required")
    key: str = (await make_key(door, "page"))["key"]
    await becomes(door, key, 400)  # what asks whether a key holds is a user's, and has no token
    return key


async def posted(door: Door, key: str, *calls: Json, header: str | None = None, **shared: Any) -> httpx.Response:
    headers = {"authorization": f"Bearer {key}"} | ({} if header is None else {HEADER: header})
    content = json.dumps(batch(*calls, **shared))  # with halves of surrogate pairs, as JSON can write them
    return await door.client.request("POST", "/v1/batch", content=content, auth=None, headers=headers)


async def reason(door: Door, key: str, said: Json, **rest: Any) -> tuple[str, str]:
    """The path and the code of why a call is not taken."""
    answer = await posted(door, key, said, **rest)
    assert answer.status_code == 400, answer.text
    [detail] = answer.json()["details"]
    return detail["path"].removeprefix("$.batch[0]"), detail["code"]


REFUSED = (".context.userToken", "identity_not_proven")


# --- what is taken ---------------------------------------------------------------------------------------------------


async def test_a_token_of_the_user_is_proof_wherever_it_comes(door: Door, key: str, somebody: str) -> None:
    theirs = token(somebody)
    for answer in (
        await posted(door, key, identify(somebody, {"plan": "pro"}, context={"userToken": theirs, "channel": "web"})),
        await posted(door, key, page(user=somebody), header=theirs),
        await posted(door, key, page("Two", user=somebody), context={"userToken": theirs}),
        await posted(door, key, alias("a-proof", somebody, anonymous="a-proof"), header=theirs),
        await posted(door, key, page("Own", user=somebody, context={"userToken": theirs}), header=token("another")),
    ):
        assert (answer.status_code, "temas-rejected" in answer.headers) == (200, False), answer.text
    found = await door.touchpoints(of=somebody)
    assert len(found) == 5
    assert [bytes(each.data.context) for each in found[:3]] == [b'{"channel":"web"}', b"{}", b"{}"]


async def test_a_visitor_proves_nothing_and_needs_not(door: Door, key: str, somebody: str) -> None:
    answer = await posted(door, key, page(anonymous=somebody), track("Product Viewed", anonymous=somebody))
    assert (answer.status_code, "temas-rejected" in answer.headers) == (200, False)


async def test_a_source_that_does_not_ask_takes_what_it_took_and_drops_the_token(door: Door, somebody: str) -> None:
    theirs = token(somebody)
    said = [page(user=somebody, context={"userToken": theirs}), page("Two", user=somebody, context={"userToken": 7})]
    assert (await door.post("/v1/batch", batch(*said))).status_code == 200
    assert [bytes(each.data.context) for each in await door.touchpoints(of=somebody)] == [b"{}", b"{}"]


# --- what is not -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "given",
    [
        lambda user: None,
        lambda user: "",
        lambda user: 7,
        lambda user: {"token": token(user)},
        lambda user: "none",
        lambda user: "a\0b.c\0d.e",
        lambda user: "\ud800.\ud800.\ud800",
        lambda user: token("attacker"),
        lambda user: token(f"{user}\0"),
        lambda user: token(user, seconds=-1),
        lambda user: token(user, aud="another"),
        lambda user: token(user, secret="x" * 40),
        lambda user: token(user)[:-2],
        lambda user: jwt.encode({"sub": user, "aud": "temas", "exp": 2**31}, "", algorithm="none"),
    ],
    ids=[
        "none", "empty", "number", "object", "no token", "nul", "surrogates", "of another", "of another with nul",
        "expired", "for another", "signed by another", "cut", "unsigned",
    ],
)  # fmt: skip
async def test_what_is_no_proof_is_refused(door: Door, key: str, somebody: str, given: Any) -> None:
    theirs = given(somebody)
    assert await reason(door, key, identify(somebody, context={"userToken": theirs})) == REFUSED
    if isinstance(theirs, str) and theirs.isprintable() and theirs.isascii():
        assert await reason(door, key, identify(somebody, {"more": 1}), header=theirs) == REFUSED
    assert await door.touchpoints(of=somebody) == []


@pytest.mark.parametrize(
    "said",
    [
        identify("victim", {"plan": "none"}),
        track("Product Viewed", user="victim"),
        alias("a", "victim", anonymous="a"),
        call("group", user="victim", groupId="g"),
    ],
)
async def test_nothing_is_said_under_a_user_id_without_proof(door: Door, key: str, said: Json) -> None:
    assert await reason(door, key, said) == REFUSED
    assert await reason(door, key, {**said, "messageId": "m-2"}, header=token("attacker")) == REFUSED


@pytest.mark.parametrize(
    "said",
    [
        call("identify", anonymous="a", traits={"email": "victim@example.com"}),
        page(anonymous="a", context={"traits": {"email": "victim@example.com"}}),
        call("group", anonymous="a", groupId="g"),
    ],
)
async def test_who_a_visitor_is_can_not_be_proven(door: Door, key: str, said: Json) -> None:
    assert await reason(door, key, said, header=token("attacker")) == (".userId", "identity_not_proven")


async def test_one_unproven_call_keeps_no_other_out(door: Door, key: str, somebody: str) -> None:
    said = [page(user="victim"), page(user=somebody), page(anonymous=somebody)]
    answer = await posted(door, key, *said, header=token(somebody))
    assert (answer.status_code, answer.headers["temas-rejected"]) == (200, "1")
    assert len(await door.touchpoints(of=somebody)) == 2


# --- tokens go nowhere -----------------------------------------------------------------------------------------------


async def test_no_token_is_in_any_topic_nor_told_to_anybody(door: Door, key: str, somebody: str) -> None:
    theirs = token(somebody)
    await posted(door, key, page(user=somebody, context={"userToken": theirs}))
    await posted(door, key, page("Two", user=somebody), context={"userToken": theirs})
    await posted(door, key, page("Three", user="victim", context={"userToken": theirs}), header=theirs)
    await posted(door, key, {"type": "track", "userId": somebody, "context": {"userToken": theirs}})
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    broken = b'{"batch": [{"userId": "%b", "context": {"userToken": "%b' % (somebody.encode(), theirs.encode())
    await door.client.request("POST", "/v1/batch", content=broken, auth=None, headers=headers)
    query = f"writeKey={key}&userId={somebody}&userId=b&context.userToken={theirs}&{quote('context')}="
    query += quote(f'{{"userToken": "{theirs}"}}')
    await door.ask("GET", f"/v1/pixel/page?{query}", auth=None)

    kept = [encode(each) for each in await read(door.kafka, topics.TOUCHPOINTS, Touchpoint)]
    rejected = await read(door.kafka, topics.REJECTED, Rejected)
    kept += [each.data.body + encode(each) for each in rejected]
    assert sum(somebody.encode() in each for each in kept) == 6
    secret_part = theirs.rpartition(".")[2].encode()
    assert not [each for each in kept if secret_part in each]

    async def waiting() -> bool:
        return len(await everything(door, "rejected", "rejected", limit=500, source="page")) >= 4

    await until(waiting)
    for each in await everything(door, "rejected", "rejected", limit=500, source="page"):
        assert secret_part.decode() not in str(await told(door, "GET", f"rejected/{quote(each['id'], safe='')}"))


@pytest.mark.parametrize(
    ("body", "left"),
    [
        (b'{"userId": "u", "context": {"userToken": "a.b-_=.c", "x": 1}}', b'{"userId":"u","context":{"x":1}}'),
        (b'{"context": {"userT\\u006fken": "a.b.c"}}', b'{"context":{}}'),
        (b'{"type": "page", "data": {"context": {"userToken": "a.b.c"}}}', b'{"type":"page","data":{"context":{}}}'),
        (b'{"context": [{"userToken": "a.b.c"}]}', b'{"context":[{"userToken": ""}]}'),
        (b'{"batch": [{"context": {"userToken": "a.b.c"}}]}', b'{"batch": [{"context": {"userToken": ""}}]}'),
        (b'[{"context": {"userToken": "a.b.c"}}]', b'[{"context": {"userToken": ""}}]'),
        (b'{"context": {"userToken" : "a.b.c', b'{"context": {"userToken" : "'),
        (b'{"properties": {"userToken": "a.b.c"}}', b'{"properties": {"userToken": "a.b.c"}}'),
        (b'{"context": {"page": "/?userToken=7"}}', b'{"context": {"page": "/?userToken=7"}}'),
        (b"context.userToken=a.b.c&userId=u", b"context.userToken=&userId=u"),
        (b"context=%7B%22userToken%22%3A%20%22a.b.c%22%7D", b"context=%7B%22userToken%22%3A%20%22%22%7D"),
        (b'{"properties": {"said": "userToken"}}', b'{"properties": {"said": "userToken"}}'),
    ],
)
def test_a_token_is_taken_out_of_what_is_kept_and_nothing_else(body: bytes, left: bytes) -> None:
    assert without_tokens(body) == left


# --- replays ---------------------------------------------------------------------------------------------------------


async def test_a_replay_takes_what_was_proven_when_it_arrived_and_nothing_else(
    door: Door, key: str, somebody: str
) -> None:
    name = f"Event {somebody}"
    proven = track(name, user=somebody, context={"userToken": token(somebody)}, messageId="proven")
    others = track(name, user=f"{somebody}-victim", context={"userToken": token(somebody)}, messageId="others")
    unproven = track(name, user=f"{somebody}-victim", messageId="unproven")
    wrong = [{**each, "timestamp": "yesterday"} for each in (proven, others, unproven)]
    wrong += [
        track(name, user=somebody, messageId="a"),
        track(name, user=somebody, messageId="b", context={"userToken": "x"}),
    ]
    assert (await posted(door, key, *wrong)).status_code == 400

    async def waiting() -> bool:
        return len(await everything(door, "rejected", "rejected", limit=500, event=name)) == 5

    await until(waiting)
    brought = {"patch": [{"op": "remove", "path": "/timestamp"}]}
    for fix in (brought, {"set": {"timestamp": "'2026-03-01T10:00:00Z'", "context.userToken": f"'{token(somebody)}'"}}):
        await replay(door, {"event": name}, fix)
    found = [each for each in await read(door.kafka, topics.TOUCHPOINTS, Touchpoint) if each.data.name == name]
    assert [(each.id, each.data.user_id) for each in found] == [("proven", somebody)]


# --- where there is nothing to verify with ---------------------------------------------------------------------------


async def test_a_source_can_not_ask_for_proof_that_nobody_could_give(place: Place, door: Door) -> None:
    async with opened(place) as without:
        answer = await ask(without, "PUT", "sources/unprovable", {"identity_proof": "required"})
        assert (answer.status_code, answer.json()["code"]) == (409, "nothing_verifies")
        assert "TEMAS_USER_TOKEN_SECRET" in answer.json()["message"]
        assert (await ask(without, "GET", "sources/unprovable")).status_code == 404


async def test_a_source_that_asked_before_the_secret_was_taken_away_goes_on_to_ask(
    place: Place, door: Door, key: str, somebody: str
) -> None:
    async with opened(place) as without:
        answer = await posted(without, key, page(user=somebody), header=token(somebody))
        assert answer.status_code == 400
        assert "TEMAS_USER_TOKEN_SECRET" in answer.json()["message"]
        assert (await posted(without, key, page(anonymous=somebody))).status_code == 200


# --- verified once ---------------------------------------------------------------------------------------------------


class Counted(UserTokens):
    asked = 0

    def subject(self, token: str) -> str:
        self.asked += 1
        return super().subject(token)


def test_a_token_is_verified_once_and_not_beyond_its_end() -> None:
    now = system_clock()
    clock = lambda: now  # noqa: E731
    counted = Counted(UserTokenSettings(user_token_secret=USER_TOKEN_SECRET), clock, Health())
    remembered = RememberedTokens(counted, clock)
    theirs, long = token("u", seconds=20), token("u", seconds=6000)
    assert {remembered.subject(each) for each in (theirs, long) * 100} == {"u"}
    assert counted.asked == 2
    now += timedelta(seconds=21)
    with pytest.raises(Unauthorized):
        remembered.subject(theirs)
    assert remembered.subject(long) == "u"
    now += timedelta(seconds=60)
    assert remembered.subject(long) == "u"
    assert counted.asked == 4  # the long one's key may have been taken back meanwhile


def test_a_token_that_is_refused_is_not_verified_for_each_call_either() -> None:
    counted = Counted(UserTokenSettings(user_token_secret=USER_TOKEN_SECRET), system_clock, Health())
    remembered = RememberedTokens(counted, lambda: datetime(2026, 3, 1, tzinfo=UTC))
    for _ in range(100):
        with pytest.raises(Unauthorized):
            remembered.subject("no.token.this")
    assert counted.asked == 1
