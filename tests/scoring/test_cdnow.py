"""Every figure that the literature, or the reference implementation, gives for CDNOW, from the raw rows."""

from __future__ import annotations

import random

import numpy as np
import pytest
from numpy.typing import NDArray

from services.scoring.domain import bg_nbd, gamma_gamma, holdout, lifetime_value, mbg_nbd, rfm
from services.scoring.domain.fitting import Array
from services.scoring.domain.lifetime_value import Horizon
from services.scoring.domain.model import Dropout
from tests.scoring import cdnow

FIRST, THIRD = 0, 2
"""Customers 0001 (who came back twice) and 0003 (who did not)."""

BG_NBD = np.array([0.242593, 4.413532, 0.792886, 2.425752])
GAMMA_GAMMA = np.array([6.24880, 3.74459, 15.44775])

X, T_X, T = np.array([2.0, 0.0]), np.array([30.43, 0.0]), np.array([38.86, 38.86])
"""The same two as the literature rounds them."""


# --- the state -------------------------------------------------------------------------------------------------------


def test_the_raw_rows_give_the_published_states() -> None:
    cohort, expected = cdnow.cohort(), np.array(list(cdnow.summaries().values()))
    assert len(cohort) == 2357
    assert (cohort.x == expected[:, 0]).all()
    assert np.abs(cohort.t_x - expected[:, 1]).max() <= 0.005
    assert np.abs(cohort.T - expected[:, 2]).max() <= 0.005
    assert np.abs(cohort.mean_value - expected[:, 3]).max() <= 0.006


def test_a_day_counts_until_its_last_microsecond() -> None:
    assert cdnow.cohort().T_days[FIRST] == 272
    assert cdnow.cohort().T[FIRST] == pytest.approx(38.857, abs=0.0005)


def test_any_shuffle_gives_the_same_state() -> None:
    shuffled = list(cdnow.touchpoints())
    random.Random(7).shuffle(shuffled)
    assert cdnow.folded(shuffled) == cdnow.days()


# --- the fits --------------------------------------------------------------------------------------------------------


def parameters_of(fit: Dropout) -> Array:
    return np.array([fit.r, fit.alpha, fit.a, fit.b])


def test_bg_nbd_has_the_published_parameters() -> None:
    fit = cdnow.model().bg_nbd
    assert parameters_of(fit) == pytest.approx(BG_NBD, rel=0.005)
    assert parameters_of(fit) == pytest.approx([0.243, 4.414, 0.793, 2.426], abs=0.0005)
    assert fit.log_likelihood == pytest.approx(-9582.4256, abs=0.01)


def test_mbg_nbd_has_the_reference_parameters() -> None:
    assert parameters_of(cdnow.model().mbg_nbd) == pytest.approx([0.52484, 6.18299, 0.89136, 1.61400], rel=0.005)


def test_gamma_gamma_has_the_published_parameters() -> None:
    fit = cdnow.model().gamma_gamma
    assert cdnow.model().repeaters == 946
    assert [fit.p, fit.q, fit.v] == pytest.approx(GAMMA_GAMMA, rel=0.005)
    assert fit.log_likelihood == pytest.approx(-4055.923, abs=0.01)


def test_a_model_knows_its_window() -> None:
    model = cdnow.model()
    assert (model.customers, model.as_of) == (2357, cdnow.CALIBRATED)
    assert (str(model.first_day), str(model.last_day)) == ("1997-01-01", "1997-09-30")


# --- two customers ---------------------------------------------------------------------------------------------------


def test_the_two_customers_by_the_reference_parameters() -> None:
    # To every digit: same parameters, same rounded inputs, so only the formulas can differ.
    assert bg_nbd.p_alive(BG_NBD, X, T_X, T) == pytest.approx([0.726609, 1.0], abs=2e-6)
    assert bg_nbd.expected_purchases(BG_NBD, 39, X, T_X, T) == pytest.approx([1.225910, 0.194781], abs=5e-6)
    assert gamma_gamma.expected_value(GAMMA_GAMMA, X, np.array([22.35, 0.0])) == pytest.approx(
        [24.6586, 35.1710], abs=0.001
    )


