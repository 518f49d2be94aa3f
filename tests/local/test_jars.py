"""Kafka's jars are run only when each of them is the one that is pinned."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from deploy.local import jars
from deploy.local.errors import Refused

CONTENT = {"kafka.jar": b"broker", "log4j.jar": b"logger"}
PINS = {name: hashlib.sha256(content).hexdigest() for name, content in CONTENT.items()}


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    folder = jars.folder(tmp_path)
    folder.mkdir()
    for name, content in CONTENT.items():
        (folder / name).write_bytes(content)
    return tmp_path


def kafka_jars(cache: Path) -> Path:
    return jars.kafka_jars(cache, progress=pytest.fail, pins=PINS)


def test_jars_that_are_there_and_right_are_used_without_a_network(cache: Path) -> None:
    assert kafka_jars(cache) == jars.folder(cache)


def test_a_jar_that_differs_is_refused(cache: Path) -> None:
    (jars.folder(cache) / "log4j.jar").write_bytes(b"logger, improved")
    with pytest.raises(Refused, match=r"log4j\.jar is not the jar that is pinned: delete"):
        kafka_jars(cache)


def test_a_jar_too_few_is_refused(cache: Path) -> None:
    (jars.folder(cache) / "log4j.jar").unlink()
    with pytest.raises(Refused, match=r"log4j\.jar is missing: delete"):
        kafka_jars(cache)


def test_a_jar_too_many_is_refused(cache: Path) -> None:
    (jars.folder(cache) / "another.jar").write_bytes(b"")
    with pytest.raises(Refused, match=r"another\.jar is not among the pinned jars: delete"):
        kafka_jars(cache)


def test_the_pins_name_kafka_and_its_logger_with_whole_digests() -> None:
    pins = jars.pinned()
    assert {f"kafka_2.13-{jars.KAFKA}.jar", "log4j-slf4j-impl-2.25.4.jar"} <= pins.keys()
    assert all(len(bytes.fromhex(digest)) == hashlib.sha256().digest_size for digest in pins.values())
