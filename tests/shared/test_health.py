"""Health as an orchestrator sees it: silence is failure, and only vital parts get a process killed."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from shared.health import Health


@dataclass
class Watch:
    """A clock that moves when told to."""

    seconds: float = 1_000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def watch() -> Watch:
    return Watch()


@pytest.fixture
def health(watch: Watch) -> Health:
    return Health(now=watch)


def test_a_part_that_never_reported_is_a_complaint(health: Health) -> None:
    health.part("consumer", deadline=5)
    assert health.complaints() == {"consumer": "has not reported yet"}


def test_a_part_is_well_up_to_its_deadline_and_not_past_it(health: Health, watch: Watch) -> None:
    health.part("consumer", deadline=5).beat()
    watch.seconds += 5
    assert health.complaints() == {}
    watch.seconds += 0.5
    assert health.complaints() == {"consumer": "last reported 5.5 s ago"}


def test_a_beat_starts_the_deadline_again(health: Health, watch: Watch) -> None:
    part = health.part("consumer", deadline=5)
    for _ in range(3):
        part.beat()
        watch.seconds += 4
    assert health.complaints() == {}


def test_a_failure_lasts_until_the_next_beat(health: Health, watch: Watch) -> None:
    part = health.part("kafka")
    part.fail("no acknowledgement")
    watch.seconds += 1_000
    assert health.complaints() == {"kafka": "no acknowledgement"}
    part.beat()
    assert health.complaints() == {}


def test_a_part_without_a_deadline_may_be_silent(health: Health, watch: Watch) -> None:
    health.part("kafka")
    watch.seconds += 1_000_000
    assert health.complaints() == {}


def test_only_a_vital_part_makes_the_process_not_alive(health: Health) -> None:
    health.part("consumer", deadline=5).fail("database away")
    health.part("loop", deadline=5, vital=True).beat()
    assert health.complaints() == {"consumer": "database away"}
    assert health.complaints(vital_only=True) == {}
    health.parts["loop"].fail("hung")
    assert health.complaints(vital_only=True) == {"loop": "hung"}
