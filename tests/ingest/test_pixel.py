"""A call in the address of an image."""

from __future__ import annotations

import base64
import json
from typing import Any
from urllib.parse import quote, urlencode

import httpx
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw

from services.ingest.domain.bodies import write_key
from services.ingest.domain.pixel import FIELDS, QUERY_BYTES, read
from tests.ingest.door import SECRET_KEY, WRITE_KEY, Door

Json = dict[str, Any]

OPENED: Json = {
    "writeKey": "wk",
    "userId": "ayse",
    "event": "Email Opened",
    "properties": {"subject": "Bahar ~~~ ??? >>>", "campaign": {"id": 7}},
}


def call(query: str) -> Json:
    [found] = read(query.encode()).batch
    assert isinstance(found, Raw), found
    return dict(msgspec.json.decode(found))


def wrong(query: str) -> tuple[str, str]:
    parcel = read(query.encode())
    [reasons] = parcel.batch
    assert isinstance(reasons, tuple), bytes(reasons)
    assert parcel.originals
    [reason] = reasons
    return reason.path, reason.code


@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
@pytest.mark.parametrize("padding", [True, False])
@pytest.mark.parametrize("escape", [quote, str])
def test_a_call_in_base64(encode: Any, padding: bool, escape: Any) -> None:
    for filler in ("", "x", "xx"):
        sent = {**OPENED, "filler": filler}
        data = encode(json.dumps(sent, ensure_ascii=False).encode()).decode()
        query = f"data={escape(data if padding else data.rstrip('='))}"
        assert call(query) == sent
        assert write_key(read(query.encode())) == "wk"


def test_a_call_as_it_is() -> None:
    assert call(urlencode({"data": json.dumps(OPENED)})) == OPENED


def test_a_call_field_by_field() -> None:
    query = (
        "writeKey=wk&userId=ay%C5%9Fe&anonymousId=%22amp-1%22&event=Email+Opened&channel=email&messageId=m-1"
        "&timestamp=2026-03-01T10%3A00%3A00Z&properties.total=40.5&properties.sku=007&properties.campaign.id=7"
        "&context.page.url=https%3A%2F%2Fshop.example%2F%3Fa%3Db&traits.plan=&_=1699999999"
    )
    assert call(query) == {
        "userId": "ayşe",
        "anonymousId": "amp-1",
        "event": "Email Opened",
        "channel": "email",
        "messageId": "m-1",
        "timestamp": "2026-03-01T10:00:00Z",
        "properties": {"total": "40.5", "sku": "007", "campaign": {"id": "7"}},
        "context": {"page": {"url": "https://shop.example/?a=b"}},
        "traits": {"plan": ""},
        "_": "1699999999",
    }


def test_an_object_may_be_given_whole_and_in_parts() -> None:
    whole = quote(json.dumps({"products": [{"sku": "7"}], "total": 40}))
    assert call(f"properties.coupon=SPRING&properties={whole}")["properties"] == {
        "products": [{"sku": "7"}],
        "total": 40,
        "coupon": "SPRING",
    }
    assert call("properties=&userId=u")["properties"] == {}


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("data=%7Bnot json", ("$", "malformed_json")),
        ("data=", ("$", "malformed_json")),
        ("data=bm8ganNvbg", ("$", "malformed_json")),
        ("data=W10", ("$", "not_an_object")),
        ("data=!!!", ("$.data", "malformed_encoding")),
        ("data=a", ("$.data", "malformed_encoding")),
        ("userId=%FF", ("$", "malformed_encoding")),
        ("userId=a&userId=b", ("$.userId", "repeated")),
        ("properties=7", ("$.properties", "wrong_type")),
        ("properties=%7B", ("$.properties", "wrong_type")),
        ("properties.a=1&properties.a.b=2", ("$.properties.a", "contradiction")),
        ("properties" + ".a" * 20_000 + "=1", ("$.properties", "too_deep")),
        ("&".join(f"f{n}=" for n in range(FIELDS + 1)), ("$", "too_many")),
        ("userId=" + "x" * QUERY_BYTES, ("$", "too_large")),
    ],
)
def test_what_can_not_be_read_is_told(query: str, expected: tuple[str, str]) -> None:
    assert wrong(query) == expected


def test_a_whole_call_fits_into_an_address() -> None:
    sent = {**OPENED, "properties": {"filler": "x" * 32_000}}
    assert call("data=" + base64.urlsafe_b64encode(json.dumps(sent).encode()).decode()) == sent


