"""What the timeline promises over HTTP beside paging (test_api.py): its filters, and what retention removed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest

from shared.paging import cursor
from tests.builders import Json, after, identified, touchpoint, viewed
from tests.profile.service import NOON, Service, running, settings
from tests.servers import Installation
from tests.waiting import until


@pytest.fixture(scope="module")
async def service(installed: Installation) -> AsyncIterator[Service]:
    """It keeps a year; one for all tests of this file: each speaks of people of its own."""
    async with running(settings(installed, timeline_months=12)) as service:
        yield service


async def timeline(service: Service, person: str, **query: str) -> Json:
    answer = await service.send("GET", f"/v1/profiles/user_id:{person}/timeline", params=query)
    assert answer.status_code == 200, answer.text
    found: Json = answer.json()
    return found


def ids(page: Json) -> list[str]:
    return [each["touchpoint_id"] for each in page["touchpoints"]]


async def test_the_timeline_is_filtered_by_type_and_time(service: Service) -> None:
    life = [
        viewed(user="ty-u", id="home", at=after(0)),
        touchpoint("Search", user="ty-u", id="search", at=after(1)),
        identified("ty-u", id="login", at=after(2)),
    ]
    await service.shows("user_id:ty-u", *life)
    assert ids(await timeline(service, "ty-u", type="page")) == ["home"]
    assert ids(await timeline(service, "ty-u", type="track", name="Search", channel="web")) == ["search"]
    assert ids(await timeline(service, "ty-u", **{"from": "2026-03-01T10:01:00Z"})) == ["login", "search"]
    assert ids(await timeline(service, "ty-u", to="2026-03-01T13:01:00+03:00")) == ["home"], "`to` itself is not in"
    assert ids(await timeline(service, "ty-u", **{"from": "2026-03-01T10:01:00Z", "to": "2026-03-01T10:02:00Z"})) == [
        "search"
    ]
    first = await timeline(service, "ty-u", limit="1", to="2026-03-01T10:02:00Z")
    assert ids(first) == ["search"]
    assert ids(await timeline(service, "ty-u", limit="1", to="2026-03-01T10:02:00Z", cursor=first["next"])) == ["home"]


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ({"type": "click"}, 422, "invalid_request"),
        ({"from": "yesterday"}, 422, "invalid_request"),
        ({"to": "2026-03-01T10:00:00"}, 422, "invalid_request"),
        ({"from": "0001-01-01T00:00:00+05:00"}, 422, "invalid_request"),
        ({"to": "9999-12-31T23:00:00-05:00"}, 422, "invalid_request"),
        ({"cursor": cursor("0001-01-01T00:00:00+05:00", "m-1", "web")}, 400, "invalid_request"),
    ],
)
async def test_wrong_filters_are_refused(service: Service, query: dict[str, str], status: int, code: str) -> None:
    await service.shows("user_id:wf-u", viewed(user="wf-u"))
    answer = await service.send("GET", "/v1/profiles/user_id:wf-u/timeline", params=query)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.json()["details"]


async def test_a_time_that_a_client_left_empty_is_the_first_there_is(service: Service) -> None:
    """In Go it is the first moment of the year 1; PostgreSQL's driver has its own idea of that."""
    zero = datetime.min.replace(tzinfo=UTC)
    for number, at in enumerate((zero, after(1), zero, datetime(1, 1, 1, 0, 0, 1, tzinfo=UTC))):
        life = touchpoint(user="ze-u", id=f"ze-{number}", at=at, received_at=NOON)
        seen = await service.shows("user_id:ze-u", life)
        assert seen["touchpoints"]["count"] == number + 1
    assert seen["touchpoints"]["first_at"] == seen["identifiers"][0]["since"] == "0001-01-01T00:00:00.000Z"
    assert ids(await timeline(service, "ze-u")) == ["ze-1"], "a year is kept"


async def test_what_retention_removed_still_counts_and_the_answer_says_so(service: Service) -> None:
    old = [
        touchpoint(user="re-u", id=f"re-{year}", at=datetime(year, 2, 28, tzinfo=UTC), received_at=NOON)
        for year in (1998, 2024, 2025)
    ]
    seen = await service.shows("user_id:re-u", *old, touchpoint(user="re-u", id="re-new", at=after(1)))
    assert (seen["touchpoints"]["count"], seen["touchpoints"]["first_at"]) == (4, "1998-02-28T00:00:00.000Z")

    async def removed() -> bool:
        return (await timeline(service, "re-u"))["removed_before"] is not None

    await until(removed)
    assert await timeline(service, "re-u") == {
        "touchpoints": [_shown("re-new", "2026-03-01T10:01:00.000Z")],
        "next": None,
        "removed_before": "2025-03-01T00:00:00.000Z",
    }
    late = touchpoint(user="re-u", id="re-late", at=datetime(2024, 5, 5, tzinfo=UTC), received_at=NOON)
    assert (await service.shows("user_id:re-u", late))["touchpoints"]["count"] == 5
    assert ids(await timeline(service, "re-u")) == ["re-new"]

    await service.shows("user_id:re-young", touchpoint(user="re-young", at=after(2)))
    assert (await timeline(service, "re-young"))["removed_before"] is None, "nothing of theirs was"


def _shown(id: str, at: str) -> dict[str, Any]:
    return {
        "touchpoint_id": id,
        "type": "track",
        "name": "Product Viewed",
        "at": at,
        "received_at": at,
        "source": "web",
        "trust": "server",
        "channel": "web",
        "properties": {},
        "identifiers": [{"kind": "user_id", "value": "re-u"}],
    }


async def test_history_goes_into_a_partition_of_its_own_at_once(service: Service) -> None:
    await service.shows("user_id:hi-u", touchpoint(user="hi-u", at=datetime(2025, 7, 5, tzinfo=UTC), received_at=NOON))
    async with service.app.state.desk.database.begin() as work:
        assert (await work.exec_driver_sql("SELECT value FROM timeline_2025_07")).scalars().all() == ["hi-u"]


async def test_the_timeline_is_described_and_measured(service: Service) -> None:
    described = (await service.send("GET", "/openapi.json")).json()
    told = described["paths"]["/v1/profiles/{person}/timeline"]["get"]["parameters"]
    assert {each["name"] for each in told} == {"person", "limit", "cursor", "channel", "name", "type", "from", "to"}
    assert described["components"]["schemas"]["TimelinePage"]["example"]["removed_before"]
    exported = (await service.send("GET", "/metrics")).text
    for name in ("partitions", "rows", "bytes", "late_total", "busy_total", "removed_partitions_total"):
        assert f"temas_profile_timeline_{name} " in exported
