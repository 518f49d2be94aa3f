"""What a service does not start with: secrets that can be guessed, that are missing, or that serve two purposes."""

from __future__ import annotations

import re
import secrets
import string
import subprocess
import sys
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from deploy.local.keys import Keys
from deploy.local.settings import ROOT, SERVICES
from shared.secrets import SHORTEST, SHORTEST_PUBLIC, weakness
from shared.settings import KafkaSettings, ServiceSettings, complaints, database_settings, kafka_settings
from tests.secrets import KEY_SIGNING_SECRET, SECRET_KEY, USER_TOKEN_SECRET, WRITE_KEY, secret


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a", "has 1 characters, and needs 32"),
        ("sk_secret", "has 9 characters"),
        (secret("short")[: SHORTEST - 1], "has 31 characters"),
        (f"{secret('padded')}\n", "white space"),
        ("changeme-changeme-changeme-changeme", "words that stand in examples"),
        ("sk_change-me-this-is-an-example-secret-key", "words that stand in examples"),
        ("a-string-secret-at-least-256-bits-long", "words that stand in examples"),
        ("your-256-bit-secret-your-256-bit-secret", "words that stand in examples"),
        ("MyCompanyPasswordMyCompanyPassword1!", "words that stand in examples"),
        ("x" * 64, "too regular"),
        ("deadbeef" * 8, "too regular"),
        ("correcthorsebatterystaple" * 2, "too regular"),
        ("0123456789abcdefghijklmnopqrstuvwxyz", "too regular"),
        ("zyxwvutsrqponmlkjihgfedcba9876543210", "too regular"),
        ("00000000000000000000000000abcdefgh", "too regular"),
        ("01" * 31 + "2", "too regular"),
    ],
)
def test_a_secret_that_can_be_guessed_is_told_what_is_wrong_with_it(text: str, why: str) -> None:
    assert why in str(weakness(text))


@given(st.binary(min_size=24, max_size=64))
def test_whatever_is_random_will_do(drawn: bytes) -> None:
    """Of the bytes that Hypothesis draws many are regular: they only say how long it is."""
    length = len(drawn)
    for text in (secrets.token_urlsafe(length), f"sk_{secrets.token_urlsafe(length)}", secrets.token_hex(length)):
        assert weakness(text) is None
        assert weakness(f"temas-{text}") is None


def test_keys_of_other_platforms_can_be_brought_along_as_write_keys() -> None:
    letters = string.ascii_letters + string.digits
    for length in (27, 32):
        assert weakness("".join(secrets.choice(letters) for _ in range(length)), SHORTEST_PUBLIC) is None
    assert weakness("wk-1", SHORTEST_PUBLIC)


def test_the_local_stack_makes_good_ones() -> None:
    made = Keys.generate()
    assert [
        weakness(each) for each in (made.secret_key, made.write_key, made.user_token_secret, made.key_signing_secret)
    ] == [None] * 4


ASSIGNED = re.compile(r"""TEMAS_\w*(?:SECRET|_KEY)\w*["']?\s*[=:,]\s*["']?([^\s"'`$<{]{2,})""")
"""A value that a secret is given: in a shell, in YAML, in Python."""


def _in_the_repository() -> Iterator[tuple[str, str]]:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in listed.splitlines():
        path = ROOT / name
        if path.suffix in (".md", ".py", ".yml", ".yaml", ".json", ".env", ".toml", "") and path.is_file():
            yield from ((name, found) for found in ASSIGNED.findall(path.read_text(errors="ignore")))


def test_no_secret_that_stands_in_the_repository_would_be_taken() -> None:
    found = list(_in_the_repository())
    assert ("tests/demo/test_screen.py", "sk_a=b\\nTEMAS_INGEST_URL=http://127.0.0.1:8001\\n") in found
    assert not [place for place, text in found if weakness(text.split("\\n")[0]) is None]


# --- at the start ----------------------------------------------------------------------------------------------------

GOOD = {
    "TEMAS_SECRET_KEY": SECRET_KEY,
    "TEMAS_KEY_SIGNING_SECRET": KEY_SIGNING_SECRET,
    "TEMAS_WRITE_KEY": WRITE_KEY,
    "TEMAS_USER_TOKEN_SECRET": USER_TOKEN_SECRET,
    "TEMAS_KAFKA_BOOTSTRAP": "127.0.0.1:1",
    "TEMAS_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none",
}


