"""Intervals of medians and over launches, and whether a series has settled, on known series."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from harness.stats.launches import launch_interval
from harness.stats.medians import median_interval, relative_half_width
from harness.stats.steady import FEWEST, LEVEL, changepoint, pace, settled, steady_from, trend_p


def test_the_median_of_six_lies_between_the_smallest_and_the_largest():
    assert median_interval([5, 1, 4, 2, 6, 3]) == (1, 6)
    assert median_interval([1, 2, 3, 4, 5]) is None
    assert relative_half_width([9, 10, 10, 10, 10, 11]) == pytest.approx(0.1)


@pytest.mark.parametrize("n", [6, 9, 16, 25, 40, 1029, 1040, 5000])
def test_the_median_interval_is_that_of_the_sign_test(n):
    """An independent construction: the binomial's quantile function."""
    k = int(stats.binom.ppf(0.025, n, 0.5))
    if stats.binom.cdf(k - 1, n, 0.5) > 0.025:
        k -= 1
    assert median_interval(range(1, n + 1)) == (k, n + 1 - k)


def test_the_median_interval_covers_as_often_as_it_says():
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(1000):
        low, high = median_interval(rng.lognormal(0, 0.5, 15))
        hits += low <= 1.0 <= high
    assert 0.94 < hits / 1000 < 0.99


def test_a_launch_interval_is_t_on_the_log_scale():
    found = launch_interval([10.0, 10.5, 11.0])
    logs = np.log([10.0, 10.5, 11.0])
    low, high = stats.t.interval(0.95, 2, logs.mean(), stats.sem(logs))
    assert (found.low, found.high) == pytest.approx((math.exp(low), math.exp(high)))
    assert found.centre == pytest.approx(stats.gmean([10.0, 10.5, 11.0]))


def test_one_launch_has_no_interval_and_none_has_no_figure():
    found = launch_interval([7.0])
    assert (found.centre, found.low, found.high) == (pytest.approx(7.0), None, None)
    assert launch_interval([]) is None
    assert launch_interval([1.0, 0.0]) is None


def test_trend_p_is_kendalls():
    rng = np.random.default_rng(3)
    for values in (rng.permutation(12) for _ in range(20)):
        exact = stats.kendalltau(range(12), values, method="exact").pvalue
        assert trend_p(values.tolist()) == pytest.approx(exact, abs=0.01)
    assert trend_p([1.0] * 8) == 1.0


def test_the_fewest_blocks_are_those_of_which_a_perfect_trend_is_significant():
    assert trend_p(range(FEWEST)) < LEVEL < trend_p(range(FEWEST - 1))
    assert trend_p(range(5)) == pytest.approx(0.0275, abs=1e-4)


def test_a_changepoint_is_found_where_it_is():
    at, p = changepoint([10, 11, 10.5, 10.2, 11.1, 10.1, 10.3, 5, 5.1, 5.2, 4.9, 5.3, 5.05, 4.8])
    assert at == 7 and p < 0.02


def test_noise_is_settled_and_drift_is_not():
    rng = np.random.default_rng(2)
    verdicts = [settled(rng.lognormal(0, 0.03, 12).tolist()) for _ in range(300)]
    assert np.mean(verdicts) > 0.97
    drift = [
        settled((np.linspace(1, 1.3, 12) * rng.lognormal(0, 0.03, 12)).tolist()) for _ in range(300)
    ]
    assert np.mean(drift) < 0.05
    assert settled(np.linspace(1, 1.01, 30).tolist())  # significant, but nobody minds


def test_warm_up_is_cut_off_and_a_slope_has_no_steady_part():
    slow_start = [3.0, 2.0, 1.5, 1.0, 1.01, 0.99, 1.0, 1.02, 0.98, 1.0, 0.99]
    first = steady_from(slow_start)
    assert first is not None and 1 <= first <= 3
    assert steady_from([1.1**i for i in range(12)]) is None
    assert steady_from([1.0] * 5) is None
    assert steady_from([1.0] * 6) == 0


def test_a_pace_is_sens_slope_of_the_logarithms():
    values = np.random.default_rng(4).lognormal(0, 0.2, 15)
    assert pace(values.tolist()) == pytest.approx(stats.theilslopes(np.log(values)).slope)


@pytest.mark.parametrize("percent", [0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 3.0, 5.0, 10.0])
@pytest.mark.parametrize("blocks", [6, 8, 12, 16, 24, 34])
def test_a_drift_of_more_than_five_percent_in_total_is_not_steady(blocks, percent):
    """Up and down, however slow; one of less passes, as docs/measuring.md says."""
    up = [(1 + percent / 100) ** i for i in range(blocks)]
    steady = up[-1] <= 1.05
    assert (steady_from(up) is not None) == steady
    assert (steady_from(up[::-1]) is not None) == steady
    linear = [1 + percent / 100 * i for i in range(blocks)]
    if linear[-1] > 1.07:  # its pace falls on the way: near 5% the two forms differ
        assert steady_from(linear) is None


@pytest.mark.parametrize("percent", [1.25, 2.0, 3.0, 5.0, 10.0])
def test_a_slope_is_found_in_the_noise_of_equal_launches(percent):
    rng = np.random.default_rng(5)
    slope = 1 + percent / 100 * np.arange(34)
    found = [steady_from((slope * rng.lognormal(0, 0.033, 34)).tolist()) for _ in range(100)]
    assert sum(first is not None for first in found) <= 3


@pytest.mark.parametrize("blocks", [6, 8, 12, 16, 24, 34])
@pytest.mark.parametrize("noise", [0.01, 0.033, 0.1])
def test_stationary_noise_is_steady(blocks, noise):
    rng = np.random.default_rng(6)
    found = [steady_from(rng.lognormal(0, noise, blocks).tolist()) for _ in range(200)]
    assert np.mean([first is not None for first in found]) > 0.97


def test_a_step_is_cut_off_in_the_first_half_only():
    """What comes after a late one is too short to be told."""
    early = steady_from([1.4] * 8 + [1.0] * 18)
    assert early is not None and 4 <= early <= 8
    assert steady_from([1.0] * 20 + [1.4] * 6) is None
