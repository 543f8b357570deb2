"""Do 95% intervals cover 95%? Simulated where the truth is known.

The quick part computes the formula's coverage by numerical integration, and draws a few hundred
experiments for the whole path; the long one (`slow`, about two minutes) draws thousands.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from harness.stats.bootstrap import examples_interval
from harness.stats.paired import paired_test
from harness.stats.resolution import detectable_difference, resolution, smallest_count
from harness.stats.seeds import Component, half_width, pooled, score_interval

#: of seeds' variance of the mean to the examples'; 0 and 100: only one of them matters
RATIOS = (0.0, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0, 8.0, 100.0)


@pytest.mark.parametrize("seeds", [2, 3, 4, 5, 7, 10])
def test_the_combined_half_width_covers_93_to_97_percent_at_every_ratio(seeds: int) -> None:
    """Exact but for the grid: the seeds' variance is chi-square, the score normal given it."""
    quantiles = (np.arange(400) + 0.5) / 400
    chi = stats.chi2.ppf(quantiles, seeds - 1) / (seeds - 1)
    for ratio in RATIOS:
        halves = [
            half_width([Component(1.0, np.inf), Component(ratio**2 * c, seeds - 1)]) for c in chi
        ]
        inside = 2 * stats.norm.cdf(np.array(halves) / np.hypot(1, ratio)) - 1
        assert 0.93 <= inside.mean() <= 0.97, (ratio, inside.mean())


def test_two_variances_known_equally_well_are_simply_added() -> None:
    parts = [Component(0.3, np.inf), Component(0.2, np.inf)]
    assert half_width(parts) == pytest.approx(1.959964 * np.sqrt(0.5), rel=1e-6)


def test_pooled_seeds_have_welchs_degrees_of_freedom() -> None:
    a, b = np.array([0.81, 0.84, 0.80]), np.array([0.78, 0.70, 0.79, 0.75])
    part = pooled([Component(a.var(ddof=1) / 3, 2), Component(b.var(ddof=1) / 4, 3)])
    assert part is not None
    t = (a.mean() - b.mean()) / np.sqrt(part.variance)
    expected = stats.ttest_ind(a, b, equal_var=False).pvalue
    assert 2 * stats.t.sf(abs(t), part.freedom) == pytest.approx(expected)


def experiment(
    rng: np.random.Generator, seeds: int, examples: int, seed_sd: float, shared: float
) -> tuple[np.ndarray, float]:
    """Right and wrong answers (seeds, examples), and the score's expectation for these seeds.

    Each example has a score threshold, ``shared`` of whose variance is the example's own and the
    rest this fit's: at 0 seeds err independently, at 1 on the same examples. About 85% right.
    """
    level = stats.norm.ppf(0.85)
    easiness = np.sqrt(shared) * rng.standard_normal(examples)
    noise = np.sqrt(1 - shared) * rng.standard_normal((seeds, examples))
    shift = rng.normal(0, seed_sd / stats.norm.pdf(level), (seeds, 1))
    return (easiness + noise < level + shift).astype(float), level


def truth(seed_sd: float) -> float:
    """Expected score over examples and seeds in `experiment`: a normal mixed with a normal."""
    level = stats.norm.ppf(0.85)
    return float(stats.norm.cdf(level / np.hypot(1, seed_sd / stats.norm.pdf(level))))


def covered(
    seeds: int, seed_sd: float, trials: int, *, shared: float = 0.5, examples: int = 2000
) -> float:
    rng = np.random.default_rng([seeds, round(1e4 * seed_sd), examples])
    ones, clusters, hits = np.ones((seeds, examples)), np.arange(examples), 0
    target = truth(seed_sd)
    for _ in range(trials):
        right, _ = experiment(rng, seeds, examples, seed_sd, shared)
        score = score_interval(right, ones, clusters, resamples=1000)
        hits += score.low <= target <= score.high
    return hits / trials


@pytest.mark.parametrize("seeds", [2, 3, 5, 10])
def test_intervals_over_seeds_cover_about_95_percent(seeds: int) -> None:
    """Seed SD 2 points, 2,000 examples. 300 draws know 95% to 1.3 points: 3 SDs either side."""
    assert 0.91 <= covered(seeds, 0.02, 300) <= 0.99