def begun(service: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """The service with this environment and nothing else, to its end."""
    argv = (sys.executable, "-m", f"services.{service}", "migrate")
    return subprocess.run(argv, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("service", SERVICES)
def test_no_service_starts_with_a_weak_secret_key_and_it_says_how_to_make_one(service: str) -> None:
    done = begun(service, GOOD | {"TEMAS_SECRET_KEY": "aaaaaaab"})
    assert done.returncode == 2
    assert done.stderr.startswith("TEMAS_SECRET_KEY: has 8 characters, and needs 32; make one: python -c")
    assert "Traceback" not in done.stderr
    assert "aaaaaaab" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("service", "name"),
    [
        ("personalize", "TEMAS_USER_TOKEN_SECRET"),
        ("ingest", "TEMAS_WRITE_KEY"),
        ("profile", "TEMAS_KEY_SIGNING_SECRET"),
    ],
)
def test_nor_with_another_weak_one(service: str, name: str) -> None:
    done = begun(service, GOOD | {name: "a"})
    assert (done.returncode, done.stderr[: len(name)]) == (2, name)


def test_one_secret_is_not_taken_for_two_purposes() -> None:
    done = begun("personalize", GOOD | {"TEMAS_USER_TOKEN_SECRET": SECRET_KEY})
    assert done.returncode == 2
    assert "TEMAS_SECRET_KEY and TEMAS_USER_TOKEN_SECRET are the same" in done.stderr
    assert SECRET_KEY not in done.stderr


def test_each_of_several_secrets_has_to_be_good() -> None:
    for several, code in ((f"{USER_TOKEN_SECRET}, {secret('next')}", 1), (f"{USER_TOKEN_SECRET},a", 2)):
        done = begun("personalize", GOOD | {"TEMAS_USER_TOKEN_SECRET": several})
        assert (done.returncode, "TEMAS_USER_TOKEN_SECRET: has 1 characters" in done.stderr) == (code, code == 2)


def test_another_programs_secret_key_is_not_taken_for_ours() -> None:
    """Many programs read a variable SECRET_KEY."""
    without = {name: value for name, value in GOOD.items() if name != "TEMAS_SECRET_KEY"}
    done = begun("profile", without | {"SECRET_KEY": secrets.token_urlsafe(32)})
    assert (done.returncode, done.stderr) == (2, "TEMAS_SECRET_KEY: field required\n")


# --- in errors -------------------------------------------------------------------------------------------------------


class Own(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="TEMAS_OWN_", frozen=True, populate_by_name=True)


def refused(kind: type[BaseSettings], monkeypatch: pytest.MonkeyPatch, **environment: str) -> tuple[str, list[str]]:
    """The error as it is logged, and in words."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValidationError) as raised:
        kind()
    return str(raised.value), list(complaints(raised.value, kind))


def test_a_service_can_have_a_kafka_user_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"BOOTSTRAP": "k:1", "USERNAME": "everybody", "PASSWORD": "theirs", "PREFIX": "eu."}.items():
        monkeypatch.setenv(f"TEMAS_KAFKA_{name}", value)
    monkeypatch.setenv("TEMAS_PROFILE_KAFKA_USERNAME", "temas-profile")
    monkeypatch.setenv("TEMAS_PROFILE_KAFKA_PASSWORD", "its own")
    own, others = kafka_settings("profile"), kafka_settings("scoring")
    assert (own.bootstrap, own.prefix, own.username) == ("k:1", "eu.", "temas-profile")
    assert (others.bootstrap, others.prefix, others.username) == ("k:1", "eu.", "everybody")
    assert own.password
    assert own.password.get_secret_value() == "its own"


def test_an_error_names_the_variable_and_hides_what_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    error, words = refused(Own, monkeypatch, TEMAS_SECRET_KEY="a-weak-one", TEMAS_OWN_PORT="a-weak-one")
    assert "a-weak-one" not in error
    assert {each.split(":")[0] for each in words} >= {"TEMAS_OWN_PORT", "TEMAS_SECRET_KEY"}


def test_so_do_those_of_kafka_and_the_database(monkeypatch: pytest.MonkeyPatch) -> None:
    error, [word] = refused(
        KafkaSettings, monkeypatch, TEMAS_KAFKA_BOOTSTRAP="k:1", TEMAS_KAFKA_SASL_MECHANISM="hunter2"
    )
    assert "hunter2" not in error
    assert word.startswith("TEMAS_KAFKA_SASL_MECHANISM: Input should be")
    with pytest.raises(ValidationError) as raised:
        kafka_settings("profile")
    assert list(complaints(raised.value, Own)) == [word]
    monkeypatch.setenv("TEMAS_DATABASE_URL", "postgresql://u:hunter2@h/d")
    monkeypatch.setenv("TEMAS_PROFILE_DATABASE_POOL_SIZE", "hunter2")
    with pytest.raises(ValidationError) as raised:
        database_settings("profile")
    assert "hunter2" not in str(raised.value)
