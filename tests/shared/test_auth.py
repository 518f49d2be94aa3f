"""Keys and tokens: who is let in, who is told that a key is missing, and who that theirs does not do."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
import jwt
import pytest
from fastapi import Depends, FastAPI
from pydantic import SecretStr

from shared.auth import UserTokens, credential, same, secret_required
from shared.errors import TemasError, Unauthorized
from shared.http import Json

SECRET = "sk_secret"
SIGNING = "a secret of the company's backend, of 48 bytes or more"


def basic(user: str, password: str = "") -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


# --- the secret key --------------------------------------------------------------------------------------------------


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    app = FastAPI()

    @app.exception_handler(TemasError)
    async def told(request: object, error: TemasError) -> Json:
        return Json(error.body(), status_code=error.status, headers=dict(error.headers))

    @app.get("/closed", dependencies=[Depends(secret_required(SecretStr(SECRET)))])
    async def closed() -> str:
        return "in"

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://temas") as client:
        yield client


@pytest.mark.parametrize("given", [f"Bearer {SECRET}", f"bearer {SECRET}", basic(SECRET), basic(SECRET, "ignored")])
async def test_the_secret_key_opens(client: httpx.AsyncClient, given: str) -> None:
    answer = await client.get("/closed", headers={"authorization": given})
    assert (answer.status_code, answer.json()) == (200, "in")


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


def test_the_credential_is_the_basic_user_name_or_what_follows_bearer() -> None:
    assert credential(basic("key", "pass:word")) == "key"
    assert credential("Bearer  t.o.k ") == "t.o.k"
    assert credential("Digest x") is None


def test_keys_that_are_not_ascii_are_compared_too() -> None:
    assert same("ş", SecretStr("ş"))
    assert not same("ş", SecretStr("s"))


# --- user tokens -----------------------------------------------------------------------------------------------------


def claims(**changes: Any) -> dict[str, Any]:
    told = {"sub": "u-17", "aud": "temas", "exp": int(time.time()) + 60} | changes
    return {name: value for name, value in told.items() if value is not None}


def bearer(said: dict[str, Any], *, secret: str = SIGNING, algorithm: str = "HS256") -> str:
    return "Bearer " + jwt.encode(said, secret, algorithm=algorithm)


def unsigned(said: dict[str, Any]) -> str:
    parts = ({"alg": "none", "typ": "JWT"}, said)
    return (
        "Bearer "
        + ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts)
        + "."
    )


def test_a_token_of_the_companys_backend_names_the_person() -> None:
    assert UserTokens(SecretStr(SIGNING)).user_id(bearer(claims())) == "u-17"


@pytest.mark.parametrize(
    "given",
    [
        pytest.param(None, id="missing"),
        pytest.param("Bearer not.a.token", id="garbage"),
        pytest.param(bearer(claims(exp=int(time.time()) - 1)), id="expired"),
        pytest.param(bearer(claims(exp=None)), id="endless"),
        pytest.param(bearer(claims(sub=None)), id="nobody"),
        pytest.param(bearer(claims(aud=None)), id="no audience"),
        pytest.param(bearer(claims(aud="another-service")), id="foreign"),
        pytest.param(bearer(claims(), secret="somebody-else's-secret-of-32-bytes+"), id="forged"),
        pytest.param(bearer(claims(), algorithm="HS384"), id="another algorithm"),
        pytest.param(unsigned(claims()), id="unsigned"),
    ],
    ids=[
        "missing",
        "garbage",
        "expired",
        "endless",
        "nobody",
        "no-audience",
        "foreign",
        "forged",
        "algorithm",
        "unsigned",
    ],
)
def test_any_other_token_is_refused(given: str | None) -> None:
    with pytest.raises(Unauthorized) as refused:
        UserTokens(SecretStr(SIGNING)).user_id(given)
    assert SIGNING not in refused.value.message
