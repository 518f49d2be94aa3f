"""What is said, in one sentence, when the machine is not ready."""

from __future__ import annotations

import errno
import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.local import checks
from deploy.local.errors import Refused, sentence
from deploy.local.java import java
from tests.servers import free


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_a_busy_port_is_named_with_who_wants_it_who_has_it_and_what_to_type(taken: int) -> None:
    with pytest.raises(Refused) as refused:
        checks.free_ports({"kafka": taken})
    told = str(refused.value)
    assert f"Port {taken}, which kafka needs, is taken by" in told
    assert f"(process {os.getpid()})" in told
    assert "TEMAS_PORT_OFFSET=100 make up" in told


def test_free_ports_pass() -> None:
    checks.free_ports({"kafka": free(1)[0]})


def test_a_port_past_the_last_one_is_refused() -> None:
    with pytest.raises(Refused, match="smaller number"):
        checks.free_ports({"kafka": 70_000})


def test_a_disk_that_is_nearly_full_is_refused_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "ENOUGH", shutil.disk_usage(tmp_path).total + 1)
    with pytest.raises(Refused, match=r"MB are free on the disk of .* TEMAS_HOME"):
        checks.free_disk(tmp_path)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (errno.ENOSPC, "The disk is full, at /state/keys.json: free some space and type make up again."),
        (errno.EACCES, "Not allowed to write /state/keys.json: set TEMAS_HOME and TEMAS_CACHE"),
        (errno.EIO, "The system refused /state/keys.json (Input/output error)"),
    ],
)
def test_what_the_system_refuses_is_told_in_a_sentence(code: int, said: str) -> None:
    assert sentence(OSError(code, os.strerror(code), "/state/keys.json")).startswith(said)


def test_a_server_that_was_given_and_does_not_answer_is_named() -> None:
    address = f"127.0.0.1:{free(1)[0]}"
    with pytest.raises(Refused, match=f"TEMAS_KAFKA_BOOTSTRAP is set, and nothing answers at {address}"):
        checks.answers(address, "TEMAS_KAFKA_BOOTSTRAP")


def test_a_server_that_was_given_and_answers_passes(taken: int) -> None:
    checks.answers(f"127.0.0.1:{taken}", "TEMAS_KAFKA_BOOTSTRAP")


def fake_java(folder: Path, script: str) -> str:
    program = folder / "bin" / "java"
    program.parent.mkdir(parents=True)
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return str(folder)


def test_java_home_goes_before_the_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAVA_HOME", fake_java(tmp_path, """echo 'openjdk version "21.0.1"' >&2"""))
    assert java() == tmp_path / "bin" / "java"


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("""echo 'java version "1.8.0_292"' >&2""", "is Java 8: install Java 17 or later and set JAVA_HOME"),
        ("echo 'libjli.so: cannot open shared object file' >&2; exit 127", r"does not work \(libjli.so: cannot open"),
    ],
)
def test_a_java_that_does_not_serve_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, said: str
) -> None:
    monkeypatch.setenv("JAVA_HOME", fake_java(tmp_path, script))
    with pytest.raises(Refused, match=said):
        java()


def test_a_java_home_without_java_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(Refused, match="can't be run"):
        java()
