"""Do 95% intervals of clustered F1 cover 95%? Entity F1 over documents, answer F1 over contexts.

Simulated predictions of which the truth is known, through `score_interval`, which boards call. The
quick part draws some hundreds of experiments, the long one (`slow`, minutes) thousands.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from scipy.stats import norm

from harness.stats.seeds import score_interval

SEEDS = [1, 2, 3, 5, 10]
#: nodes of Gauss and Hermite for the mean over seeds
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(40)


@dataclass(frozen=True)
class Errors:
    """Where errors come from: standard deviations on the scale of a standard normal.

    ``cluster`` and ``example``: difficulty that all seeds share; ``interaction``: which clusters
    this fit gets wrong; ``seed``: how good it is as a whole.
    """

    cluster: float = 0.5
    example: float = 0.4
    interaction: float = 0.4
    seed: float = 0.0

    @property
    def spread(self) -> float:
        """Of a single outcome given the seed, its own unit of noise included."""
        return float(np.sqrt(1 + self.cluster**2 + self.example**2 + self.interaction**2))

    def draw(
        self, rng: np.random.Generator, shifts: np.ndarray, clusters: np.ndarray
    ) -> np.ndarray:
        """How far each example helps each seed, without the unit of noise: (seeds, examples)."""
        count, seeds = clusters.max() + 1, len(shifts)
        shared = rng.normal(0, self.cluster, count)[clusters]
        shared = shared + rng.normal(0, self.example, len(clusters))
        own = rng.normal(0, self.interaction, (seeds, count))[:, clusters]
        return np.asarray(shifts[:, None] + shared + own)


#: numerators and denominators (seeds, examples), and clusters (examples,)
Draw = tuple[np.ndarray, np.ndarray, np.ndarray]
#: sentences of a long document; how much harder its entities are; wrong ones per missed one
LONG, HARDER, WRONG = 12, 0.4, 0.7


def entities(rng: np.random.Generator, shifts: np.ndarray, count: int, errors: Errors) -> Draw:
    """2 TP over 2 TP + FP + FN a sentence; every third document is long, and harder."""
    long = rng.random(count) < 1 / 3
    clusters = np.repeat(np.arange(count), np.where(long, LONG, rng.integers(1, 6, count)))
    level = 0.9 * errors.spread - HARDER * long[clusters]
    right = norm.cdf(level + errors.draw(rng, shifts, clusters))
    gold = rng.poisson(1.5, len(clusters))
    found = rng.binomial(gold, right)
    wrong = rng.poisson(1.5 * WRONG * (1 - right))
    return 2.0 * found, (gold + found + wrong).astype(float), clusters


def entities_truth(shifts: np.ndarray, errors: Errors) -> np.ndarray:
    levels = 0.9 * errors.spread - HARDER * np.array([[0.0], [1.0]])
    sentences = np.array([2 * 3, LONG])  # two documents of 1 to 5 for a long one
    right = sentences / sentences.sum() @ norm.cdf((levels + shifts) / errors.spread)
    return np.asarray(2 * right / (1 + right + WRONG * (1 - right)))


def answers(rng: np.random.Generator, shifts: np.ndarray, count: int, errors: Errors) -> Draw:
    """Overlap of an answer with the right one: 1, a half or 0; one to nine questions a context."""
    clusters = np.repeat(np.arange(count), rng.integers(1, 10, count))
    helped = errors.draw(rng, shifts, clusters) + rng.standard_normal((len(shifts), len(clusters)))
    overlap = ((helped > -1.0) * 1.0 + (helped > -0.6)) / 2
    return overlap, np.ones_like(overlap), clusters


def answers_truth(shifts: np.ndarray, errors: Errors) -> np.ndarray:
    levels = np.array([[1.0], [0.6]])
    return np.asarray(norm.cdf((levels + shifts) / errors.spread).mean(axis=0))


METRICS: dict[str, tuple[Callable[..., Draw], Callable[..., np.ndarray]]] = {
    "entity F1": (entities, entities_truth),
    "answer F1": (answers, answers_truth),
}
#: standard deviations of a seed's quality that come to 0, 0.5 and 2.4 points of either F1
SEED_SDS = [0.0, 0.02, 0.1]


def covered(metric: str, seeds: int, seed_sd: float, count: int, trials: int) -> float:
    """Share of intervals that hold the truth: with one seed what this fit would score on all that
    it may meet, with more the mean of that over all seeds."""
    draw, truth = METRICS[metric]
    errors = Errors(seed=seed_sd)
    rng = np.random.default_rng([seeds, count, round(1e4 * seed_sd)])
    over_seeds = _WEIGHTS @ truth(seed_sd * _NODES, errors) / _WEIGHTS.sum()
    hits = 0
    for _ in range(trials):
        shifts = rng.normal(0, seed_sd, seeds)
        score = score_interval(*draw(rng, shifts, count, errors), resamples=1000)
        target = truth(shifts, errors)[0] if seeds == 1 else over_seeds
        hits += score.low <= target <= score.high
    return hits / trials


@pytest.mark.parametrize("metric", METRICS)
def test_the_truth_is_what_very_many_examples_score(metric: str) -> None:
    draw, truth = METRICS[metric]
    shifts = np.array([-0.3, 0.0, 0.3])
    num, den, _ = draw(np.random.default_rng(0), shifts, 20_000, Errors())
    assert num.sum(axis=1) / den.sum(axis=1) == pytest.approx(truth(shifts, Errors()), abs=0.008)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("seeds", SEEDS)
def test_intervals_of_clustered_f1_cover_about_95_percent(metric: str, seeds: int) -> None:
    """100 clusters. 300 draws know 95% to 1.3 points: 3 SDs either side."""
    assert 0.91 <= covered(metric, seeds, 0.02, 100, 300) <= 0.99


@pytest.mark.slow
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("count", [50, 200])
@pytest.mark.parametrize("seed_sd", SEED_SDS)
@pytest.mark.parametrize("seeds", SEEDS)
def test_intervals_of_clustered_f1_cover_93_to_97_percent(
    metric: str, count: int, seed_sd: float, seeds: int
) -> None:
    """3,000 draws know 95% to 0.4 points; the bounds leave that much to either side."""
    found = covered(metric, seeds, seed_sd, count, 3000)
    assert 0.93 - 0.008 <= found <= 0.97 + 0.008, found


@pytest.mark.slow
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("seeds", SEEDS)
def test_twenty_clusters_are_few_and_cost_up_to_four_points(metric: str, seeds: int) -> None:
    """As docs/statistics.md says: skewed sums of so few are not yet normal."""
    assert 0.91 - 0.008 <= covered(metric, seeds, 0.02, 20, 3000) <= 0.97 + 0.008
