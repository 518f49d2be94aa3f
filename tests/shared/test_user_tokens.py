"""User tokens: whom they speak for, which are refused, and whose keys verify them."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, ClassVar

import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from shared import token_keys
from shared.auth import LONGEST_TOKEN, UserTokens
from shared.errors import TokenRefused, Unavailable
from shared.health import Health
from shared.settings import UserTokenSettings
from shared.token_keys import NotReadable, TokenKeys
from tests.secrets import USER_TOKEN_SECRET, secret
from tests.waiting import until

SIGNING = USER_TOKEN_SECRET
NEXT = secret("user tokens, from now on")
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
NOW = int(NOON.timestamp())
DAY = 86_400

RSA, SMALL = rsa.generate_private_key(65537, 2048), rsa.generate_private_key(65537, 1024)
OTHER_RSA = rsa.generate_private_key(65537, 2048)
P256, P384 = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP384R1())


def tokens(secret: str | None = SIGNING, **rest: Any) -> UserTokens:
    given = None if secret is None else SecretStr(secret)
    return UserTokens(UserTokenSettings(user_token_secret=given, **rest), lambda: NOON, Health())


def claims(**changes: Any) -> dict[str, Any]:
    told = {"sub": "u-17", "aud": "temas", "exp": NOW + 60} | changes
    return {name: value for name, value in told.items() if value is not None}


def signed(said: dict[str, Any], key: Any = SIGNING, algorithm: str = "HS256", **head: Any) -> str:
    return jwt.encode(said, key, algorithm=algorithm, headers=head)


def by_hand(head: bytes, said: bytes, key: bytes = SIGNING.encode()) -> str:
    """A token that no library writes, rightly signed with HS256 all the same."""
    told = b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in (head, said))
    algorithm = jwt.get_algorithm_by_name("HS256")
    return (told + b"." + base64.urlsafe_b64encode(algorithm.sign(told, key)).rstrip(b"=")).decode()


HS256 = b'{"alg":"HS256"}'


# --- claims ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "said",
    [
        pytest.param({}, id="the least"),
        pytest.param({"aud": ["another", "temas"]}, id="for several audiences"),
        pytest.param({"exp": NOW + DAY}, id="for a day"),
        pytest.param({"iat": NOW, "nbf": NOW, "exp": NOW + 0.5}, id="issued now"),
        pytest.param({"iat": NOW + 29, "nbf": NOW + 29}, id="by a clock that is a little ahead"),
        pytest.param({"sub": "u" * 512}, id="of a long user id"),
        pytest.param({"sub": "Ayşe 🌷"}, id="of any letters"),
    ],
)
def test_a_token_of_the_companys_backend_names_the_person(said: dict[str, Any]) -> None:
    told = claims(**said)
    assert tokens().subject(signed(told)) == told["sub"]
    assert tokens().user_id("Bearer " + signed(told)) == told["sub"]


REFUSED = {
    "garbage": "not.a.token",
    "expired": signed(claims(exp=NOW - 1)),
    "expired this moment": signed(claims(exp=NOW)),
    "endless": signed(claims(exp=None)),
    "for more than a day": signed(claims(exp=NOW + DAY + 1)),
    "issued for more than a day": signed(claims(iat=NOW - DAY, exp=NOW + 31)),
    "issued tomorrow": signed(claims(iat=NOW + 31)),
    "not valid yet": signed(claims(nbf=NOW + 31)),
    "no numbers": by_hand(HS256, json.dumps(claims(exp="tomorrow")).encode()),
    "infinite": by_hand(HS256, b'{"sub":"u-17","aud":"temas","exp":1e999}'),
    "not a number": by_hand(HS256, b'{"sub":"u-17","aud":"temas","exp":NaN}'),
    "without a subject": signed(claims(sub=None)),
    "a number for a subject": by_hand(HS256, json.dumps(claims(sub=17)).encode()),
    "an empty subject": signed(claims(sub="")),
    "a blank subject": signed(claims(sub="  ")),
    "nobody": signed(claims(sub="undefined")),
    "a long subject": signed(claims(sub="u" * 513)),
    "U+0000": signed(claims(sub="u\0")),
    "a line break": signed(claims(sub="u\n17")),
    "half a character": by_hand(HS256, json.dumps(claims(sub="\ud800")).encode()),
    "half a character as bytes": by_hand(HS256, b'{"sub":"\xed\xa0\x80","aud":"temas","exp":%d}' % (NOW + 60)),
    "without an audience": signed(claims(aud=None)),
    "for another audience": signed(claims(aud="another-service")),
    "for another audience among others": signed(claims(aud=["another-service"])),
    "forged": signed(claims(), "somebody-else's-secret-of-32-bytes+"),
    "another algorithm": signed(claims(), algorithm="HS384"),
    "unsigned": signed(claims(), "", algorithm="none"),
    "no algorithm": by_hand(b"{}", json.dumps(claims()).encode()),
    "a list of algorithms": by_hand(b'{"alg":["HS256"]}', json.dumps(claims()).encode()),
    "a head that is no object": by_hand(b'"HS256"', json.dumps(claims()).encode()),
    "a name of a key that is no text": by_hand(b'{"alg":"HS256","kid":{}}', json.dumps(claims()).encode()),
    "what must be understood": by_hand(b'{"alg":"HS256","crit":["x"],"x":1}', json.dumps(claims()).encode()),
    "detached": by_hand(b'{"alg":"HS256","b64":false,"crit":["b64"]}', json.dumps(claims()).encode()),
    "deep": by_hand(b"[" * 3000, json.dumps(claims()).encode()),
    "deep claims": by_hand(HS256, b'{"a":' + b"[" * 3000),
    "claims that are no object": by_hand(HS256, b'"u-17"'),
    "too long": signed(claims(pad="x" * LONGEST_TOKEN)),
    "dots": "." * 8000,
    "no ASCII": signed(claims()) + "ÿ",
    "halves of characters": "\ud800.\udfff.\ud800",
    "nothing": "",
}


@pytest.mark.parametrize("token", REFUSED.values(), ids=[each.replace(" ", "-") for each in REFUSED])
def test_any_other_token_is_refused(token: str) -> None:
    with pytest.raises(TokenRefused) as refused:
        tokens().subject(token)
    assert SIGNING not in refused.value.message
    assert refused.value.headers["WWW-Authenticate"] == 'Bearer realm="temas", error="invalid_token"'
    refused.value.message.encode()


@pytest.mark.parametrize("authorization", [None, "", "Bearer", "Bearer ", "Digest x"])
def test_who_has_no_token_is_told_how_to_give_one(authorization: str | None) -> None:
    with pytest.raises(TokenRefused, match="Bearer <JWT") as refused:
        tokens().user_id(authorization)
    assert refused.value.headers["WWW-Authenticate"] == 'Bearer realm="temas"'


@given(st.text() | st.builds(".".join, st.lists(st.text(), min_size=3, max_size=3)))
def test_no_text_is_more_than_refused(token: str) -> None:
    with pytest.raises(TokenRefused):
        tokens().subject(token)
    with pytest.raises(TokenRefused):
        tokens().user_id(token)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None)),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)
CLAIMS = st.fixed_dictionaries(
    {},
    optional={
        "sub": st.just("u-17") | JSON,
        "aud": st.just("temas") | JSON,
        "exp": st.integers(NOW - 5, NOW + DAY + 5) | JSON,
        "iat": st.integers(NOW - DAY, NOW + 50) | JSON,
        "nbf": st.integers(NOW - DAY, NOW + 50) | JSON,
    },
)


@given(CLAIMS | JSON, st.fixed_dictionaries({"alg": st.just("HS256") | JSON}, optional={"kid": JSON, "crit": JSON}))
def test_whatever_a_signed_token_says_it_names_a_person_or_is_refused(said: Any, head: Any) -> None:
    token = by_hand(json.dumps(head).encode(), json.dumps(said).encode())
    with suppress(TokenRefused):
        subject = tokens().subject(token)
        assert subject == said["sub"]
        assert subject.encode()
        assert "\0" not in subject
        assert len(subject) <= 512
        assert NOW < said["exp"] <= NOW + DAY


def test_how_long_tokens_may_hold_can_be_set() -> None:
    short = tokens(user_token_longest=600)
    assert short.subject(signed(claims(exp=NOW + 600))) == "u-17"
    with pytest.raises(TokenRefused, match="600 seconds ahead"):
        short.subject(signed(claims(exp=NOW + 601)))


# --- rotation --------------------------------------------------------------------------------------------------------


def test_while_one_secret_takes_anothers_place_both_hold() -> None:
    both = tokens(f"{NEXT}, {SIGNING}")
    for each in (SIGNING, NEXT):
        assert both.subject(signed(claims(), each)) == "u-17"
    with pytest.raises(TokenRefused):
        both.subject(signed(claims(), f"{NEXT}, {SIGNING}"))
    with pytest.raises(TokenRefused):
        tokens(NEXT).subject(signed(claims()))


def public(key: Any, algorithm: str, **rest: Any) -> dict[str, Any]:
    found = jwt.get_algorithm_by_name(algorithm).to_jwk(key.public_key(), as_dict=True)
    return {name: value for name, value in {**found, **rest}.items() if name != "key_ops"}


def private(key: Any, algorithm: str, **rest: Any) -> dict[str, Any]:
    return {**jwt.get_algorithm_by_name(algorithm).to_jwk(key, as_dict=True), **rest}


def written(folder: Path, *keys: dict[str, Any]) -> str:
    path = folder / "jwks.json"
    path.write_text(json.dumps({"keys": keys}))
    return str(path)


def test_public_keys_verify_what_their_names_and_kinds_say(tmp_path: Path) -> None:
    place = written(tmp_path, public(RSA, "RS256", kid="a"), public(P256, "ES256", kid="b"))
    read = tokens(user_token_jwks=place)
    assert read.subject(signed(claims(), RSA, "RS256", kid="a")) == "u-17"
    assert read.subject(signed(claims(), P256, "ES256", kid="b")) == "u-17"
    assert read.subject(signed(claims())) == "u-17"  # the secret goes on to hold
    for wrong in (
        signed(claims(), RSA, "RS256", kid="b"),
        signed(claims(), RSA, "RS256", kid="c"),
        signed(claims(), RSA, "RS256"),  # of two, which?
        signed(claims(), RSA, "PS256", kid="a"),
        signed(claims(), RSA, "RS512", kid="a"),
        signed(claims(), OTHER_RSA, "RS256", kid="a"),
        signed(claims(), SIGNING, kid="a"),  # the name of a public key is not one of a secret
    ):
        with pytest.raises(TokenRefused):
            read.subject(wrong)


def test_a_single_key_needs_no_name(tmp_path: Path) -> None:
    read = tokens(None, user_token_jwks=written(tmp_path, public(RSA, "RS256", kid="a")))
    assert read.subject(signed(claims(), RSA, "RS256")) == "u-17"


def test_a_public_key_is_no_secret_to_sign_with(tmp_path: Path) -> None:
    """The attack that takes an RSA key, which everybody knows, for the secret of HS256."""
    jwk = public(RSA, "RS256", kid="a")
    read = tokens(None, user_token_jwks=written(tmp_path, jwk))
    pem, der = serialization.Encoding.PEM, serialization.Encoding.DER
    spki, pkcs1 = serialization.PublicFormat.SubjectPublicKeyInfo, serialization.PublicFormat.PKCS1
    known = [json.dumps(jwk).encode(), jwk["n"].encode(), b""]
    known += [RSA.public_key().public_bytes(encoding, form) for encoding in (pem, der) for form in (spki, pkcs1)]
    for text in known:
        for head in (b'{"alg":"HS256","kid":"a"}', HS256, b'{"alg":"RS256","kid":"a"}', b'{"alg":"none"}'):
            with pytest.raises(TokenRefused):
                read.subject(by_hand(head, json.dumps(claims()).encode(), text))


@pytest.mark.parametrize(
    "jwk",
    [
        pytest.param({"kty": "oct", "k": base64.urlsafe_b64encode(b"x" * 32).decode()}, id="a secret"),
        pytest.param(public(SMALL, "RS256"), id="a weak key"),
        pytest.param(public(P384, "ES384"), id="another curve"),
        pytest.param(public(RSA, "RS256", use="enc"), id="a key to encrypt with"),
        pytest.param(public(RSA, "RS256", alg="PS256"), id="a key of another algorithm"),
        pytest.param(private(P256, "ES256"), id="a private key"),
        pytest.param({"kty": "RSA", "n": "AQAB"}, id="half a key"),
        pytest.param({"kty": "RSA", "n": 1, "e": []}, id="no key"),
        pytest.param({}, id="nothing"),
    ],
)
def test_what_is_no_key_of_user_tokens_is_left_out(jwk: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(NotReadable, match="no key for RS256 or ES256"):
        tokens(user_token_jwks=written(tmp_path, jwk))
    beside = tokens(user_token_jwks=written(tmp_path, {"kid": "b", **jwk}, public(RSA, "RS256", kid="a")))
    assert beside.subject(signed(claims(), RSA, "RS256", kid="a")) == "u-17"


@pytest.mark.parametrize("text", ["", "[]", "{}", "[" * 100_000, '{"keys": 1}', "\x00"])
def test_a_file_that_is_no_set_of_keys_ends_the_start(text: str, tmp_path: Path) -> None:
    (tmp_path / "jwks.json").write_text(text)
    with pytest.raises(NotReadable):
        tokens(user_token_jwks=str(tmp_path / "jwks.json"))
    with pytest.raises(NotReadable, match="No such file"):
        tokens(user_token_jwks=str(tmp_path / "missing.json"))


# --- a set of keys that changes --------------------------------------------------------------------------------------


class Serving(BaseHTTPRequestHandler):
    """What an identity provider serves; and how often it was asked."""

    keys: ClassVar[list[dict[str, Any]]] = []
    asked: ClassVar[int] = 0
    elsewhere: ClassVar[str | None] = None

    def do_GET(self) -> None:
        type(self).asked += 1
        self.send_response(302 if self.elsewhere else 200)
        if self.elsewhere:
            self.send_header("Location", self.elsewhere)
        self.end_headers()
        self.wfile.write(json.dumps({"keys": self.keys}).encode())

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def provider(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, type[Serving]]]:
    """An https server whose certificate this process trusts."""
    _certificate(tmp_path / "own.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "own.pem"))
    handler = type("Handler", (Serving,), {"keys": [], "asked": 0, "elsewhere": None})
    server = HTTPServer(("127.0.0.1", 0), handler)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "own.pem")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"https://localhost:{server.server_port}/jwks", handler
    server.shutdown()
    server.server_close()
    thread.join()


def _certificate(path: Path) -> None:
    key, name = P256, x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    made = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(made - timedelta(days=1))
        .not_valid_after(made + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    path.write_bytes(certificate.public_bytes(pem) + key.private_bytes(pem, pkcs8, serialization.NoEncryption()))


@contextmanager
def running(read: UserTokens) -> Iterator[None]:
    task = asyncio.ensure_future(read.run())
    try:
        yield
    finally:
        task.cancel()


def holds(read: UserTokens, token: str) -> bool:
    with suppress(TokenRefused, Unavailable):
        return read.subject(token) == "u-17"
    return False


async def _shown(read: UserTokens, token: str, *, wanted: bool) -> None:
    async def so() -> bool:
        return holds(read, token) == wanted

    await until(so)


async def test_keys_of_an_address_come_by_themselves_and_go(
    provider: tuple[str, type[Serving]], monkeypatch: pytest.MonkeyPatch
) -> None:
    address, serving = provider
    monkeypatch.setattr(token_keys, "SOON", 0.01)
    serving.keys = [public(RSA, "RS256", kid="a")]
    first, second = signed(claims(), RSA, "RS256", kid="a"), signed(claims(), P256, "ES256", kid="b")
    read = tokens(None, user_token_jwks=address, user_token_jwks_every=3600)
    with pytest.raises(Unavailable):  # and not 401: the client would throw its token away
        read.subject(first)
    with running(read):
        await _shown(read, first, wanted=True)
        serving.keys = [public(P256, "ES256", kid="b")]
        await _shown(read, second, wanted=True)  # its name was not known: so the set was read again
        assert not holds(read, first)


async def test_names_that_nobody_knows_do_not_make_us_ask_without_a_pause(provider: tuple[str, type[Serving]]) -> None:
    address, serving = provider
    serving.keys = [public(RSA, "RS256", kid="a")]
    read = tokens(None, user_token_jwks=address)
    with running(read):
        await _shown(read, signed(claims(), RSA, "RS256", kid="a"), wanted=True)
        for number in range(200):
            assert not holds(read, signed(claims(), RSA, "RS256", kid=f"unknown-{number}"))
            await asyncio.sleep(0)
        assert serving.asked == 1


async def test_what_was_read_last_holds_while_nothing_can_be_read(
    provider: tuple[str, type[Serving]], monkeypatch: pytest.MonkeyPatch
) -> None:
    address, serving = provider
    monkeypatch.setattr(token_keys, "SOON", 0.01)
    serving.keys = [public(RSA, "RS256", kid="a")]
    token = signed(claims(), RSA, "RS256", kid="a")
    read = tokens(None, user_token_jwks=address, user_token_jwks_every=0.01)
    with running(read):
        await _shown(read, token, wanted=True)
        serving.keys = []
        before = serving.asked

        async def asked_again() -> bool:
            return serving.asked > before + 2

        await until(asked_again)
        assert holds(read, token)


async def test_a_file_that_is_written_anew_is_read_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_keys, "SOON", 0.01)
    read = tokens(None, user_token_jwks=written(tmp_path, public(RSA, "RS256", kid="a")), user_token_jwks_every=0.01)
    with running(read):
        written(tmp_path, public(P256, "ES256", kid="a"))
        await _shown(read, signed(claims(), P256, "ES256", kid="a"), wanted=True)


def test_keys_come_from_the_address_that_was_set_and_over_tls(provider: tuple[str, type[Serving]]) -> None:
    address, serving = provider
    serving.keys = [public(RSA, "RS256", kid="a")]
    assert token_keys.read(address).keys() == {"a"}
    serving.elsewhere = address
    with pytest.raises(NotReadable, match="302"):
        token_keys.read(address)
    for other in (address.replace("https", "http"), "file:///etc/passwd", "ftp://localhost/x"):
        with pytest.raises(NotReadable):
            token_keys.read(other)


def test_a_certificate_that_nobody_vouches_for_is_refused(
    provider: tuple[str, type[Serving]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    with pytest.raises(NotReadable, match="CERTIFICATE_VERIFY_FAILED"):
        token_keys.read(provider[0])


def test_without_anything_to_verify_with_every_token_is_refused() -> None:
    with pytest.raises(TokenRefused):
        tokens(None).subject(signed(claims()))
    assert list(TokenKeys(UserTokenSettings(), Health()).candidates(None)) == []
