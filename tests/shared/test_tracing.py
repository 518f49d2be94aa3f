"""A trace goes on where its sender began it; what is no trace is replaced, never passed on."""

from __future__ import annotations

import re

import pytest

from shared.tracing import trace_id, traceparent

GIVEN = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def test_the_callers_trace_is_kept() -> None:
    assert traceparent(GIVEN) == GIVEN
    assert trace_id(GIVEN) == "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        "hello",
        GIVEN.upper(),
        f"{GIVEN}-more",
        f"{GIVEN}\nx-injected: 1",
        "ff" + GIVEN[2:],
        f"00-{'0' * 32}-00f067aa0ba902b7-01",
        f"00-4bf92f3577b34da6a3ce929d0e0e4736-{'0' * 16}-01",
    ],
)
def test_what_is_no_trace_gives_a_new_one(wrong: str) -> None:
    made = traceparent(wrong)
    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-01", made)
    assert made != wrong


def test_two_new_traces_differ() -> None:
    assert traceparent("") != traceparent("")
