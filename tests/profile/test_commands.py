"""What an operator mistypes is named, with how to type it, before anything is opened or changed."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from services.profile.cli import main


@pytest.fixture(autouse=True)
def _no_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings that nobody can open anything with."""
    monkeypatch.setattr("services.profile.cli.Settings", object)


def refused(*arguments: str) -> str:
    """What is said, in one line. Such a command ends with 2, and not by a traceback."""
    result = CliRunner().invoke(main, arguments, env={"COLUMNS": "300"})
    assert result.exit_code == 2, (result.output, result.exception)
    return " ".join(result.output.split())


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("--revert", "--dry-run"), "without --dry-run --revert is carried out"),
        (("--forget", "--dry-run"), "without --dry-run --forget is carried out"),
        (("--revert", "--forget"), "--revert and --forget are different things"),
        (("--person", "user_id:u", "--revert"), "--person and --revert are different things"),
        (("--person", "user_id:u", "--forget", "--dry-run"), "--person and --forget are different things"),
        (("--person", "user_id:u", "--afresh"), "--afresh begins the rebuild of everybody again, and --person is none"),
        (("--afresh", "--revert"), "--afresh begins the rebuild of everybody again, and --revert is none"),
        (("--afresh", "--forget"), "--afresh begins the rebuild of everybody again, and --forget is none"),
    ],
)
def test_options_that_contradict_each_other_do_nothing(options: tuple[str, ...], named: str) -> None:
    assert named in refused("rebuild", *options)


@pytest.mark.parametrize("person", ["", "ghost", ":ghost", "user_id:"])
def test_a_person_who_is_not_named_is_never_everybody(person: str) -> None:
    told = refused("rebuild", "--person", person)
    assert "--person" in told
    assert "an identifier is written kind:value, such as user_id:u-17" in told


def test_what_is_no_identifier_can_not_be_decided_anew() -> None:
    told = refused("relink", "user_id:u", "nokind")
    assert "an identifier is written kind:value, such as user_id:u-17; got 'nokind'" in told


@pytest.mark.parametrize("likelihood", ["1", "0.49", "nan", "1.5", "0.99999999999999999999"])
def test_nobody_is_likely_to_be_two_with_certainty(likelihood: str) -> None:
    told = refused("duplicates", "--at-least", likelihood)
    assert "--at-least" in told
    assert "from 0.5 up to, but without, 1" in told


def test_more_proposals_than_anybody_can_read_are_refused() -> None:
    assert "--limit" in refused("duplicates", "--limit", "99999999999999999999")
