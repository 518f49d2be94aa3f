"""Settings and the environment: what is ours to start, and what each service is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.local import services
from deploy.local.environment import of_servers
from deploy.local.errors import Refused
from deploy.local.home import Home
from deploy.local.keys import Keys
from deploy.local.settings import SERVICES, Settings

KEYS = Keys.generate()


def given(**variables: str) -> dict[str, str]:
    return {f"TEMAS_{name}": value for name, value in variables.items()}


def settings(monkeypatch: pytest.MonkeyPatch, **variables: str) -> Settings:
    for name, value in given(**variables).items():
        monkeypatch.setenv(name, value)
    return Settings.from_environment()


def test_the_offset_moves_every_port(monkeypatch: pytest.MonkeyPatch) -> None:
    moved = settings(monkeypatch, PORT_OFFSET="100")
    assert (moved.port("ingest"), moved.port("kafka"), moved.port("postgres")) == (8101, 29192, 25532)


def test_an_offset_that_is_no_number_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Refused, match="TEMAS_PORT_OFFSET=many can't be used"):
        settings(monkeypatch, PORT_OFFSET="many")


def test_servers_that_are_given_are_not_started(monkeypatch: pytest.MonkeyPatch) -> None:
    outside = settings(monkeypatch, DATABASE_URL="postgresql://u:p@db.example/temas", KAFKA_BOOTSTRAP="k1:9092,k2:9092")
    assert (outside.starts_postgres, outside.starts_kafka) == (False, False)
    assert outside.database_address == "db.example:5432"


def test_our_own_addresses_from_a_sourced_local_env_do_not_count_as_given(monkeypatch: pytest.MonkeyPatch) -> None:
    own = services.shared(Settings(), KEYS, {})["TEMAS_KAFKA_BOOTSTRAP"]
    sourced = settings(monkeypatch, DATABASE_URL="postgresql://temas:old@127.0.0.1:25432/temas", KAFKA_BOOTSTRAP=own)
    assert (sourced.starts_postgres, sourced.starts_kafka) == (True, True)


def test_an_unreadable_database_url_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Refused, match="TEMAS_DATABASE_URL can't be read"):
        _ = settings(monkeypatch, DATABASE_URL="postgresql://db:port/temas").starts_postgres


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_is_told_its_own_database_and_no_other(service: str) -> None:
    told = services.environment_of(service, Settings(), KEYS, given(DATABASE_URL="the administrator's"))
    own = f"TEMAS_{service.upper()}_DATABASE_URL"
    assert {name for name in told if "DATABASE" in name} == {own}
    assert f"//{service}:{KEYS.passwords[service]}@" in told[own]
    assert KEYS.passwords["temas"] not in str(told)


def test_a_database_that_is_given_is_passed_on_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    outside = settings(monkeypatch, DATABASE_URL="postgresql://u:p@db.example/temas")
    told = services.environment_of("profile", outside, KEYS, given(DATABASE_URL="postgresql://u:p@db.example/temas"))
    assert told["TEMAS_DATABASE_URL"] == "postgresql://u:p@db.example/temas"
    assert "TEMAS_PROFILE_DATABASE_URL" not in told


def test_keys_and_settings_from_outside_reach_the_services() -> None:
    told = services.environment_of("ingest", Settings(), KEYS, given(SECRET_KEY="sk_mine", TIME_ZONE="Europe/Istanbul"))
    assert (told["TEMAS_SECRET_KEY"], told["TEMAS_TIME_ZONE"]) == ("sk_mine", "Europe/Istanbul")
    assert told["TEMAS_WRITE_KEY"] == KEYS.write_key


SECRETS = {
    "SECRET_KEY": set(SERVICES),
    "KEY_SIGNING_SECRET": set(SERVICES),
    "KAFKA_PASSWORD": set(SERVICES),
    "WRITE_KEY": {"ingest"},
    "USER_TOKEN_SECRET": {"ingest", "personalize"},
    **{f"{service.upper()}_DATABASE_URL": {service} for service in SERVICES},
    **{f"{service.upper()}_KAFKA_PASSWORD": {service} for service in SERVICES},
    "SOMETHING_TO_COME": set(),
}
"""Who uses which."""


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_is_told_the_secrets_that_it_uses_and_no_others(service: str) -> None:
    """Not even where somebody has sourced the `local.env` of another stack, or an `.env` with everything in it."""
    everything = {f"TEMAS_{name}": f"the {name}" for name in SECRETS}
    outside = Settings(database_url="postgresql://u:p@db.example/temas")
    told = services.environment_of(service, outside, KEYS, everything | {"AWS_SECRET_ACCESS_KEY": "the cloud's"})
    assert {value for value in told.values() if value.startswith("the ")} == {
        f"the {name}" for name, users in SECRETS.items() if service in users
    }


def test_what_is_of_the_machine_is_inherited() -> None:
    machine = {
        "PATH": "/bin", "LC_ALL": "tr_TR.UTF-8", "TZ": "Europe/Istanbul", "SSL_CERT_FILE": "/ca.pem",
        "https_proxy": "http://proxy:1", "HOME": "/root", "PYTHONUNBUFFERED": "1",
    }  # fmt: skip
    told = services.environment_of("ingest", Settings(), KEYS, machine | {"GITHUB_TOKEN": "x", "PGPASSWORD": "y"})
    assert {name: value for name, value in told.items() if not name.startswith("TEMAS_")} == machine


def test_the_servers_are_told_no_setting_of_temas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEMAS_SECRET_KEY", "sk_mine")
    assert "TEMAS_SECRET_KEY" not in of_servers()
    assert of_servers()["PATH"]


def test_a_port_from_outside_moves_the_address_that_others_are_told() -> None:
    told = services.shared(Settings(), KEYS, given(INGEST_PORT="9999"))
    assert told["TEMAS_INGEST_URL"] == "http://127.0.0.1:9999"
    with pytest.raises(Refused, match="TEMAS_INGEST_PORT=ninety is not a port"):
        services.shared(Settings(), KEYS, given(INGEST_PORT="ninety"))


def test_local_env_has_all_that_a_client_needs_for_its_owner_only(tmp_path: Path) -> None:
    home = Home.at(tmp_path / "state")
    home.claim()
    services.write_environment(home, Settings(), KEYS)
    told = dict(line.split("=", 1) for line in home.environment.read_text().splitlines() if not line.startswith("#"))
    assert home.environment.stat().st_mode & 0o777 == 0o600
    assert told.keys() >= given(
        INGEST_URL="", PROFILE_URL="", SCORING_URL="", PERSONALIZE_URL="", WRITE_KEY="", SECRET_KEY="",
        KAFKA_BOOTSTRAP="", DATABASE_URL="", USER_TOKEN_SECRET="",
    ).keys()  # fmt: skip
    assert told["TEMAS_DATABASE_URL"] == f"postgresql://temas:{KEYS.passwords['temas']}@127.0.0.1:25432/temas"