@settings(max_examples=60)
@given(st.binary(max_size=80), st.text(st.sampled_from('data=&.%properts{}"[]0a'), max_size=60))
def test_no_address_whatever_raises(raw: bytes, text: str) -> None:
    for query in (raw, text.encode(), b"data=" + raw, b"properties=" + raw):
        assert len(read(query).batch) == 1


# --- at the door -----------------------------------------------------------------------------------------------------


def is_image(answer: httpx.Response) -> None:
    """A GIF of one transparent pixel, kept by nobody."""
    assert answer.headers["content-type"] == "image/gif"
    assert "no-store" in answer.headers["cache-control"]
    assert answer.content[:10] == b"GIF89a\x01\x00\x01\x00"
    assert answer.content[19:22] == b"\x21\xf9\x04"  # which colour is transparent
    assert answer.content[22] & 1
    assert answer.content.endswith(b"\x02\x02\x44\x01\x00\x3b")  # one pixel of colour 0, and the end


PARTS = {
    "track": "event=Email%20Opened&properties.subject=Spring",
    "page": "name=Home",
    "screen": "name=Basket",
    "identify": "traits.plan=pro",
    "group": "groupId=g-1",
    "alias": "previousId=old&anonymousId=old",
}


@pytest.mark.parametrize("kind", PARTS)
@pytest.mark.parametrize("path", ["/v1/pixel/{}", "/pixel/v1/{}"])
async def test_each_call_can_be_an_image(door: Door, somebody: str, path: str, kind: str) -> None:
    query = f"{PARTS[kind]}&userId={somebody}&writeKey={WRITE_KEY}&messageId=m-1&channel=email"
    answer = await door.ask("GET", f"{path.format(kind)}?{query}", auth=None)
    assert answer.status_code == 200, answer.headers
    is_image(answer)
    assert answer.headers["temas-position"]
    [found] = await door.touchpoints(of=somebody)
    assert (found.id, found.data.type, found.data.channel) == ("m-1", kind, "email")


async def test_the_key_may_be_in_the_call(door: Door, somebody: str) -> None:
    sent = {**OPENED, "writeKey": WRITE_KEY, "userId": somebody}
    data = base64.urlsafe_b64encode(json.dumps(sent).encode()).decode().rstrip("=")
    is_image(await door.ask("GET", f"/v1/pixel/track?data={data}", auth=None))
    [found] = await door.touchpoints(of=somebody)
    assert found.properties() == OPENED["properties"]


async def test_a_call_that_can_not_be_used_is_400_and_kept_and_an_image_all_the_same(door: Door, somebody: str) -> None:
    answer = await door.ask("GET", f"/v1/pixel/track?userId={somebody}&writeKey={WRITE_KEY}", auth=None)
    is_image(answer)
    assert (answer.status_code, answer.headers["temas-error"]) == (400, "invalid_request")
    [kept] = await door.rejected(holding=somebody.encode())
    assert [reason.path for reason in kept.data.reasons] == ["$.event"]
    assert kept.data.call == "track"
    assert json.loads(kept.data.body) == {"userId": somebody}


async def test_an_address_that_can_not_be_read_is_kept_as_it_came(door: Door, somebody: str) -> None:
    query = f"userId={somebody}&userId=b&writeKey={WRITE_KEY}"
    answer = await door.ask("GET", f"/v1/pixel/page?{query}", auth=None)
    is_image(answer)
    assert answer.status_code == 400
    assert [each.data.body.decode() for each in await door.rejected(holding=somebody.encode())] == [query]


async def test_without_the_right_key_nothing_is_kept(door: Door, somebody: str) -> None:
    for key in ("", "&writeKey=wrong"):
        answer = await door.ask("GET", f"/v1/pixel/page?userId={somebody}{key}", auth=None)
        is_image(answer)
        assert (answer.status_code, answer.headers["temas-error"]) == (401, "unauthorized")
        assert "www-authenticate" not in answer.headers  # who opens an e-mail must not be asked for a password
    assert await door.touchpoints(of=somebody) == []
    assert await door.rejected(holding=somebody.encode()) == []


async def test_looking_at_the_head_of_an_image_is_no_call(door: Door, somebody: str) -> None:
    await door.ask("HEAD", f"/v1/pixel/page?userId={somebody}&writeKey={WRITE_KEY}", auth=None)
    assert await door.touchpoints(of=somebody) == []


async def test_the_documentation_names_them(door: Door) -> None:
    document = (await door.client.get("/openapi.json", auth=(SECRET_KEY, ""))).json()
    assert {f"/v1/pixel/{kind}" for kind in PARTS} <= set(document["paths"])
