"""What is shown, as sheets of text: from the services' answers to rows that a manager can read. No arithmetic on people
happens here; the figures are the services' own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from shared.events import Candidate, Valuation, View


@dataclass(frozen=True)
class Sheet:
    """A table to print. Columns whose name begins with `#` hold figures: they stand to the right, without the sign."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str | None = None


def figure(value: float | None, decimals: int = 2) -> str:
    """A number; a dash where there is none."""
    return "–" if value is None else f"{value:,.{decimals}f}"


def share(value: float | None, decimals: int = 1) -> str:
    """A share, as a percentage."""
    return "–" if value is None else f"{100 * value:.{decimals}f} %"


def change(before: str, after: str) -> str:
    """A figure before and after; once where it is the same."""
    return before if before == after else f"{before} → {after}"


def profile(view: View) -> Sheet:
    """The unified view, with where each part of it came from."""
    channels = ", ".join(f"{count} by {channel}" for channel, count in sorted(view.touchpoints.channels.items()))
    rows = [
        *((known.kind, known.value, f"since {_clock(known.since)}") for known in view.identifiers),
        *(
            (f"trait {name}", str(trait.value), f"{trait.source}, by touchpoint {trait.touchpoint_id}")
            for name, trait in sorted(view.traits.items())
        ),
        *(
            (
                f"consent to {purpose} in {channel}",
                "given" if word.granted else "refused",
                f"by touchpoint {word.touchpoint_id}",
            )
            for purpose, words in sorted(view.consent.items())
            for channel, word in sorted(words.items())
        ),
        ("touchpoints", str(view.touchpoints.count), channels),
        ("orders", str(view.computed["order_count"]), f"worth {figure(view.computed['order_value'])}"),
        *((("stage", view.stage.name, f"since {_clock(view.stage.since)}"),) if view.stage else ()),
        *(("segment", segment.id, f"since {_clock(segment.since)}") for segment in view.segments),
    ]
    note = f"profile {view.profile_id}, version {view.version}"
    return Sheet("The unified profile", ("what", "value", "where from"), rows, note)


def scores(before: Valuation | None, after: Valuation) -> Sheet:
    """A person's scores before and after something happened."""

    def row(what: str, part: str, field: str, decimals: int, meaning: str) -> tuple[str, str, str]:
        old, new = (_field(valuation, part, field) for valuation in (before, after))
        return what, change(figure(old, decimals), figure(new, decimals)), meaning

    rows = [
        row("engagement", "engagement", "score", 1, _for_and_against(after)),
        row("purchases", "purchases", "count", 0, "orders counted"),
        row("12-month value", "ltv", "value", 2, _interval(after)),
        row("expected purchases", "ltv", "expected_purchases", 2, "in the next 12 months"),
        row("churn risk", "churn", "risk", 3, _horizon(after)),
    ]
    if after.rfm:
        rows.append(
            ("RFM segment", after.rfm.segment, f"{after.rfm.recency}-{after.rfm.frequency}-{after.rfm.monetary}")
        )
    return Sheet("The scores, before and after the order", ("score", "#value", "meaning"), rows)


def _field(valuation: Valuation | None, part: str, field: str) -> float | None:
    return getattr(getattr(valuation, part, None), field, None)


def _for_and_against(valuation: Valuation) -> str:
    """Engagement is what speaks for the relationship, less what speaks against it, such as a refusal."""
    engagement = valuation.engagement
    if engagement is None:
        return ""
    return f"of 100; {figure(engagement.positive, 1)} points for, {figure(engagement.negative, 1)} against"


def _interval(valuation: Valuation) -> str:
    ltv = valuation.ltv
    return f"between {figure(ltv.low)} and {figure(ltv.high)}, with 90 % confidence" if ltv else ""


def _horizon(valuation: Valuation) -> str:
    return f"of no further order in {valuation.churn.horizon_weeks} weeks" if valuation.churn else ""


def running(title: str, candidates: Sequence[Candidate], names: Mapping[str, str], note: str) -> Sheet:
    """The offers of the placement that no gate stopped, by rank, with their numbers."""
    rows = [
        (str(each.rank or "–"), names.get(each.offer_id, each.offer_id), *_figures(each))
        for each in sorted(candidates, key=lambda each: each.rank or len(candidates))
        if each.gate is None
    ]
    columns = ("#rank", "in the running", "#click", "#then sale", "#value", "#score", "#comes first")
    return Sheet(title, columns, rows, note)


def losing(candidates: Sequence[Candidate], names: Mapping[str, str]) -> Sheet:
    """Every other offer of the placement, with the first gate it failed."""
    rows = [
        (names.get(each.offer_id, each.offer_id), each.gate, each.reason or "")
        for each in sorted(candidates, key=lambda each: each.offer_id)
        if each.gate is not None
    ]
    return Sheet("And every losing offer, with why it lost", ("out of the running", "gate", "reason"), rows)


def _figures(candidate: Candidate) -> tuple[str, ...]:
    numbers = candidate.numbers
    if numbers is None:
        return ("",) * 5
    return (
        share(numbers.p_click, 2),
        share(numbers.p_conversion, 1),
        figure(numbers.value),
        figure(numbers.score, 4),
        share(numbers.propensity, 0),
    )


def changes(before: Sequence[Candidate], after: Sequence[Candidate], names: Mapping[str, str]) -> Sheet:
    """How a decision differs from the one before it, for all offers that were in the running in one of them."""
    old, new = ({each.offer_id: each for each in side} for side in (before, after))
    rows = [
        (
            names.get(offer, offer),
            change(share(number(old[offer], "p_click"), 2), share(number(new[offer], "p_click"), 2)),
            change(figure(number(old[offer], "score"), 4), figure(number(new[offer], "score"), 4)),
            change(share(number(old[offer], "propensity"), 0), share(number(new[offer], "propensity"), 0)),
            _why_out(new[offer]),
        )
        for offer in sorted(old.keys() & new.keys())
        if old[offer].gate is None or new[offer].gate is None
    ]
    return Sheet("The decision before and after", ("offer", "#click", "#score", "#comes first", "out of it now"), rows)


def _why_out(candidate: Candidate) -> str:
    return f"{candidate.gate}: {candidate.reason}" if candidate.gate else ""


def number(candidate: Candidate, field: str) -> float | None:
    """One of a candidate's numbers, where a gate let it get that far."""
    return getattr(candidate.numbers, field, None)


def _clock(moment: str) -> str:
    """The day and the time of an RFC 3339 moment, to the second."""
    return moment[:19].replace("T", " ")


def addresses(urls: Mapping[str, str]) -> Sheet:
    """Where to look next."""
    rows = [(service, f"{url}/docs", f"{url}/metrics") for service, url in urls.items()]
    return Sheet("The stack is up", ("service", "documentation (user name: the secret key)", "metrics"), rows)
