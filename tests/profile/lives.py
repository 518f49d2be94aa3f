"""Touchpoints for profile's tests: by hand, or drawn as whole lives in a small world where everything collides."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC
from typing import Any, Literal

from hypothesis import strategies as st

from services.profile.domain.fragment import Fragment, absorbed
from services.profile.domain.graph import Limits
from services.profile.domain.identity import Edge, Owned, owned, said
from services.profile.domain.precedence import Precedence
from services.profile.domain.rulings import Ruling, oriented
from shared.events import Touchpoint, Trust
from shared.identifiers import Identifier
from tests import builders
from tests.builders import after

LIMITS = Limits(by_kind={"anonymous_id": 3}, others=2)
"""Small, so that they are reached."""


def touchpoint(id: str, minutes: float = 0, name: str | None = None, **rest: Any) -> Touchpoint:
    """The touchpoint `id`, that long after the start. `rest` as in `builders.touchpoint`."""
    return builders.touchpoint(name, id=id, at=after(minutes), **rest)


def _owned(life: Iterable[Touchpoint]) -> list[Owned]:
    return [owned(each) for each in life]


def stated(life: Iterable[Touchpoint]) -> dict[Edge, Precedence]:
    """All that `life` states about identifiers."""
    return said(_owned(life))


def added(life: Iterable[Touchpoint]) -> dict[Identifier, Fragment]:
    """What `life` adds to each fragment."""
    return absorbed(_owned(life), UTC)


def page(id: str, minutes: float = 0, **who: Any) -> Touchpoint:
    return touchpoint(id, minutes, "Home", kind="page", **who)


def identify(id: str, minutes: float = 0, **who: Any) -> Touchpoint:
    return touchpoint(id, minutes, kind="identify", **who)


def alias(id: str, minutes: float, previous: str, user: str) -> Touchpoint:
    return touchpoint(id, minutes, kind="alias", previous=previous, user=user)


def order(id: str, minutes: float = 0, total: Any = 10, **who: Any) -> Touchpoint:
    return touchpoint(id, minutes, "Order Completed", properties={"total": total}, **who)


def consent(id: str, minutes: float, granted: Any, *, by: dict[str, Any] | None = None, **who: Any) -> Touchpoint:
    properties = {"purpose": "marketing", "granted": granted, **(by or {})}
    return touchpoint(id, minutes, "Consent Changed", properties=properties, **who)


def ruling(id: str, minutes: float, what: Literal["merge", "split"], one: str, other: str) -> Ruling:
    """A ruling on two identifiers, written `kind:value`."""
    member, owner = oriented(Identifier.parse(one), Identifier.parse(other))
    return Ruling(id=id, ruling=what, member=member, owner=owner, at=after(minutes), who="a test", why="a test")


# --- whole lives -----------------------------------------------------------------------------------------------------

USERS = ("ayse", "mert", "can", "null")
VISITORS = ("tablet", "phone", "laptop", "desk", "kiosk", "0000")
EMAILS = ("a@example.com", "B@Example.com ", "c@example.com", "d@example.com")

Kind = Literal["page", "identify", "alias", "order", "refund", "consent"]


@st.composite
def touchpoints(draw: st.DrawFn, number: int) -> Touchpoint:
    """Any touchpoint of the small world, the `number`th, of a server or of a client. Few moments, so that they often
    tie; and some arrive late.
    """
    kind: Kind = draw(st.sampled_from(("page", "identify", "identify", "alias", "order", "refund", "consent")))
    user = draw(st.none() | st.sampled_from(USERS))
    anonymous = draw(st.sampled_from(VISITORS)) if user is None else draw(st.none() | st.sampled_from(VISITORS))
    id, minutes = f"m-{number}", draw(st.integers(0, 5)) * 600
    who: dict[str, Any] = {
        "user": user,
        "anonymous": anonymous,
        "channel": draw(st.sampled_from(("web", "store"))),
        **draw(senders(minutes)),
    }
    if kind == "alias":
        previous = draw(st.sampled_from((*USERS, *VISITORS)))
        return touchpoint(id, minutes, kind="alias", previous=previous, **who)
    if kind == "identify":
        traits = {"email": draw(st.none() | st.sampled_from(EMAILS)), "plan": draw(st.sampled_from(("free", "pro")))}
        external = draw(st.lists(st.sampled_from((Identifier("crm", "1"), Identifier("crm", "7x"))), max_size=1))
        return identify(id, minutes, traits=traits, external_ids=tuple(external), **who)
    if kind == "order":
        return order(id, minutes, draw(st.sampled_from((10, "12.35", 0.1, None, "much"))), **who)
    if kind == "refund":
        value = draw(st.sampled_from((10, 0.1)))
        return touchpoint(id, minutes, "Order Refunded", properties={"value": value}, **who)
    if kind == "consent":
        return consent(id, minutes, draw(st.booleans()), **who)
    return page(id, minutes, **who)


@st.composite
def senders(draw: st.DrawFn, minutes: float) -> dict[str, Any]:
    """Who sends what happened at `minutes`, and how late."""
    trust: Trust = draw(st.sampled_from(("server", "client")))
    return {"trust": trust, "received_at": after(minutes + draw(st.sampled_from((-5, 0, 0, 600, 1800))))}


@st.composite
def lives(draw: st.DrawFn, longest: int = 24) -> list[Touchpoint]:
    """A set of touchpoints, each with its own id."""
    return [draw(touchpoints(number)) for number in range(draw(st.integers(1, longest)))]


@st.composite
def crowds(draw: st.DrawFn, longest: int = 12) -> list[Touchpoint]:
    """Three people around two devices and an email, so that everything has several who claim it."""
    return [draw(_in_a_crowd(number)) for number in range(draw(st.integers(3, longest)))]


@st.composite
def _in_a_crowd(draw: st.DrawFn, number: int) -> Touchpoint:
    id, minutes, says_more = f"m-{number}", draw(st.integers(0, 5)) * 600, draw(st.integers(0, 5))
    if not says_more:
        return alias(id, minutes, *draw(st.permutations(USERS[:3]))[:2])
    return identify(
        id,
        minutes,
        user=draw(st.sampled_from(USERS[:3])),
        anonymous=draw(st.sampled_from(VISITORS[:2])),
        traits={"email": draw(st.none() | st.just(EMAILS[0]))},
        **draw(senders(minutes)),
    )


CROWDED = (
    *(f"user_id:{user}" for user in USERS[:3]),
    *(f"anonymous_id:{visitor}" for visitor in VISITORS[:2]),
    "email:a@example.com",
)

RULED = (
    *(f"user_id:{user}" for user in USERS[:3]),
    *(f"anonymous_id:{visitor}" for visitor in VISITORS[:5]),
    *("email:a@example.com", "email:b@example.com", "crm:1"),
)


@st.composite
def rulings(draw: st.DrawFn, most: int = 8, on: Sequence[str] = RULED) -> list[Ruling]:
    """Rulings on the small world, at the moments that its touchpoints have."""
    return [draw(_ruling(number, on)) for number in range(draw(st.integers(0, most)))]


@st.composite
def _ruling(draw: st.DrawFn, number: int, on: Sequence[str]) -> Ruling:
    what: Literal["merge", "split"] = draw(st.sampled_from(("merge", "split", "split")))
    one = draw(st.sampled_from(on))
    others = [each for each in on if each != one and (what == "split" or each.startswith(("user", "anonymous")))]
    minutes = draw(st.integers(0, 5)) * 600
    return ruling(f"r-{number}", minutes, what, one, draw(st.sampled_from(others)))
