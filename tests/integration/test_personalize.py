"""Personalize on real servers: decisions, and feedback that changes the next one. What HTTP promises beside that is in
`tests/personalize/test_api.py`."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from msgspec.structs import replace
from prometheus_client import REGISTRY
from sqlalchemy import text
from sqlalchemy.engine import Connection

from services.personalize.domain.holdout import held_out
from services.personalize.publisher import DecisionLog
from services.personalize.service.customers import Customers
from services.personalize.tables import METADATA
from shared import topics
from shared.clock import system_clock
from shared.events import Consent, Profiled, Touchpoint, View, encode
from tests.builders import touchpoint
from tests.personalize.desk import Desk, make_topics, open_desk, settings, view
from tests.servers import Installation, Servers
from tests.waiting import until

STEPS = ("Shown", "Clicked", "Accepted", "Dismissed")

PEOPLE = ("granted", "refused", "capped", "dismissed")
"""The first has consented to marketing, the others have refused; what else there is to say of them their names say."""

VISITORS = [f"anonymous_id:v-{number}" for number in range(100)]
USERS = [f"user_id:u-{number}" for number in range(100)]


@pytest.fixture
async def desk(installation: Installation) -> AsyncIterator[Desk]:
    await make_topics(installation)
    async with open_desk(settings(installation)) as desk:
        yield desk


def feedback(step: str, decision: Mapping[str, Any], offer: str, **rest: Any) -> Touchpoint:
    """What a client says of an offer, just now."""
    properties = {"decision_id": decision["decision_id"], "offer_id": offer}
    at = rest.pop("at", system_clock())
    return touchpoint(f"Offer {step}", properties=properties, at=at, received_at=system_clock(), **rest)


def p_click(candidates: Mapping[str, Mapping[str, Any]], offer: str) -> float:
    return float(candidates[offer]["numbers"]["p_click"])


def gates(candidates: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """The gate that each offer failed, of those that failed one."""
    return {offer: each["gate"] for offer, each in candidates.items() if each["gate"] is not None}


def unknown(gate: str) -> float:
    """How many offers were left out because somebody could not be looked up."""
    return REGISTRY.get_sample_value("temas_personalize_candidates_unknown_total", {"gate": gate}) or 0.0


def dropped() -> float:
    return REGISTRY.get_sample_value("temas_personalize_decision_records_dropped_total") or 0.0


# --- the read model --------------------------------------------------------------------------------------------------


async def test_an_unknown_visitor_gets_offers_and_a_record_with_every_candidate(desk: Desk) -> None:
    await desk.put_offer("tea")
    await desk.put_offer("vip", eligibility='"vip" in segments')
    await desk.put_offer("letter", channels=["email"])

    decision = await desk.decide("anonymous_id:never seen")
    assert (decision["profile_id"], decision["silence"], decision["degraded"]) == (None, None, [])
    assert [(offer["offer_id"], offer["rank"], offer["propensity"]) for offer in decision["offers"]] == [
        ("tea", 1, 1.0)
    ]

    record = await desk.record(decision)
    gates = {candidate["offer_id"]: candidate["gate"] for candidate in record["candidates"]}
    assert gates == {"tea": None, "vip": "eligibility", "letter": "availability"}
    assert record["candidates"][0]["numbers"]["score"] == decision["offers"][0]["score"]

    await until(lambda: desk.rows("SELECT 1 FROM decision WHERE decision_id = :id", id=decision["decision_id"]))
    assert await desk.record(decision) == record, "the database says what memory said"


async def test_a_profile_is_found_by_any_identifier_it_has_now(desk: Desk) -> None:
    await desk.know(view("user_id:u-1", "email:u@example.com", version=5, computed={"order_count": 2}))
    for name in ("user_id:u-1", "email:U@Example.com ", "profile_id:p-u-1"):
        decision = await desk.decide(name)
        assert (decision["profile_id"], decision["profile_version"]) == ("p-u-1", 5)

    await desk.publish(view("user_id:u-1", version=4), view("user_id:u-1", version=6), view("user_id:u-1", version=5))
    await desk.know(view("user_id:u-1", version=7))
    assert (await desk.decide("user_id:u-1"))["profile_version"] == 7, "older views change nothing"
    assert (await desk.decide("email:u@example.com"))["profile_id"] is None, "it is no longer theirs"


async def test_rules_consent_and_scores_of_the_profile_decide(desk: Desk) -> None:
    await desk.put_offer("again", eligibility="computed.order_count >= 1")
    await desk.put_offer("mail", channels=["email"])
    granted = {"marketing": {"email": Consent(True, "2026-01-01T00:00:00.000Z", "m-1")}}
    await desk.know(
        view("user_id:buyer", computed={"order_count": 1}, consent=granted),
        view("user_id:visitor"),
    )
    assert [offer["offer_id"] for offer in (await desk.decide("user_id:buyer"))["offers"]] == ["again"]
    assert (await desk.decide("user_id:visitor"))["silence"] == "all_gated"
    by_mail = {name: await desk.candidates(f"user_id:{name}", channel="email") for name in ("buyer", "visitor")}
    assert by_mail["buyer"]["mail"]["gate"] is None
    assert by_mail["visitor"]["mail"]["gate"] == "consent"


# --- feedback --------------------------------------------------------------------------------------------------------


async def test_a_click_changes_the_next_decision(desk: Desk) -> None:
    await desk.put_offer("tea")
    await desk.put_offer("coffee")
    decision = await desk.decide()
    before = await desk.candidates()
    await desk.tell(feedback("Clicked", decision, "tea"))

    async def learnt() -> bool:
        return p_click(await desk.candidates(), "tea") > p_click(before, "tea")

    await until(learnt)
    after = await desk.candidates()
    assert p_click(before, "tea") == p_click(before, "coffee"), "nothing had been taught before"
    assert p_click(after, "tea") > p_click(after, "coffee") > p_click(before, "coffee"), "some of it is shared"

    outcome = (await desk.record(decision))["outcomes"]
    assert [(each["offer_id"], each["clicked_at"] is not None) for each in outcome] == [("tea", True)]


async def test_feedback_teaches_once_however_often_and_in_whatever_order_it_comes(desk: Desk) -> None:
    for offer in ("tea", "coffee"):
        await desk.put_offer(offer)
    decisions = [await desk.decide(f"anonymous_id:a-{number}") for number in range(6)]
    told = [
        feedback(step, decision, offer, anonymous=f"a-{number}")
        for number, decision in enumerate(decisions)
        for offer, steps in (("tea", STEPS[: number % 4 + 1]), ("coffee", ("Dismissed",)))
        for step in steps
    ]
    sent = 5 * told
    random.Random(7).shuffle(sent)
    for start in range(0, len(sent), 9):
        await desk.tell(*sent[start : start + 9])

    # Of tea: 0 and 4 were only shown (pending), 1 and 5 clicked as well, 2 accepted, 3 accepted and dismissed.
    taught = (
        "SELECT offer_id, sum(shown), sum(clicked), sum(considered), sum(accepted) FROM evidence GROUP BY 1 ORDER BY 1"
    )
    expected = [("coffee", 6, 0, 0, 0), ("tea", 4, 4, 2, 2)]

    async def counted() -> bool:
        return [tuple(row) for row in await desk.rows(taught)] == expected

    await until(counted)
    await desk.tell(*sent)
    await desk.know(view("user_id:later"))
    assert await counted()
    assert (await desk.rows("SELECT count(*) FROM exposure"))[0][0] == 12


async def test_feedback_may_come_before_the_decision_is_recorded(desk: Desk) -> None:
    await desk.put_offer("tea")
    made = desk.app.state.decisions.records.find((await desk.decide())["decision_id"])
    await desk.tell(feedback("Clicked", {"decision_id": "later"}, "tea"))
    await until(lambda: desk.rows("SELECT 1 FROM outcome WHERE clicked_at IS NOT NULL"))
    assert not await desk.rows("SELECT 1 FROM evidence"), "of what is not known to have been decided nothing is learned"

    late = replace(made, id="later", data=replace(made.data, decision_id="later"))
    await desk.kafka.log(topics.DECISIONS).append([(b"a-1", encode(late))])
    await until(lambda: desk.rows("SELECT 1 FROM evidence WHERE shown = 1 AND clicked = 1"))


async def test_silence_teaches_once_its_window_has_closed(installation: Installation) -> None:
    await make_topics(installation)
    async with open_desk(settings(installation, sweep_every=0.05, click_window=0.02)) as desk:
        await desk.put_offer("tea")
        decision = await desk.decide()
        before = await desk.candidates()
        await desk.tell(feedback("Shown", decision, "tea"))
        await until(lambda: desk.rows("SELECT 1 FROM outcome WHERE shown_at IS NOT NULL"))
        assert not await desk.rows("SELECT 1 FROM evidence"), "pending is not no"
        await until(lambda: desk.rows("SELECT 1 FROM evidence WHERE shown = 1 AND clicked = 0"))

        async def learnt() -> bool:
            return p_click(await desk.candidates(), "tea") < p_click(before, "tea")

        await until(learnt)
        await desk.tell(feedback("Clicked", decision, "tea"))
        await until(lambda: desk.rows("SELECT 1 FROM evidence WHERE shown = 1 AND clicked = 1"))


async def test_what_is_old_is_forgotten_and_what_it_taught_stays(installation: Installation) -> None:
    await make_topics(installation)
    async with open_desk(settings(installation)) as desk:
        await desk.put_offer("tea")
        await desk.tell(feedback("Accepted", await desk.decide(), "tea"))
        await desk.decide()
        await until(lambda: desk.rows("SELECT 1 FROM evidence WHERE accepted = 1"))
        await until(lambda: desk.rows("SELECT 1 FROM decision HAVING count(*) = 2"))
    async with open_desk(settings(installation), lambda: system_clock() + timedelta(days=101)) as later:
        left = "SELECT 1 FROM decision UNION ALL SELECT 1 FROM outcome UNION ALL SELECT 1 FROM exposure"

        async def forgotten() -> bool:
            return not await later.rows(left)

        await until(forgotten)
        assert await later.rows("SELECT 1 FROM evidence WHERE accepted = 1")


# --- fatigue ---------------------------------------------------------------------------------------------------------


async def test_a_dismissed_offer_is_not_made_again_also_after_login(desk: Desk) -> None:
    await desk.put_offer("tea")
    decision = await desk.decide("anonymous_id:a-1")
    await desk.tell(feedback("Dismissed", decision, "tea", anonymous="a-1"))

    async def refused() -> bool:
        return bool((await desk.candidates("anonymous_id:a-1"))["tea"]["gate"] == "fatigue")

    await until(refused)
    assert (await desk.decide("anonymous_id:a-2"))["offers"], "somebody else still gets it"

    stranger = view("anonymous_id:a-1")
    await desk.know(stranger)
    known = view("user_id:u-1", "anonymous_id:a-1", profile_id="p-u-1", root="anonymous_id:a-1")
    await desk.know(known, View(profile_id="p-a-1", version=2, redirect="p-u-1"))
    for name in ("user_id:u-1", "anonymous_id:a-1", "profile_id:p-a-1"):
        assert (await desk.candidates(name))["tea"]["gate"] == "fatigue", name


async def test_caps_count_what_was_shown(desk: Desk) -> None:
    await desk.put_offer("tea", caps=[{"count": 2, "days": 1}])
    yesterday = system_clock() - timedelta(days=1, minutes=1)
    for at in (yesterday, system_clock()):
        await desk.tell(feedback("Shown", await desk.decide(), "tea", anonymous="a-1", at=at))
    await until(lambda: desk.rows("SELECT 1 FROM exposure HAVING count(*) = 2"))
    assert (await desk.candidates())["tea"]["gate"] is None, "one of the two was more than a day ago"
    await desk.tell(feedback("Shown", await desk.decide(), "tea", anonymous="a-1"))
    await until(lambda: desk.rows("SELECT 1 FROM exposure HAVING count(*) = 3"))
    assert (await desk.candidates())["tea"]["gate"] == "fatigue"


# --- other processes, and servers that are away ----------------------------------------------------------------------


async def test_a_second_process_learns_what_the_first_one_heard(installation: Installation) -> None:
    await make_topics(installation)
    async with open_desk(settings(installation)) as one, open_desk(settings(installation)) as other:
        await one.put_offer("tea")
        before = await one.candidates()

        async def knows() -> bool:
            return "tea" in await other.candidates()

        await until(knows)
        await one.tell(feedback("Accepted", await one.decide(), "tea"))

        async def learnt() -> bool:
            seen = [await desk.candidates("anonymous_id:b") for desk in (one, other)]
            return all(p_click(each, "tea") == p_click(seen[0], "tea") > p_click(before, "tea") for each in seen)

        await until(learnt)


async def test_without_the_database_nobody_gets_what_they_may_have_refused(breakable_servers: Servers) -> None:
    said = {
        name: {"marketing": {"web": Consent(name == "granted", "2026-01-01T00:00:00.000Z", "m-1")}} for name in PEOPLE
    }
    async with breakable_servers.installation() as installation:
        await make_topics(installation)
        async with open_desk(settings(installation)) as desk:
            await desk.put_offer("marketing")
            await desk.put_offer("capped", purpose=None, caps=[{"count": 1, "days": 7}])
            await desk.put_offer("again", purpose=None, eligibility="computed.order_count >= 1")
            await desk.put_offer("recall", purpose=None)
            await desk.know(
                *(view(f"user_id:{name}", consent=said[name], computed={"order_count": 1}) for name in PEOPLE)
            )
            for name, step, offer in (("capped", "Shown", "capped"), ("dismissed", "Dismissed", "recall")):
                await desk.tell(feedback(step, await desk.decide(f"user_id:{name}"), offer, user=name))
            await until(lambda: desk.rows("SELECT 1 FROM exposure HAVING count(*) = 2"))
            before = {name: await desk.candidates(f"user_id:{name}") for name in PEOPLE}
            assert {name: gates(each) for name, each in before.items()} == {
                "granted": {},
                "refused": {"marketing": "consent"},
                "capped": {"marketing": "consent", "capped": "fatigue"},
                "dismissed": {"marketing": "consent", "recall": "fatigue"},
            }

            await breakable_servers.postgres.kill()
            counted = {gate: unknown(gate) for gate in ("consent", "fatigue", "eligibility")}
            for name in PEOPLE:
                decision = await desk.decide(f"user_id:{name}")
                record = await desk.record(decision)
                candidates = {each["offer_id"]: each for each in record["candidates"]}
                rests = {"recall": "fatigue"} if name == "dismissed" else {}
                assert gates(candidates) == {"marketing": "consent", "capped": "fatigue", **rests}, name
                assert {candidates[each]["reason"] for each in ("marketing", "capped")} == {"unknown"}
                assert (decision["profile_id"], record["degraded"]) == (f"p-{name}", decision["degraded"])
                assert "profile" in decision["degraded"]
                assert "holdout" not in decision["degraded"], "it is remembered who they are"

            stranger = await desk.decide("email:of-somebody-who-refused@example.com")
            gated = {each["offer_id"]: each for each in (await desk.record(stranger))["candidates"]}
            assert [offer["offer_id"] for offer in stranger["offers"]] == ["recall"]
            assert gates(gated) == {"marketing": "consent", "capped": "fatigue", "again": "eligibility"}
            assert {"profile", "holdout"} <= set(stranger["degraded"])
            assert {gate: unknown(gate) - before for gate, before in counted.items()} == {
                "consent": 5, "fatigue": 5, "eligibility": 1,
            }  # fmt: skip

            await breakable_servers.postgres.start()

            async def well() -> bool:
                again = {name: await desk.candidates(f"user_id:{name}") for name in PEOPLE}
                return {name: gates(each) for name, each in again.items()} == {
                    name: gates(each) for name, each in before.items()
                }

            await until(well)
            of_stranger = {"id": stranger["decision_id"]}
            await until(lambda: desk.rows("SELECT 1 FROM decision WHERE decision_id = :id", **of_stranger))
            await desk.tell(feedback("Clicked", stranger, "recall"))
            await until(lambda: desk.rows("SELECT 1 FROM outcome WHERE decision_id = :id AND clicked_at IS NOT NULL",
                                          **of_stranger))  # fmt: skip
            assert not await desk.rows("SELECT 1 FROM evidence WHERE clicked > 0"), "for whom it was, nobody knew"


async def test_without_the_database_the_holdout_gets_no_offers(breakable_servers: Servers) -> None:
    """Neither those whose side is remembered, under any of their names, nor those asked for by what they came with."""
    async with breakable_servers.installation() as installation:
        await make_topics(installation)
        async with open_desk(settings(installation, holdout=0.5)) as desk:
            await desk.put_offer("recall", purpose=None)
            held = next(root for root in VISITORS if held_out(root, "temas", 0.5))
            user = next(name for name in USERS if not held_out(name, "temas", 0.5))
            await desk.know(view(user, held, root=held))
            assert (await desk.decide(user))["silence"] == "holdout"
            await breakable_servers.postgres.kill()
            remembered = await desk.decide(user)
            assert (remembered["silence"], "holdout" in remembered["degraded"]) == ("holdout", False)
            asked = await desk.decide(held)
            assert (asked["silence"], "holdout" in asked["degraded"]) == ("holdout", True)
            await breakable_servers.postgres.start()  # for the others to clear away


async def test_a_database_that_hangs_holds_no_decision_up(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited = 0
    turn = Customers._turn

    async def counted(customers: Customers, deadline: float) -> bool:
        nonlocal waited
        waited += 1
        return await turn(customers, deadline)

    monkeypatch.setattr(Customers, "_turn", counted)
    await make_topics(installation)
    async with open_desk(settings(installation, patience=0.1)) as desk:
        await desk.put_offer("tea", purpose=None)
        async with desk.database.begin() as work:
            await work.execute(text("LOCK TABLE customer_identifier IN ACCESS EXCLUSIVE MODE"))
            decisions = [await desk.decide(f"anonymous_id:a-{number}") for number in range(100)]
        assert all(decision["offers"] and "profile" in decision["degraded"] for decision in decisions)
        assert waited == desk.app.state.decisions.customers.at_once, "one for each connection, the others not at all"

        async def well() -> bool:
            return not (await desk.decide())["degraded"]

        await until(well)


async def test_while_views_come_late_consent_and_caps_are_unknown(desk: Desk) -> None:
    await desk.put_offer("marketing")
    await desk.put_offer("recall", purpose=None)
    late = view("user_id:u-1", consent={"marketing": {"web": Consent(True, "2026-01-01T00:00:00.000Z", "m-1")}})
    event = Profiled(id="p-u-1:1", source="profile", time=system_clock() - timedelta(minutes=1), data=late)
    await desk.kafka.log(topics.PROFILES).append([(b"p-u-1", encode(event))])

    async def said() -> bool:
        return bool((await desk.decide("user_id:u-1"))["degraded"] == ["behind"])

    await until(said)
    desk.app.state.decisions.customers.late_at = system_clock() + timedelta(minutes=1)  # whatever the machine takes
    decision = await desk.decide("user_id:u-1")
    assert [offer["offer_id"] for offer in decision["offers"]] == ["recall"]
    assert (await desk.candidates("user_id:u-1"))["marketing"]["reason"] == "unknown"
    assert (await desk.decide("user_id:not heard of yet"))["degraded"] == ["behind", "holdout"]

    desk.app.state.decisions.customers.late_at = None
    assert {offer["offer_id"] for offer in (await desk.decide("user_id:u-1"))["offers"]} == {"marketing", "recall"}


async def test_once_the_consumer_has_stopped_consent_is_unknown(desk: Desk) -> None:
    """It stops for good at a log that it can't trust, and HTTP goes on."""
    await desk.put_offer("marketing")
    await desk.know(view("user_id:u-1"))
    assert (await desk.decide("user_id:u-1"))["offers"]
    async with desk.database.begin() as work:
        await work.execute(text("UPDATE stream_offset SET next_offset = 1000000"))
    await desk.publish(view("user_id:u-1", version=2))

    async def silent() -> bool:
        decision = await desk.decide("user_id:u-1")
        return (decision["degraded"], decision["silence"]) == (["behind"], "all_gated")

    await until(silent)


