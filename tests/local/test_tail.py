"""The end of logs."""

from __future__ import annotations

from pathlib import Path

from deploy.local.tail import added_lines, last_lines


def test_the_last_lines_are_shown(tmp_path: Path) -> None:
    log = tmp_path / "kafka.log"
    log.write_text("".join(f"line {number}\n" for number in range(500)))
    assert last_lines(log, 2) == ["line 498", "line 499"]


def test_lines_are_followed_whole_and_from_the_start_of_a_new_log(tmp_path: Path) -> None:
    log = tmp_path / "kafka.log"
    log.write_text("old\n")
    followed = added_lines({"kafka": log})
    with log.open("a") as file:
        file.write("one\nhal")
        file.flush()
        assert next(followed) == ("kafka", "one")
        file.write("f\n")
        file.flush()
        assert next(followed) == ("kafka", "half")
    log.replace(tmp_path / "kafka.log.1")
    log.write_text("anew\n")
    assert next(followed) == ("kafka", "anew")