@pytest.mark.parametrize("clustered", [False, True])
def test_with_one_seed_the_interval_covers_what_this_fit_would_score(clustered: bool) -> None:
    """The statement of a one-seed board: other test examples, the same fit."""
    rng = np.random.default_rng(7)
    clusters = np.repeat(np.arange(400), 5) if clustered else np.arange(2000)
    hits, trials, ones = 0, 1000, np.ones((1, 2000))
    for _ in range(trials):
        if clustered:
            chance = np.repeat(rng.beta(8.5, 1.5, 400), 5)
            right = (rng.random((1, 2000)) < chance).astype(float)
        else:
            right = (rng.random((1, 2000)) < 0.85).astype(float)
        low, high = examples_interval(right, ones, clusters, resamples=400)
        hits += low <= 0.85 <= high
    assert 0.93 <= hits / trials <= 0.97


def test_one_seed_of_entity_f1_over_documents_is_covered() -> None:
    rng = np.random.default_rng(3)
    documents, hits, trials = 300, 0, 600
    gold_mean, recall, precision = 4.0, 0.8, 0.8  # F1 of the population: 0.8
    clusters = np.arange(documents)
    for _ in range(trials):
        gold = rng.poisson(gold_mean * rng.gamma(4, 0.25, documents)).astype(float)
        found = rng.binomial(gold.astype(int), recall)
        wrong = rng.poisson(gold_mean * recall * (1 - precision) / precision, documents)
        num, den = 2.0 * found[None], (gold + found + wrong)[None].astype(float)
        low, high = examples_interval(num, den, clusters, resamples=400)
        hits += low <= 0.8 <= high
    assert 0.93 <= hits / trials <= 0.97


@pytest.mark.slow
@pytest.mark.parametrize("shared", [0.2, 0.5, 0.9])
@pytest.mark.parametrize("seed_sd", [0.0, 0.005, 0.02])
@pytest.mark.parametrize("seeds", [2, 3, 5, 10])
def test_intervals_over_seeds_cover_93_to_97_percent(
    seeds: int, seed_sd: float, shared: float
) -> None:
    """3,000 draws know 95% to 0.4 points; the bounds leave that much to either side."""
    found = covered(seeds, seed_sd, 3000, shared=shared, examples=1000)
    assert 0.93 - 0.008 <= found <= 0.97 + 0.008, found


@pytest.mark.parametrize("discordance", [0.05, 0.15])
def test_a_difference_of_the_resolution_is_found_in_about_four_of_five(discordance: float) -> None:
    rng = np.random.default_rng(11)
    examples, trials, clusters = 1500, 400, np.arange(1500)
    ones = np.ones((1, examples))
    variance = discordance / examples
    gap = detectable_difference([Component(variance, examples - 1)])
    found = 0
    for _ in range(trials):
        draw = rng.random(examples)
        only_a = draw < (discordance + gap) / 2
        only_b = (draw >= (discordance + gap) / 2) & (draw < discordance)
        a = np.where(only_b, 0.0, 1.0)[None]
        b = np.where(only_a, 0.0, 1.0)[None]
        found += paired_test(a, ones, b, ones, clusters).p_value <= 0.05
    assert 0.72 <= found / trials <= 0.88


def test_few_examples_show_nothing_smaller_than_mcnemar_can_reject() -> None:
    assert smallest_count(0.05) == 6
    assert stats.binomtest(0, 6).pvalue <= 0.05 < stats.binomtest(0, 5).pvalue
    assert resolution([[Component(0.0, 99)]], floor=6 / 100) == 0.06


def test_the_resolution_of_no_pair_is_unknown() -> None:
    assert resolution([]) is None
    assert resolution([[Component(float("nan"), 1)]]) is None


def test_more_seeds_resolve_finer_differences() -> None:
    two, five = (
        detectable_difference([Component(1e-5, 1999), Component(4e-4 / k, k - 1)]) for k in (2, 5)
    )
    assert five < two / 4