async def test_records_wait_for_kafka_within_bounds(desk: Desk) -> None:
    await desk.put_offer("tea")
    record = desk.app.state.decisions.records.find((await desk.decide())["decision_id"])
    ids = [f"waiting-{number}" for number in range(10)]
    size = len(encode(replace(record, id=ids[0], data=replace(record.data, decision_id=ids[0]))))
    log = DecisionLog(desk.kafka.log(topics.DECISIONS), limit=5 * size)
    lost = dropped()
    for each in ids:
        log.put(replace(record, id=each, data=replace(record.data, decision_id=each)))
    assert dropped() - lost == 5
    await log.flush(5.0)
    assert log.size == 0
    kept = "SELECT decision_id FROM decision WHERE decision_id LIKE 'waiting-%' ORDER BY 1"

    async def written() -> bool:
        return [row.decision_id for row in await desk.rows(kept)] == ids[:5]

    await until(written)


@pytest.mark.filterwarnings("ignore:Did not recognize type 'xid8'")
async def test_the_tables_are_what_the_migrations_make(desk: Desk) -> None:
    def differences(connection: Connection) -> list[Any]:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return [each for each in compare_metadata(context, METADATA) if "alembic_version" not in str(each)]

    async with desk.database.begin() as work:
        assert await work.run_sync(differences) == []
