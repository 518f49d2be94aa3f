"""Publishing on real servers: nothing is forgotten, whoever dies when; and no state is told over a newer one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, timedelta

import pytest

from services.profile.domain.identity import profile_id
from services.profile.publisher import ProfilePublisher
from services.profile.service.absorbing import Profiles
from services.profile.service.publishing import Publications, next_hold
from services.profile.store import profiles
from services.profile.store.profiles import Claimed
from shared import topics
from shared.db import Database
from shared.events import Engagement, Identified, Profiled, Scored, Signalled, Touchpoint, Valuation
from shared.health import Health
from shared.identifiers import Identifier
from shared.kafka import Kafka
from tests.profile.lives import LIMITS, identify, page
from tests.profile.service import Hands, make_topics, read
from tests.servers import Installation, Servers
from tests.waiting import in_time

WITHIN = 0.5


class Office:
    """The publisher beside a consumer, each called by hand."""

    def __init__(
        self, installation: Installation, database: Database, kafka: Kafka, *, scores_within: float = 0.0
    ) -> None:
        self.installation = installation
        self.database = database
        self.hands = Hands()
        self.publications = Publications(self.hands)
        self.profiles = Profiles(limits=LIMITS, zone=UTC, clock=self.hands, scores_within=scores_within)
        self.out = ProfilePublisher(
            publications=self.publications, database=database, kafka=kafka, batch=100, clock=self.hands
        )

    async def absorb(self, *batch: Touchpoint) -> None:
        await self.database.retrying(lambda work: self.profiles.absorb(batch, work))

    async def score(self, user: str, engagement: float) -> None:
        """Take in a score, as scoring gives it."""
        found = Engagement(score=engagement, positive=1, negative=0)
        valuation = Valuation(profile_id=id_of(user), version=1, as_of=self.hands.now, engagement=found)
        event = Scored(id=user, source="scoring", time=self.hands.now, data=valuation)
        await self.database.retrying(lambda work: self.profiles.keep_scores([event], work))

    async def absorbed(self, user: str) -> int:
        """The version that somebody waits for who wants to see what has been absorbed."""
        async with self.database.begin() as work:
            found = await profiles.find(work, Identifier("user_id", user))
        assert found is not None
        return found.version

    async def scores(self, user: str) -> list[float | None]:
        """Each engagement that was told."""
        views = await read(self.installation.kafka, topics.PROFILES, Profiled, id_of(user))
        return [None if each.data.scores is None else each.data.scores.engagement for each in views]

    async def claimed(self) -> list[Claimed]:
        """What could be claimed right now."""
        async with self.database.begin() as claim:
            return await self.publications.claim(100, claim)

    async def versions(self, user: str) -> list[int]:
        views = await read(self.installation.kafka, topics.PROFILES, Profiled, id_of(user))
        return [each.data.version for each in views]


def id_of(user: str) -> str:
    return profile_id(Identifier("user_id", user))


@pytest.fixture(scope="module")
async def office(servers: Servers) -> AsyncIterator[Office]:
    async with servers.installation() as installation:
        await make_topics(installation)
        async with (
            Kafka.open(installation.kafka, Health()) as kafka,
            Database.open(installation.database("profile")) as database,
        ):
            yield Office(installation, database, kafka)


@pytest.fixture
async def patient(office: Office) -> AsyncIterator[Office]:
    """The same, where new scores may wait."""
    async with Kafka.open(office.installation.kafka, Health()) as kafka:
        yield Office(office.installation, office.database, kafka, scores_within=WITHIN)


async def test_a_burst_becomes_one_message(office: Office) -> None:
    for number in range(5):
        await office.absorb(page(f"b{number}", number, user="burst"))
    assert await office.out.publish() == 1
    assert await office.versions("burst") == [5]
    assert await office.out.publish() == 0


async def test_what_was_written_but_never_sent_is_told_again_as_a_new_version(office: Office) -> None:
    """The process dies between its commit and Kafka: its claim ends with its connection, its signals wait."""
    await office.absorb(identify("d1", user="dies"))
    async with office.database.begin() as claim:
        claimed = await office.publications.claim(100, claim)
        await office.database.retrying(lambda work: office.publications.write(claimed, work))
        await claim.rollback()
        assert await office.versions("dies") == []
    assert await office.out.publish() == 1
    assert await office.versions("dies") == [2]
    signals = await read(office.installation.kafka, topics.SIGNALS, Signalled, id_of("dies"))
    assert [each.data.name for each in signals] == ["stage_changed"]
    memberships = await read(office.installation.kafka, topics.IDENTITIES, Identified, id_of("dies"))
    assert [each.data.version for each in memberships] == [2]


async def test_what_changes_while_it_is_sent_stays_marked(office: Office) -> None:
    await office.absorb(page("c1", user="changes"))
    async with office.database.begin() as claim:
        claimed = await office.publications.claim(100, claim)
        told = await office.database.retrying(lambda work: office.publications.write(claimed, work))
        await office.absorb(page("c2", 1, user="changes"))
        await office.publications.confirm(told, claim)
    assert await office.out.publish() == 1
    assert await office.versions("changes") == [2]


async def test_who_is_always_busy_waits_since_they_were_last_told(office: Office) -> None:
    await office.absorb(page("ab1", user="busy"))
    async with office.database.begin() as claim:
        claimed = await office.publications.claim(100, claim)
        office.hands.now += timedelta(seconds=10)
        told = await office.database.retrying(lambda work: office.publications.write(claimed, work))
        await office.absorb(page("ab2", 1, user="busy"))
        await office.publications.confirm(told, claim)
    assert [each.marked_at for each in await office.claimed()] == [told.at]
    assert await office.out.publish() == 1


async def test_what_a_process_of_the_version_before_marked_is_published_too(office: Office) -> None:
    await office.absorb(page("rd1", user="rolling"))
    await office.out.publish()
    async with office.database.begin() as work:
        await work.exec_driver_sql(
            "UPDATE profile SET version = version + 1, marked_at = least(marked_at, '2026-03-01'), patient = false "
            f"WHERE profile_id = '{id_of('rolling')}'"
        )
    assert await office.out.publish() == 1
    assert await office.versions("rolling") == [1, 2]


async def test_what_a_process_marked_whose_clock_is_fast_is_published_at_once(office: Office) -> None:
    await office.absorb(page("fc1", user="fast-clock"))
    async with office.database.begin() as work:
        await work.exec_driver_sql("UPDATE mark SET marked_at = marked_at + interval '1 hour' WHERE NOT patient")
    assert await office.out.publish() == 1


async def test_a_consumer_does_not_wait_for_the_publisher(office: Office) -> None:
    await office.absorb(page("w1", user="waits"))
    async with office.database.begin() as claim:
        assert await office.publications.claim(100, claim)
        await in_time(office.absorb(page("w2", 1, user="waits")))
    await office.out.publish()


async def test_two_publishers_never_hold_the_same_profile(office: Office) -> None:
    await office.absorb(*(page(f"t{number}", user=f"two-{number}") for number in range(10)))
    async with office.database.begin() as one:
        first = await office.publications.claim(6, one)
        second = await office.claimed()
        assert len(first) == 6
        assert len(second) == 4
        assert not {each.profile_id for each in first} & {each.profile_id for each in second}
    assert await office.out.publish() == 10


async def test_a_membership_is_told_only_when_it_changes(office: Office) -> None:
    async def memberships() -> Sequence[tuple[int, list[str]]]:
        events = await read(office.installation.kafka, topics.IDENTITIES, Identified, id_of("member"))
        return [(each.data.version, [str(identifier) for identifier in each.data.identifiers]) for each in events]

    for number in range(3):
        await office.absorb(page(f"m{number}", number, user="member"))
        await office.out.publish()
    assert await memberships() == [(1, ["user_id:member"])]
    await office.absorb(identify("m9", 9, user="member", anonymous="their phone"))
    await office.out.publish()
    assert await memberships() == [(1, ["user_id:member"]), (4, ["anonymous_id:their phone", "user_id:member"])]
    assert await office.versions("member") == [1, 2, 3, 4]


# --- what may wait ---------------------------------------------------------------------------------------------------


async def test_new_scores_wait_a_little_and_are_told_with_what_a_touchpoint_changes(patient: Office) -> None:
    await patient.absorb(page("s1", user="scored"))
    await patient.out.publish()
    await patient.score("scored", 40.0)
    assert await patient.out.publish() == 0  # they wait
    assert await patient.absorbed("scored") == 1  # and nobody who asks for what touchpoints did waits for them
    await patient.absorb(page("s2", 1, user="scored"))
    assert await patient.absorbed("scored") == 3
    assert await patient.out.publish() == 1  # told at once, with the scores
    assert await patient.scores("scored") == [None, 40.0]


async def test_scores_that_nothing_else_comes_with_are_told_in_the_end(patient: Office) -> None:
    await patient.absorb(page("e1", user="alone"))
    await patient.out.publish()
    await patient.score("alone", 41.0)
    patient.hands.now += timedelta(seconds=WITHIN)
    assert await patient.out.publish() == 1
    assert await patient.scores("alone") == [None, 41.0]


async def test_scores_do_not_hold_up_what_a_touchpoint_changed_before(patient: Office) -> None:
    await patient.absorb(page("h1", user="held"))
    await patient.score("held", 42.0)
    assert await patient.absorbed("held") == 2
    assert await patient.out.publish() == 1
    assert await patient.scores("held") == [42.0]


def test_who_is_busy_is_held_back_only_while_rounds_are_full() -> None:
    longest, hold = timedelta(milliseconds=500), timedelta()
    grown = [hold := next_hold(hold, claimed=100, limit=100, longest=longest) for _ in range(6)]
    assert grown == sorted(grown)
    assert grown[-1] == longest
    assert next_hold(hold, claimed=60, limit=100, longest=longest) == longest  # as much as it takes
    for _ in range(30):
        hold = next_hold(hold, claimed=10, limit=100, longest=longest)
    assert hold == timedelta()
    assert next_hold(hold, claimed=99, limit=100, longest=longest) == timedelta()


async def test_what_is_held_back_is_told_once_with_all_that_happened_meanwhile(office: Office) -> None:
    await office.absorb(page("held-1", user="held"))
    office.out.hold = timedelta(seconds=0.4)
    assert await office.out.publish() == 0
    office.hands.now += timedelta(seconds=0.5)
    await office.absorb(page("held-2", user="held"))
    assert await office.out.publish() == 1
    office.hands.now += timedelta(seconds=1)
    assert await office.out.publish() == 0
