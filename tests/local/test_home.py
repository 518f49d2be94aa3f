"""The state folder: whose it is, who may read it, who holds it."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from deploy.local.errors import Refused
from deploy.local.home import LOG_LIMIT, Home, write_private


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home.at(tmp_path / "state")
    home.claim()
    return home


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_nobody_else_may_look_into_the_state_folder(home: Home) -> None:
    assert {mode(folder) for folder in (home.path, home.run, home.logs)} == {0o700}


def test_a_private_file_is_its_owners_alone_and_replaces_the_one_before(home: Home) -> None:
    home.keys.write_text("open to all")
    home.keys.chmod(0o644)
    write_private(home.keys, "secret")
    assert (home.keys.read_text(), mode(home.keys)) == ("secret", 0o600)
    assert sorted(home.path.iterdir()) == sorted([home.keys, home.run, home.logs, home.marker])


def test_a_folder_with_somebody_elses_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    home = Home.at(tmp_path)
    with pytest.raises(Refused, match="is not a state folder of Temas"):
        home.claim()
    with pytest.raises(Refused, match="it stays"):
        home.delete()
    assert (tmp_path / "thesis.tex").exists()


def test_a_deletion_that_was_interrupted_can_be_taken_up_again(home: Home) -> None:
    (home.postgres / "base").mkdir(parents=True)
    home.keys.write_text("{}")
    home.keys.unlink()  # as far as the first one came
    home.delete()
    assert not home.path.exists()


def test_one_supervisor_holds_a_folder_and_lets_go_when_it_ends(home: Home) -> None:
    assert not home.is_supervised()
    with home.supervised():
        assert home.is_supervised()
        with pytest.raises(Refused, match="has a supervisor already"), home.supervised():
            pytest.fail("two supervisors")
    assert not home.is_supervised()


def test_a_log_that_has_grown_large_is_moved_aside(home: Home) -> None:
    log = home.log_file("kafka")
    log.write_bytes(b"x" * (LOG_LIMIT + 1))
    with open(home.open_log("kafka"), "w") as opened:
        opened.write("new")
    assert log.read_text() == "new"
    assert (home.logs / "kafka.log.1").stat().st_size == LOG_LIMIT + 1
