"""Keys: generated, kept, and never guessed again."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from deploy.local.errors import Refused
from deploy.local.home import Home
from deploy.local.keys import WITH_DATABASE, keys_of


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home.at(tmp_path / "state")
    home.claim()
    return home


def test_keys_are_the_same_at_every_start_and_differ_between_stacks(home: Home, tmp_path: Path) -> None:
    other = Home.at(tmp_path / "other")
    other.claim()
    assert keys_of(home) == keys_of(home)
    assert keys_of(home).secret_key != keys_of(other).secret_key


def test_only_the_owner_reads_the_keys(home: Home) -> None:
    keys_of(home)
    assert stat.S_IMODE(home.keys.stat().st_mode) == 0o600


def test_every_role_has_a_password_of_its_own(home: Home) -> None:
    passwords = keys_of(home).passwords
    assert len(set(passwords.values())) == len(passwords) == 1 + len(WITH_DATABASE)


def test_a_role_that_came_later_gets_a_password_and_the_others_keep_theirs(home: Home) -> None:
    before = keys_of(home)
    stored = json.loads(home.keys.read_text())
    del stored["passwords"]["scoring"]
    home.keys.write_text(json.dumps(stored))
    after = keys_of(home)
    assert after.passwords["scoring"] != before.passwords["scoring"]
    assert after.passwords["profile"] == before.passwords["profile"]
    assert keys_of(home) == after


def test_a_secret_that_came_later_is_made_once_and_kept(home: Home) -> None:
    before = keys_of(home)
    stored = json.loads(home.keys.read_text())
    del stored["key_signing_secret"]
    home.keys.write_text(json.dumps(stored))
    after = keys_of(home)
    assert after.key_signing_secret != before.key_signing_secret
    assert keys_of(home) == after


@pytest.mark.parametrize("damage", ["", '{"secret_key": "sk_', '{"secret_key": "sk_1"}'])
def test_damaged_keys_are_said_to_be_damaged_and_what_to_type(home: Home, damage: str) -> None:
    home.keys.write_text(damage)
    with pytest.raises(Refused, match=r"keys\.json is damaged .* make reset"):
        keys_of(home)


def test_lost_keys_are_not_made_up_while_the_database_is_there(home: Home) -> None:
    home.postgres.mkdir()
    with pytest.raises(Refused, match=r"keys\.json is gone"):
        keys_of(home)
    assert not home.keys.exists()
