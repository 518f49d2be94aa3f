"""Without a terminal the demo prints plain lines: a log is all that is left of it."""

from __future__ import annotations

import io

from rich.console import Console

from deploy.demo.screen import Screen
from deploy.demo.stack import read_environment
from deploy.demo.tables import Sheet


def plain() -> tuple[Screen, io.StringIO]:
    written = io.StringIO()
    return Screen(Console(file=written, force_terminal=False)), written


def test_a_long_step_is_a_few_lines_and_ends_with_all_done() -> None:
    screen, written = plain()

    with screen.progress("Posting", 1_000) as advance:
        for done in range(0, 1_001, 10):
            advance(done)

    lines = written.getvalue().splitlines()
    assert len(lines) == 5
    assert "1,000 of 1,000" in lines[-1]
    assert "\x1b" not in written.getvalue()


def test_what_is_said_is_printed_as_it_is() -> None:
    screen, written = plain()

    screen.say("a list [1] and a [bold] word")

    assert "a list [1] and a [bold] word" in written.getvalue()


def test_figures_stand_to_the_right() -> None:
    screen, written = plain()

    screen.show(Sheet("Totals", ("who", "#sum"), [("a", "1"), ("b", "1,000")]))

    assert "│     1 │" in written.getvalue()


def test_the_stack_s_environment_is_read_line_by_line() -> None:
    text = "# written by make up\n\nTEMAS_SECRET_KEY=sk_a=b\nTEMAS_INGEST_URL=http://127.0.0.1:8001\n"

    assert read_environment(text) == {"TEMAS_SECRET_KEY": "sk_a=b", "TEMAS_INGEST_URL": "http://127.0.0.1:8001"}
