"""The sheets say what the services answered, readably."""

from __future__ import annotations

from deploy.demo import tables, value_tables
from deploy.demo.answers import Cumulative, Dropout, Expectation, Forecast, Holdout, Model, Spending, ValueReport
from shared.events import Candidate, Numbers, Purchases, Valuation

NAMES = {"a": "Apples", "b": "Pears", "c": "Plums"}


def offered(offer: str, rank: int, p_click: float) -> Candidate:
    numbers = Numbers(p_click=p_click, p_conversion=0.2, value=5.0, lever=1.0, cost=0.5, score=0.1, propensity=0.4)
    return Candidate(offer_id=offer, rank=rank, numbers=numbers)


def stopped(offer: str, gate: str, reason: str) -> Candidate:
    return Candidate(offer_id=offer, gate=gate, reason=reason)  # type: ignore[arg-type]  # one of the gates


def test_a_decision_has_the_running_by_rank_and_the_losing_with_why() -> None:
    candidates = [stopped("a", "consent", "no word on newsletter"), offered("b", 2, 0.1), offered("c", 1, 0.3)]

    running, losing = tables.running("", candidates, NAMES, ""), tables.losing(candidates, NAMES)

    assert [row[1] for row in running.rows] == ["Plums", "Pears"]
    assert losing.rows == [("Apples", "consent", "no word on newsletter")]
    assert all(len(row) == len(sheet.columns) for sheet in (running, losing) for row in sheet.rows)


def test_changes_show_both_figures_of_what_was_in_the_running() -> None:
    out = stopped("d", "availability", "over")
    before = [offered("a", 1, 0.05), offered("b", 2, 0.05), offered("c", 3, 0.05), out]
    after = [offered("a", 1, 0.09), stopped("b", "fatigue", "dismissed"), offered("c", 3, 0.05), out]

    rows = {row[0]: row for row in tables.changes(before, after, NAMES).rows}

    assert rows.keys() == {"Apples", "Pears", "Plums"}
    assert rows["Apples"][1] == "5.00 % → 9.00 %"
    assert rows["Pears"][1] == "5.00 % → –"
    assert rows["Pears"][-1] == "fatigue: dismissed"
    assert rows["Plums"][1] == "5.00 %"


def test_scores_that_are_not_known_yet_are_a_dash() -> None:
    purchases = Purchases(x=0, t_x=0.0, T=0.0, mean_value=0.0, count=1, value=29.9)
    before = Valuation(profile_id="p", version=1, as_of=None)  # type: ignore[arg-type]  # not shown
    after = Valuation(profile_id="p", version=2, as_of=None, purchases=purchases)  # type: ignore[arg-type]

    rows = {row[0]: row[1] for row in tables.scores(before, after).rows}

    assert rows["purchases"] == "– → 1"
    assert rows["12-month value"] == "–"


def test_parameters_are_put_into_words() -> None:
    model = Model(
        id="m",
        status="active",
        as_of="1997-10-01T00:00:00.000Z",
        fit_seconds=0.4,
        customers=2_357,
        repeaters=946,
        bg_nbd=Dropout(r=0.25, alpha=5.0, a=1.0, b=3.0, log_likelihood=-1.0),
        gamma_gamma=Spending(p=6.0, q=4.0, v=15.0, log_likelihood=-1.0),
    )

    rows = value_tables.parameters(model).rows

    assert rows[0][2] == "buys every 20 weeks on average; 25 % leave after a purchase"
    assert rows[1][2] == "a purchase is worth 30.00 on average"


def test_totals_stand_beside_the_naive_forecast_with_their_errors() -> None:
    after = Holdout(39.0, 10, 100, Forecast(105.0, 0.05, 0.63), Forecast(155.0, 0.55, None))
    sheet = value_tables.totals(ValueReport(10, 700.0, 900.0, 300.0, after, Cumulative(210.4, 205)))

    assert [row[1:] for row in sheet.rows] == [
        ("100", "105", "155"),
        ("", "+5.0 %", "+55.0 %"),
        ("", "0.630", "–"),
        ("205", "210", ""),
        ("", "+2.6 %", ""),
    ]


def test_a_customer_is_named_by_their_identifier_where_one_is_known() -> None:
    def expected(identifier: str | None) -> Expectation:
        return Expectation("0b6c", identifier, 36.28, 3, 77.1, 1.23, 2, None)

    rows = value_tables.best_customers([expected("user_id:cdnow-0001"), expected(None)]).rows

    assert rows[0] == ("user_id:cdnow-0001", "3", "77.10", "36.28", "1.2", "2", "–")
    assert rows[1][0] == "0b6c"
