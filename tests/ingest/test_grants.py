"""What a source may state: each grant given and taken away, and what is done with what was not granted."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from msgspec import Raw

from services.ingest.domain.cloudevents import translated
from services.ingest.domain.grants import EVENTS, GRANTS, USUAL, Grant
from services.ingest.domain.judgement import Accepted, Arrival, Refused, judge
from services.ingest.domain.sources import Source, Standing
from services.personalize.domain.outcomes import STEPS
from services.profile.domain import consent, orders
from services.scoring.domain import purchases
from tests.builders import Json, alias, call, identify, order, page, track

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
CARD = {"externalIds": [{"type": "loyalty_card", "id": "7"}]}

STATED: list[tuple[Grant, str, Json]] = [
    ("identify", "$.userId", page(user="u", anonymous="a")),
    ("identify", "$.userId", identify("u")),
    ("identify", "$.traits", page(anonymous="a", traits={"email": "victim@example.com"})),
    ("identify", "$.traits", page(anonymous="a", context={"traits": {"phone": "+90 212"}})),
    ("identify", "$.type", call("identify", anonymous="a")),
    ("identify", "$.type", call("group", anonymous="a", groupId="g", traits={"name": "Another name"})),
    ("alias", "$.previousId", alias("u-old", "u-new")),
    ("alias", "$.previousId", alias("u-old", "u-new", anonymous="a")),
    ("external_ids", "$.context.externalIds", page(user="u", context=CARD)),
    ("external_ids", "$.context.externalIds", page(anonymous="a", context=CARD)),
    *((grant, "$.event", track(name, anonymous="a")) for name, grant in EVENTS.items()),
    ("points", "$.event", track("Points Earned", {"points": 1_000_000}, anonymous="a")),
    ("points", "$.event", track("Points Adjusted", anonymous="a")),
]
"""What needs a grant, with the path of the field that does."""

FREE = [
    page(anonymous="a"),
    track("Product Viewed", anonymous="a"),
    track("Feedback Given", {"kind": "nps", "score": 3}, anonymous="a"),
    track("Pointsman Seen", anonymous="a"),
    page("Order Completed", anonymous="a"),  # the name of a page is no event: nobody takes it for an order
    page(
        anonymous="a", context={"externalIds": [{"type": "user_id", "id": "victim"}]}
    ),  # names nobody, whoever says it
]
"""What anybody may state."""


def judged(said: Json | Raw, source: Source, **rest: Any) -> Accepted | Refused:
    body = said if isinstance(said, Raw) else Raw(json.dumps(said).encode())
    return judge(body, Arrival(source=source, received_at=NOW, **rest), lambda: "made")


def granted(*grants: Grant) -> Source:
    return Source(name="web", may=frozenset(grants))


# --- the grants ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("grant", "path", "said"), STATED)
def test_what_a_source_may_not_state_is_rejected_with_the_grant_that_is_missing(
    grant: Grant, path: str, said: Json
) -> None:
    refused = judged(said, granted(*GRANTS - {grant}))
    assert isinstance(refused, Refused)
    [reason] = refused.reasons
    assert (reason.path, reason.code) == (path, "not_granted")
    assert repr(grant) in reason.message
    assert "PUT /v1/sources/web" in reason.message
    assert isinstance(judged(said, granted(*GRANTS)), Accepted)


@pytest.mark.parametrize("said", FREE)
def test_what_nobody_is_named_by_needs_no_grant(said: Json) -> None:
    assert isinstance(judged(said, granted()), Accepted)


def test_every_grant_that_is_missing_is_told_at_once() -> None:
    said = track("Points Earned", user="u", context=CARD)
    refused = judged(said, granted())
    assert isinstance(refused, Refused)
    assert [each.path for each in refused.reasons] == ["$.userId", "$.context.externalIds", "$.event"]


@pytest.mark.parametrize(
    "said", [alias("a", "u", anonymous="a"), call("alias", user="u", anonymous="a"), alias("u", "u")]
)
def test_an_alias_of_a_visitor_and_a_user_is_a_login(said: Json) -> None:
    assert isinstance(judged(said, granted("identify")), Accepted)
    assert isinstance(judged(said, granted("alias")), Refused)


def test_a_cloud_event_needs_the_same_grants() -> None:
    attributes = {"specversion": "1.0", "id": "1", "source": "/till", "type": "Product Viewed", "anonymousid": "a"}
    by_email = translated(json.dumps({**attributes, "subject": "email:victim@example.com"}).encode())
    points = translated(json.dumps({**attributes, "type": "Points Earned"}).encode())
    assert isinstance(by_email, Raw)
    assert isinstance(points, Raw)
    for said in (by_email, points):
        assert isinstance(judged(said, Source(name="web")), Refused)
        assert isinstance(judged(said, granted(*GRANTS)), Accepted)


def test_a_batch_gives_its_calls_no_more_than_they_may_state_themselves() -> None:
    for context in (CARD, {"traits": {"email": "victim@example.com"}}):
        assert isinstance(judged(page(anonymous="a"), granted(), context=context), Refused)


@pytest.mark.parametrize("trust", ["server", "client"])
def test_a_touchpoint_says_the_trust_of_its_source(trust: Any) -> None:
    taken = judged(page(user="u"), Source(name="web", trust=trust))
    assert isinstance(taken, Accepted)
    assert taken.touchpoint.data.trust == trust


def test_names_need_a_grant_exactly_where_other_services_give_them_meaning() -> None:
    meant: set[str] = {
        *STEPS, consent.CHANGED, orders.COMPLETED, orders.REFUNDED, purchases.COMPLETED, purchases.REFUNDED,
    }  # fmt: skip
    assert meant <= EVENTS.keys()


# --- whose grants ----------------------------------------------------------------------------------------------------


def test_a_client_may_state_what_the_sdks_of_pages_and_apps_do() -> None:
    web, usual = Source(name="web"), [page(anonymous="a"), identify("u", {"email": "u@example.com"}, anonymous="a")]
    usual += [alias("a", "u", anonymous="a"), order(40, id="o-1", user="u"), track("Consent Changed", user="u")]
    usual += [track("Offer Clicked", user="u"), call("group", user="u", groupId="g")]
    assert all(isinstance(judged(each, web), Accepted) for each in usual)
    assert web.may == USUAL["client"]


def test_what_is_not_said_of_a_sources_standing_stays() -> None:
    narrowed = Source(name="web", trust="server", may=frozenset({"orders"}), identity_proof="required")
    assert Standing().of(Source(name="web", rate=5), narrowed) == Source(
        name="web", rate=5, trust="server", may=frozenset({"orders"}), identity_proof="required"
    )
    assert Standing(trust="client").of(Source(name="web"), narrowed).may == {"orders"}


def test_a_source_with_what_is_usual_has_what_is_usual_for_its_new_trust() -> None:
    web = Source(name="web")
    server = Standing(trust="server").of(web, web)
    assert server.may == GRANTS
    assert Standing(trust="client").of(web, server).may == USUAL["client"]


def test_a_new_source_is_a_client_unless_somebody_says_otherwise() -> None:
    assert Standing().of(Source(name="new"), None) == Source(name="new", trust="client", may=USUAL["client"])
    assert Standing(trust="server").of(Source(name="new"), None).may == GRANTS
