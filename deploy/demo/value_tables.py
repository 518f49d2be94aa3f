"""The sheets about what customers are worth."""

from __future__ import annotations

from collections.abc import Sequence

from deploy.demo.answers import Dropout, Expectation, Model, RfmReport, Spending, ValueReport
from deploy.demo.tables import Sheet, figure, share


def parameters(model: Model) -> Sheet:
    """The fitted parameters, and what they say."""
    rows = []
    if model.bg_nbd:
        rows.append(("BG/NBD, for purchases", _dropout(model.bg_nbd), _habits(model.bg_nbd)))
    if model.mbg_nbd:
        rows.append(("MBG/NBD, for churn", _dropout(model.mbg_nbd), _habits(model.mbg_nbd)))
    if model.gamma_gamma:
        rows.append(("Gamma-Gamma, for money", _spending(model.gamma_gamma), _worth(model.gamma_gamma)))
    title = f"Fitted on {figure(model.customers, 0)} customers, {figure(model.repeaters, 0)} of whom had come back"
    note = f"model {model.id}, fitted in {figure(model.fit_seconds, 1)} s"
    return Sheet(title, ("model", "parameters", "in words"), rows, note)


def _dropout(fitted: Dropout) -> str:
    return f"r {fitted.r:.3f}, α {fitted.alpha:.3f}, a {fitted.a:.3f}, b {fitted.b:.3f}"


def _spending(fitted: Spending) -> str:
    return f"p {fitted.p:.2f}, q {fitted.q:.2f}, v {fitted.v:.2f}"


def _habits(fitted: Dropout) -> str:
    """The means of the two mixing distributions: of the rate r/α, of the chance to leave a/(a+b)."""
    pace, leaving = fitted.alpha / fitted.r, fitted.a / (fitted.a + fitted.b)
    return f"buys every {pace:.0f} weeks on average; {share(leaving, 0)} leave after a purchase"


def _worth(fitted: Spending) -> str:
    """The population's mean value of a purchase: Fader & Hardie (2013), p·v/(q − 1)."""
    return f"a purchase is worth {figure(fitted.p * fitted.v / (fitted.q - 1))} on average"


def error(part: float | None) -> str:
    """A forecast's error, with its sign."""
    return "–" if part is None else f"{100 * part:+.1f} %"


def best_customers(customers: Sequence[Expectation]) -> Sheet:
    """The most valuable customers by what we expected, with what they really did."""
    rows = [
        (
            customer.identifier or customer.profile_id,
            figure(customer.purchases, 0),
            figure(customer.value),
            figure(customer.ltv),
            figure(customer.expected_purchases, 1),
            figure(customer.actual_purchases, 0),
            figure(customer.actual_value),
        )
        for customer in customers
    ]
    columns = ("customer", "#purchases", "#spent", "#12-month value", "#expected", "#really", "#really spent")
    note = "expected, really: purchases in the 39 weeks after the models' last day"
    return Sheet("The most valuable customers: what we expected, and what they did", columns, rows, note)


def totals(report: ValueReport) -> Sheet:
    """All customers together: what came, beside the model's forecast and the naive one."""
    rows: list[tuple[str, ...]] = []
    if report.purchases:
        after, model, naive = report.purchases, report.purchases.model, report.purchases.naive
        what = f"purchases in the {figure(after.weeks, 0)} weeks after"
        rows += [
            (what, figure(after.actual, 0), figure(model.total, 0), figure(naive.total, 0)),
            ("  error", "", error(model.error), error(naive.error)),
            ("  correlation over customers", "", figure(model.correlation, 3), figure(naive.correlation, 3)),
        ]
    if report.cumulative:
        whole = report.cumulative
        rows += [
            ("all purchases but each one's first", figure(whole.actual, 0), figure(whole.predicted, 0), ""),
            ("  error", "", error(whole.predicted / whole.actual - 1 if whole.actual else None), ""),
        ]
    note = f"expected of all {figure(report.customers, 0)} customers in the next 12 months: {figure(report.ltv)}"
    title = "All customers: what we expected, and what they did"
    return Sheet(title, ("", "#really", "#Temas", "#naive: as before"), rows, note)


def rfm(report: RfmReport) -> Sheet:
    """The segments by recency, frequency and money, and what the best ones brought later."""
    rows = [
        (segment.name, figure(segment.customers, 0), share(segment.customers / report.customers))
        for segment in report.segments
    ]
    best = report.best
    note = (
        f"the {figure(best.customers, 0)} customers with all three scores at 4 or 5 "
        f"({share(best.customers / report.customers)} of all) spent {share(best.later_value_share)} of the later money"
    )
    return Sheet("Customers by recency, frequency and money", ("segment", "#customers", "#share"), rows, note)