def test_the_two_customers_by_our_own_fit() -> None:
    cohort, model = cdnow.cohort(), cdnow.model()
    worth = lifetime_value.worth(cohort, model, Horizon())
    parameters, x = model.bg_nbd.parameters, cohort.x.astype(float)
    both = [FIRST, THIRD]
    assert bg_nbd.p_alive(parameters, x, cohort.t_x, cohort.T)[both] == pytest.approx([0.726609, 1.0], rel=0.001)
    expected = holdout.expected(parameters, cohort, 39)[both]
    assert expected == pytest.approx([1.225910, 0.194781], rel=0.001)
    assert worth.per_purchase[both] == pytest.approx([24.6586, 35.1710], rel=0.001)
    assert worth.value[both] == pytest.approx([36.2785, 8.3441], rel=0.001)


def test_all_of_them_are_worth_what_the_reference_says() -> None:
    worth = lifetime_value.worth(cdnow.cohort(), cdnow.model(), Horizon())
    assert worth.value.sum() == pytest.approx(71_509.90, rel=0.0005)
    assert (worth.low < worth.value).all()
    assert (worth.value < worth.high).all()


# --- what really happened --------------------------------------------------------------------------------------------


def test_the_forecast_for_the_next_39_weeks_holds() -> None:
    report = holdout.holdout(cdnow.model().bg_nbd.parameters, cdnow.cohort(), cdnow.later(), cdnow.HELD_OUT)
    model, naive = report.model, report.naive
    assert model.correlation is not None
    assert naive.correlation is not None
    assert model.error is not None
    assert naive.error is not None
    assert naive.error == pytest.approx(0.557, abs=0.001)
    assert naive.correlation == pytest.approx(0.584, abs=0.001)
    assert model.correlation >= 0.62 > naive.correlation
    assert abs(model.error) < 0.15 < abs(naive.error)


def test_cumulative_purchases_at_week_78_are_within_five_percent() -> None:
    cohort = cdnow.cohort()
    predicted = bg_nbd.expected_since_first(cdnow.model().bg_nbd.parameters, cohort.T + cdnow.HELD_OUT).sum()
    actual = cohort.x.sum() + cdnow.later().purchases.sum()
    assert predicted == pytest.approx(actual, rel=0.05)


def test_churn_tells_who_returns_where_p_alive_of_bg_nbd_does_not() -> None:
    cohort, model = cdnow.cohort(), cdnow.model()
    x, returned = cohort.x.astype(float), cdnow.later().purchases > 0
    by_bg = bg_nbd.p_alive(model.bg_nbd.parameters, x, cohort.t_x, cohort.T)
    by_mbg = mbg_nbd.p_alive(model.mbg_nbd.parameters, x, cohort.t_x, cohort.T)
    assert (by_bg == 1).mean() == pytest.approx(0.60, abs=0.005)
    assert area_under_curve(by_bg, returned) == pytest.approx(0.316, abs=0.002)
    assert area_under_curve(by_mbg, returned) == pytest.approx(0.687, abs=0.002)


def area_under_curve(scores: Array, returned: NDArray[np.bool_]) -> float:
    """That one who returned has a higher score than one who did not; ties count half."""
    ours, others = scores[returned][:, None], scores[~returned][None, :]
    return float(((ours > others) + 0.5 * (ours == others)).mean())


# --- RFM -------------------------------------------------------------------------------------------------------------


def test_rfm_cuts_are_the_exact_percentiles() -> None:
    cuts = cdnow.model().rfm
    assert cuts.recency == (99, 198, 219, 242)
    assert cuts.frequency == (1, 1, 2, 3)
    assert cuts.monetary == (14.96, 27.99, 45.976, 93.722)


def test_rfm_scores_say_where_customers_tie() -> None:
    scores = rfm.scores(cdnow.cohort(), cdnow.model().rfm)
    found, counts = np.unique(scores.frequency, return_counts=True)
    counted = dict(zip(found.tolist(), counts.tolist(), strict=True))
    assert counted == {1: 1411, 3: 439, 4: 214, 5: 293}
    assert rfm.empty(counted) == [2]


def test_the_best_customers_make_most_of_the_later_money() -> None:
    scores, later = rfm.scores(cdnow.cohort(), cdnow.model().rfm), cdnow.later().value
    best = (scores.recency >= 4) & (scores.frequency >= 4) & (scores.monetary >= 4)
    assert best.sum() == 454
    assert later[best].sum() / later.sum() == pytest.approx(0.636, abs=0.0005)
