"""Comparing with another commit: what is compared is a round, and what is measured is that commit's own code."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.bench.against import Figure, Round, checked_out, compared
from tests.bench.events import batch
from tests.bench.load import MARK
from tests.bench.stack import BenchFailed

COST = Figure("an event", "µs")


def test_a_ratio_is_taken_within_a_round_so_that_a_slow_hour_is_nobodys_fault() -> None:
    rounds = [
        Round({COST: 110.0}, {COST: 100.0}),
        Round({COST: 330.0}, {COST: 300.0}),
        Round({COST: 90.0}, {COST: 100}),
    ]
    found = compared(rounds)[COST]
    assert [found.least, found.ratio, found.most] == pytest.approx([0.9, 1.1, 1.1])
    assert [found.ours, found.theirs] == [110.0, 100.0]


def test_a_figure_that_the_other_does_not_have_is_left_out() -> None:
    assert compared([Round({COST: 1.0}, {COST: 0.0})]) == {}


def git(folder: Path, *words: str) -> None:
    identity = ("-c", "user.name=A", "-c", "user.email=a@example.com")
    subprocess.run(["git", *identity, *words], cwd=folder, check=True, capture_output=True)


def test_the_other_commit_is_measured_as_it_was_and_not_as_it_is_now(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    (tmp_path / "code").write_text("before")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "one")
    (tmp_path / "code").write_text("after")
    with checked_out("HEAD", tmp_path) as files:
        assert (files / "code").read_text() == "before"
    assert not files.exists()


def test_a_commit_that_is_not_there_is_named(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    with pytest.raises(BenchFailed, match="no commit 'nowhere'"), checked_out("nowhere", tmp_path):
        pass


def test_one_event_in_twenty_is_of_somebody_new_in_every_request() -> None:
    body = batch(0, 100, new=20)
    assert body.count(b'"userId":"n-' + MARK) == 5
    assert body.count(b'"userId":"u-') == 95
