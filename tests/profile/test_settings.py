"""What an operator may set about identities."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from services.profile.settings import Settings
from shared.identifiers import Identifier
from shared.settings import DatabaseSettings, KafkaSettings
from tests.secrets import KEY_SIGNING_SECRET, SECRET_KEY


def chosen(monkeypatch: pytest.MonkeyPatch, **environment: str) -> Settings:
    for name, value in environment.items():
        monkeypatch.setenv(f"TEMAS_PROFILE_{name}", value)
    database = DatabaseSettings(url="postgresql://u:p@localhost/t", db_schema="profile")
    return Settings(
        secret_key=SECRET_KEY,
        key_signing_secret=KEY_SIGNING_SECRET,
        kafka=KafkaSettings(bootstrap="localhost:1"),
        database=database,
    )


def test_limits_are_set_by_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = chosen(monkeypatch, LIMITS_BY_KIND='{"email": 3}', IDENTIFIER_LIMIT="7", ANONYMOUS_LIMIT="9").limits
    assert [limits.of(kind) for kind in ("email", "crm", "anonymous_id")] == [3, 7, 9]


def test_blocked_identifiers_are_compared_as_all_are(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = chosen(monkeypatch, BLOCKED='["email:Desk@Example.com"]').limits
    assert limits.blocked == {Identifier("email", "desk@example.com")}


@pytest.mark.parametrize(("name", "value"), [("BLOCKED", '["no kind"]'), ("LIMITS_BY_KIND", '{"email": 0}')])
def test_what_makes_no_sense_is_refused_at_start(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    with pytest.raises(ValidationError):
        chosen(monkeypatch, **{name: value})
