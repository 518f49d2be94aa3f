"""Logs of an outage are bounded: what a library says a hundred times a second is said now and then."""

from __future__ import annotations

import logging

from shared.logs import Seldom


def _record(name: str, text: str, *values: object) -> logging.LogRecord:
    return logging.LogRecord(name, logging.ERROR, __file__, 1, text, values, None)


def test_of_each_thing_that_the_library_says_one_line_in_ten_seconds_passes() -> None:
    now = 1_000.0
    seldom = Seldom("aiokafka", now=lambda: now)
    assert seldom.filter(_record("aiokafka", "Unable connect to node with id %s: %s", 1, "refused"))
    for number in range(100):
        assert not seldom.filter(_record("aiokafka", "Unable connect to node with id %s: %s", number, "refused"))
    assert seldom.filter(_record("aiokafka.consumer.fetcher", "Failed fetch messages from %s: %s", 1, "away"))
    now += 10
    assert seldom.filter(_record("aiokafka", "Unable connect to node with id %s: %s", 1, "refused"))


def test_everybody_elses_lines_pass() -> None:
    seldom = Seldom("aiokafka")
    for name in ("shared.stream", "aiokafkaesque"):
        assert all(seldom.filter(_record(name, "a server is away")) for _ in range(3))
