"""Where Kafka unpacks its libraries: a folder of nobody else, on a disk that runs programs, gone with its stack."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.local import scratch
from deploy.local.errors import Refused
from deploy.local.home import Home


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    home = Home.at(tmp_path / "state")
    home.claim()
    yield home
    scratch.remove(home)


def test_it_is_its_owners_alone_and_nobody_can_guess_its_name(home: Home) -> None:
    one, other = scratch.make(home), scratch.make(home)
    assert one != other
    assert {stat.S_IMODE(each.stat().st_mode) for each in (one, other)} == {0o700}
    assert not one.is_relative_to(home.path)


def test_it_lies_where_programs_may_be_run(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    forbidden = scratch.make(home).parent
    monkeypatch.setattr(scratch, "_runs_programs", lambda place: place != forbidden)
    assert scratch.make(home).parent != forbidden
    monkeypatch.setattr(scratch, "_runs_programs", lambda _: False)
    with pytest.raises(Refused, match="set TMPDIR"):
        scratch.make(home)


def test_it_goes_with_its_stack_and_leaves_another_ones(home: Home, tmp_path: Path) -> None:
    other = Home.at(tmp_path / "other")
    other.claim()
    mine, theirs = scratch.make(home), scratch.make(other)
    (mine / "libzstd.so").touch()
    scratch.remove(home)
    assert (mine.exists(), theirs.exists()) == (False, True)
    scratch.remove(other)
    assert not theirs.exists()


def test_what_a_server_left_there_is_gone_at_its_next_start(home: Home) -> None:
    folder = scratch.make(home)
    (folder / "libzstd.so").touch()
    (folder / "more").mkdir()
    scratch.empty(folder)
    assert list(folder.iterdir()) == []


def test_it_is_made_again_where_the_system_has_tidied_up(home: Home) -> None:
    folder = scratch.make(home)
    folder.rmdir()
    scratch.empty(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_link_or_an_open_folder_in_its_place_is_refused(home: Home, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    (elsewhere / "thesis.tex").touch()
    folder = scratch.make(home)
    folder.chmod(0o777)
    with pytest.raises(Refused, match="not a folder of ours alone"):
        scratch.empty(folder)
    folder.rmdir()
    folder.symlink_to(elsewhere)
    with pytest.raises(Refused, match="not a folder of ours alone"):
        scratch.empty(folder)
    scratch.remove(home)
    assert (elsewhere / "thesis.tex").exists()
    folder.unlink()
