"""One error family: what its docstring draws is what a client is told."""

from __future__ import annotations

import re

import pytest

from shared import errors
from shared.errors import (
    Fatal,
    Forbidden,
    Invalid,
    LogUnavailable,
    RetryLater,
    TemasError,
    TooManyRequests,
    Unauthorized,
)

DRAWN = {
    name: (int(status), code) for name, status, code in re.findall(r"── (\w+) +(\d{3}) (\w+)", errors.__doc__ or "")
}


def family(root: type[Exception]) -> set[type[Exception]]:
    mine = {child for child in root.__subclasses__() if child.__module__ == errors.__name__}
    return mine.union(*(family(child) for child in mine))


def test_the_drawing_shows_every_error_a_client_can_meet() -> None:
    told = {each.__name__ for each in family(TemasError)} - {RetryLater.__name__}
    assert told == set(DRAWN)


@pytest.mark.parametrize("name", DRAWN)
def test_status_and_code_are_those_drawn(name: str) -> None:
    error = getattr(errors, name)
    assert (error.status, error.code) == DRAWN[name]


def test_the_body_is_code_message_and_details_where_there_are_any() -> None:
    assert Forbidden("no").body() == {"code": "forbidden", "message": "no"}
    detail = {"path": "batch[3].userId", "code": "empty"}
    assert Invalid("say who", details=[detail]).body() == {
        "code": "invalid_request",
        "message": "say who",
        "details": [detail],
    }


def test_who_may_try_again_is_told_when_and_others_are_not() -> None:
    for error in (LogUnavailable("x"), TooManyRequests("x")):
        assert int(error.headers["Retry-After"]) >= 1
    assert "Retry-After" not in Invalid("x").headers
    assert "WWW-Authenticate" in Unauthorized("x").headers


def test_what_must_stop_the_process_is_never_told_to_a_client() -> None:
    assert not family(Fatal) & family(TemasError)
    assert not issubclass(Fatal, TemasError)
