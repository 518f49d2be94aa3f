"""One visitor's whole story, from the first page to an offer that was learnt from. Nothing in it is prepared: a new
person each time, and every figure from an answer to a request."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from deploy.demo import tables
from deploy.demo.answers import Decision
from deploy.demo.client import Temas
from deploy.demo.errors import DemoFailed, NotThere
from deploy.demo.offers import NEWSLETTER, OFFERS, PLACEMENT, SEGMENT, SEGMENT_ID
from deploy.demo.screen import Screen
from deploy.demo.visitor import Visitor
from shared.events import Candidate, Valuation, View

OFFERS_AT_ONCE = 2
"""How many offers the page has room for."""

PATIENCE = 30.0
"""Seconds until something accepted must have its effect. It takes milliseconds; a busy machine may take its time."""

GLANCE = 0.02
"""Seconds between two looks at whether it has."""

ORDER_TOTAL = 29.9

T = TypeVar("T")
NAMES = {offer_id: str(offer["name"]) for offer_id, offer in OFFERS.items()}


async def tell(temas: Temas, screen: Screen) -> None:
    """The story, chapter by chapter."""
    await set_up(temas)
    visitor = await stranger(temas, screen)
    await login(temas, screen, visitor)
    await order(temas, screen, visitor)
    decided, candidates = await decision(temas, screen, visitor)
    await feedback(temas, screen, visitor, decided, candidates)


async def set_up(temas: Temas) -> None:
    """Put the offers and the segment where a marketer would have put them before."""
    await temas.put_segment(SEGMENT_ID, SEGMENT)
    for offer_id, offer in OFFERS.items():
        await temas.put_offer(offer_id, offer)


async def stranger(temas: Temas, screen: Screen) -> Visitor:
    """Two page views of somebody unknown, and what the page shows them. Somebody else, if they are in the holdout."""
    screen.chapter("A stranger looks around")
    visitor, decided = await _arrives(temas, screen)
    while decided.holdout:
        screen.say("They are in the holdout, the few who get no offers so that the effect of offers can be measured.")
        screen.say("Another visitor, then.")
        visitor, decided = await _arrives(temas, screen)
    record = await temas.decision(decided.decision_id)
    _show(screen, "What to show the stranger", decided, record.candidates)
    return visitor


async def _arrives(temas: Temas, screen: Screen) -> tuple[Visitor, Decision]:
    visitor = Visitor.new()
    position = await temas.accept([visitor.views("Home"), visitor.views("Jazz")])
    view = await temas.profile(visitor.stranger, after=position)
    screen.say(f"{visitor.stranger} has viewed {view.touchpoints.count} pages. Nobody knows who they are.")
    return visitor, await _until(lambda: _asked(temas, visitor.stranger), _has_offers)


async def login(temas: Temas, screen: Screen, visitor: Visitor) -> None:
    """The stranger gets a name, keeps their history, and wants no newsletter."""
    screen.chapter("They log in")
    position = await temas.accept([visitor.logs_in(), visitor.declines(NEWSLETTER)])
    began = time.perf_counter()
    view = await temas.profile(f"email:{visitor.email}", after=position)
    screen.say(f"{_milliseconds(began)} after the login was accepted, asked for by e-mail address:")
    screen.show(tables.profile(view))


async def order(temas: Temas, screen: Screen, visitor: Visitor) -> None:
    """They buy something: how soon it shows, and what it changes in the scores."""
    screen.chapter("They buy a record")
    person = visitor.customer
    before = await _until(lambda: temas.scores(person), _has_engaged)
    position = await temas.accept([visitor.orders(ORDER_TOTAL)])
    began = time.perf_counter()
    view = await temas.profile(person, after=position)
    in_profile = _milliseconds(began)
    after = await _until(lambda: temas.scores(person), _has_order)
    in_scores = _milliseconds(began)
    scored = await _until(lambda: temas.profile(person), lambda view: _shows(view, after))
    await _until(lambda: _asked(temas, person), lambda decided: _knows(decided, scored))
    screen.say(
        f"{view.computed['order_count']} order worth {view.computed['order_value']:.2f}. After it was accepted it was"
    )
    screen.say(f"in the profile within {in_profile}, in the scores within {in_scores}, and in what decisions")
    screen.say(f"are made from, scores included, within {_milliseconds(began)}.")
    screen.show(tables.scores(before, after))


async def decision(temas: Temas, screen: Screen, visitor: Visitor) -> tuple[Decision, Sequence[Candidate]]:
    """What to offer them now, and why not the rest."""
    screen.chapter("What to offer them now")
    decided = await _until(lambda: _asked(temas, visitor.customer), lambda decided: not decided.degraded)
    record = await temas.decision(decided.decision_id)
    _show(screen, f"The decision, on profile version {decided.profile_version}", decided, record.candidates)
    return decided, record.candidates


async def feedback(
    temas: Temas, screen: Screen, visitor: Visitor, decided: Decision, before: Sequence[Candidate]
) -> None:
    """They click on the one and dismiss the other; what that does to the next decision."""
    screen.chapter("They answer, and the next decision changes")
    if not decided.offers:
        raise DemoFailed(f"nothing was offered ({decided.silence}), though some offers hold for all: see `make logs`.")
    clicked, *others = (offer.offer_id for offer in decided.offers)
    responses = [visitor.responds("Shown", decided.decision_id, offer.offer_id) for offer in decided.offers]
    responses.append(visitor.responds("Clicked", decided.decision_id, clicked))
    responses += [visitor.responds("Dismissed", decided.decision_id, offer) for offer in others]
    await temas.accept(responses)
    began = time.perf_counter()
    said = [f"clicked “{NAMES[clicked]}”", *(f"dismissed “{NAMES[offer]}”" for offer in others)]

    async def next_decision() -> Sequence[Candidate]:
        again = await _asked(temas, visitor.customer)
        return (await temas.decision(again.decision_id)).candidates

    after = await _until(next_decision, lambda candidates: _has_learnt(before, candidates, clicked, others))
    screen.say(f"They {' and '.join(said)}.")
    screen.say(f"{_milliseconds(began)} after that was accepted, decisions are made differently:")
    screen.show(tables.changes(before, after, NAMES))


async def _asked(temas: Temas, person: str) -> Decision:
    """What the page would ask: the offers for `person`."""
    return await temas.decide(person, PLACEMENT, OFFERS_AT_ONCE)


# --- what is waited for ----------------------------------------------------------------------------------------------


async def _until(ask: Callable[[], Awaitable[T]], enough: Callable[[T], bool]) -> T:
    """Ask until there is an answer and it is `enough`. Raises DemoFailed when that takes too long."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        with contextlib.suppress(NotThere):
            if enough(answer := await ask()):
                return answer
        await asyncio.sleep(GLANCE)
    raise DemoFailed(f"what was accepted has had no effect for {PATIENCE:.0f} s: see `make status` and `make logs`.")


