from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from harness.stats.bootstrap import bootstrap_interval, examples_interval, resampled_sums, wilson
from harness.stats.clusters import cluster_sums, influence, influence_variance, mean_ratio
from harness.stats.seeds import (
    Component,
    half_width,
    score_interval,
    seed_component,
    two_sided_p,
)


def ones(num: np.ndarray) -> np.ndarray:
    return np.ones_like(num, dtype=float)


@pytest.mark.parametrize(("successes", "trials"), [(0, 10), (10, 10), (3, 10), (1931, 2000)])
def test_wilson_equals_statsmodels(successes: int, trials: int) -> None:
    expected = proportion_confint(successes, trials, alpha=0.05, method="wilson")
    assert wilson(successes, trials) == pytest.approx(expected, abs=1e-12)


def test_wilson_of_nothing_is_unknown() -> None:
    assert np.isnan(wilson(0, 0)).all()


def test_cluster_sums_add_up_the_examples_of_each_document() -> None:
    values = np.array([[1.0, 2.0, 4.0, 8.0]])
    assert cluster_sums(values, np.array([7, 3, 7, 3])).tolist() == [[10.0, 5.0]]


def test_a_score_is_the_mean_over_seeds_of_ratios_of_sums() -> None:
    num, den = np.array([[1.0, 1.0], [0.0, 3.0]]), np.array([[2.0, 2.0], [1.0, 3.0]])
    assert mean_ratio(num, den) == pytest.approx((2 / 4 + 3 / 4) / 2)


def test_bootstrap_of_a_proportion_has_the_binomial_standard_error() -> None:
    num = (np.arange(2000) < 1600)[None, :].astype(float)
    low, high = bootstrap_interval(num, ones(num), np.arange(2000), resamples=20_000)
    error = np.sqrt(0.8 * 0.2 / 2000)
    assert low == pytest.approx(0.8 - 1.96 * error, abs=6e-4)
    assert high == pytest.approx(0.8 + 1.96 * error, abs=6e-4)


def test_drawing_counts_of_kinds_and_drawing_clusters_are_the_same_experiment() -> None:
    rng = np.random.default_rng(5)
    few_kinds = rng.integers(0, 3, (3000, 2)).astype(float)
    many_kinds = few_kinds + rng.normal(0, 1e-9, few_kinds.shape)  # takes the other path
    a = resampled_sums(few_kinds, 4000, 0)
    b = resampled_sums(many_kinds, 4000, 1)
    assert a.mean(axis=0) == pytest.approx(b.mean(axis=0), rel=2e-3)
    assert a.std(axis=0) == pytest.approx(b.std(axis=0), rel=0.05)


def test_examples_of_one_document_widen_the_interval() -> None:
    right = np.repeat(np.random.default_rng(0).random(100) < 0.7, 10)[None, :].astype(float)
    alone = bootstrap_interval(right, ones(right), np.arange(1000))
    together = bootstrap_interval(right, ones(right), np.repeat(np.arange(100), 10))
    ratio = (together.high - together.low) / (alone.high - alone.low)
    assert ratio == pytest.approx(np.sqrt(10), rel=0.1)


def test_few_clusters_get_students_t_not_a_normals_percentiles() -> None:
    """Plain percentiles of twenty clusters are 9% narrower than that."""
    values = stats.norm.ppf((np.arange(20) + 0.5) / 20)[None]
    low, high = bootstrap_interval(values, ones(values), np.arange(20), resamples=20_000)
    expected = stats.t.interval(0.95, 19, values.mean(), stats.sem(values[0]))
    assert high - low == pytest.approx(expected[1] - expected[0], rel=0.05)


def test_one_seed_of_accuracy_gets_wilson() -> None:
    num = (np.arange(500) < 450)[None, :].astype(float)
    assert examples_interval(num, ones(num), np.arange(500)) == wilson(450, 500)


def test_a_perfect_f1_does_not_claim_certainty() -> None:
    den = np.full((1, 40), 4.0)
    low, high = examples_interval(den, den, np.arange(40))
    assert (low, high) == wilson(40, 40)
    assert low < 0.92


def test_one_document_says_nothing_about_others() -> None:
    num = np.array([[1.0, 0.0, 1.0]])
    assert np.isnan(examples_interval(num, ones(num), np.zeros(3, int))).all()


def test_linearised_variance_agrees_with_the_bootstrap_of_f1() -> None:
    rng = np.random.default_rng(3)
    den = rng.integers(1, 8, (1, 1500)).astype(float)
    num = np.floor(den * rng.beta(6, 2, den.shape))
    error = np.sqrt(influence_variance(influence(num, den, np.arange(1500))))
    low, high = bootstrap_interval(num, den, np.arange(1500), resamples=8000)
    assert (high - low) / 2 == pytest.approx(1.96 * error, rel=0.04)


def test_seeds_without_examples_give_the_t_interval_of_scipy() -> None:
    scores = [0.81, 0.84, 0.80]
    part = seed_component(scores)
    assert part is not None
    low, high = stats.t.interval(0.95, 2, np.mean(scores), stats.sem(scores))
    assert half_width([part]) == pytest.approx((high - low) / 2, rel=1e-9)


def test_p_of_seeds_alone_is_the_one_sample_t_test_of_scipy() -> None:
    differences = [0.012, 0.020, 0.008, 0.015]
    part = seed_component(differences)
    assert part is not None
    expected = stats.ttest_1samp(differences, 0.0).pvalue
    assert two_sided_p(float(np.mean(differences)), [part]) == pytest.approx(expected, rel=1e-6)


def test_p_is_the_level_at_which_the_interval_meets_zero() -> None:
    parts = [Component(0.004**2, 1999), Component(0.003**2, 2), Component(0.002**2, 1)]
    p = two_sided_p(0.03, parts)
    assert half_width(parts, 1 - p) == pytest.approx(0.03, rel=1e-6)


def test_no_difference_has_p_one() -> None:
    assert two_sided_p(0.0, []) == 1.0


def test_one_seed_is_said_to_cover_examples_only_and_more_cover_both() -> None:
    right = (np.random.default_rng(0).random((3, 400)) < 0.9).astype(float)
    one = score_interval(right[:1], ones(right[:1]), np.arange(400))
    three = score_interval(right, ones(right), np.arange(400))
    assert (one.basis, three.basis) == ("examples", "examples+seeds")
    assert three.value == pytest.approx(right.mean())


def test_the_interval_stays_within_zero_and_one() -> None:
    right = np.ones((2, 300))
    right[0, :60] = 0
    score = score_interval(right, ones(right), np.arange(300))
    assert 0 <= score.low < score.value < score.high == 1.0