def _has_offers(decided: Decision) -> bool:
    """Whether the offers that were just set up are known where decisions are made, and the customers, too."""
    return decided.silence != "no_offers" and not decided.degraded


def _has_engaged(scores: Valuation) -> bool:
    return scores.engagement is not None and scores.engagement.positive > 0


def _has_order(scores: Valuation) -> bool:
    return scores.purchases is not None and scores.purchases.count > 0


def _shows(view: View, scores: Valuation) -> bool:
    return view.scores is not None and view.scores.version >= scores.version


def _knows(decided: Decision, view: View) -> bool:
    return (decided.profile_version or 0) >= view.version and not decided.degraded


def _has_learnt(
    before: Sequence[Candidate], after: Sequence[Candidate], clicked: str, dismissed: Sequence[str]
) -> bool:
    """Whether the click has moved the clicked offer's numbers and the dismissed ones are gone."""
    old, new = ({each.offer_id: each for each in side} for side in (before, after))
    moved = tables.number(new[clicked], "p_click") != tables.number(old[clicked], "p_click")
    return moved and all(new[offer].gate is not None for offer in dismissed)


# --- in words --------------------------------------------------------------------------------------------------------


def _show(screen: Screen, title: str, decided: Decision, candidates: Sequence[Candidate]) -> None:
    screen.show(tables.running(title, candidates, NAMES, _shown(decided)))
    screen.show(tables.losing(candidates, NAMES))


def _shown(decided: Decision) -> str:
    names = ", then ".join(NAMES[offer.offer_id] for offer in decided.offers)
    return f"Shown: {names or decided.silence}. Comes first: how likely that was, as logged with the decision."


def _milliseconds(began: float) -> str:
    return f"{(time.perf_counter() - began) * 1000:.0f} ms"
