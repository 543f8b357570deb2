"""Intervals for a score over the test examples: cluster bootstrap, and Wilson's for proportions.

Sources: Davison and Hinkley, *Bootstrap Methods and their Application* (1997), 2.4 and 3.8
(clusters as units, percentile limits); Hesterberg, *What Teachers Should Know about the
Bootstrap*, The American Statistician 69 (2015) (expanded percentiles); Wilson, JASA 22 (1927).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from scipy.special import ndtr, ndtri, stdtrit

from harness.stats.clusters import cluster_sums, distinct, mean_ratio

#: Percentile limits of 2,000 resamples move by about 3% of the half-width from seed to seed
RESAMPLES = 2000
LEVEL = 0.95

#: Drawing one multinomial count costs about as much as adding up this many clusters' values
_COUNT_COST = 60
#: Counts per block: bounds the memory at 32 MB an array
_BLOCK = 4_000_000
#: Counts that are kept for the next row of the same task; beyond it they are drawn again
_KEPT = 100_000_000


class Interval(NamedTuple):
    """Both limits; NaN where there is nothing to say."""

    low: float
    high: float


UNKNOWN = Interval(float("nan"), float("nan"))


def wilson(successes: float, trials: int, level: float = LEVEL) -> Interval:
    """Wilson's score interval of a proportion; good down to few trials, and at 0 and 1."""
    if trials == 0:
        return UNKNOWN
    z2 = float(ndtri((1 + level) / 2)) ** 2
    share = successes / trials
    centre = (share + z2 / (2 * trials)) / (1 + z2 / trials)
    half = np.sqrt(z2 * (share * (1 - share) / trials + z2 / (4 * trials**2))) / (1 + z2 / trials)
    low = 0.0 if successes == 0 else float(centre - half)
    high = 1.0 if successes == trials else float(centre + half)
    return Interval(low, high)


def resampled_sums(rows: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """Column sums of ``resamples`` bootstrap samples of the clusters.

    ``rows``: (clusters, columns). Returns (resamples, columns). The same seed draws the same
    clusters for every row of a task, so that they are drawn once and each row is one product of
    matrices; with few distinct clusters (0/1 scores) only their numbers are drawn.
    """
    count = len(rows)
    kinds, times = distinct(rows)
    if len(kinds) * _COUNT_COST <= count:
        rng = np.random.default_rng(seed)
        return rng.multinomial(count, times / count, size=resamples) @ kinds
    if count * resamples <= _KEPT:
        counts = _kept_counts(count, resamples, seed)
        return np.concatenate([block @ rows for block in _blocks(counts)])
    rng, sums, block = np.random.default_rng(seed), [], max(1, _BLOCK // count)
    for start in range(0, resamples, block):
        sums.append(_counts(count, min(block, resamples - start), rng).astype(float) @ rows)
    return np.concatenate(sums)


@lru_cache(maxsize=2)
def _kept_counts(count: int, resamples: int, seed: int) -> np.ndarray:
    rng, block = np.random.default_rng(seed), max(1, _BLOCK // count)
    parts = [
        _counts(count, min(block, resamples - start), rng) for start in range(0, resamples, block)
    ]
    return np.concatenate(parts)


def _counts(count: int, resamples: int, rng: np.random.Generator) -> np.ndarray:
    """How often each of ``count`` clusters is drawn, (resamples, count) in bytes."""
    drawn = rng.integers(0, count, (resamples, count), dtype=np.int32)
    places = drawn + np.arange(resamples, dtype=np.int64)[:, None] * count
    times = np.bincount(places.ravel(), minlength=resamples * count)
    # a cluster drawn more than 255 times in count draws: less likely than 1e-500
    return times.reshape(resamples, count).astype(np.uint8)


def _blocks(counts: np.ndarray) -> Iterator[np.ndarray]:
    step = max(1, _BLOCK // counts.shape[1])
    for start in range(0, len(counts), step):
        yield counts[start : start + step].astype(float)


def bootstrap_interval(
    num: np.ndarray,
    den: np.ndarray,
    clusters: np.ndarray,
    *,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Expanded percentile interval of the score over resampled clusters; seeds are kept.

    Clusters are drawn once for all seeds, since all seeds saw the same test examples. Samples
    whose denominator sums to zero (no entity drawn) are left out. NaN for fewer than two clusters.
    """
    num, den = one_ratio(num, den)
    seeds = len(num)
    rows = np.concatenate([cluster_sums(num, clusters), cluster_sums(den, clusters)]).T
    sums = resampled_sums(rows, resamples, seed)
    return resampled_interval(mean_ratios(sums[:, :seeds], sums[:, seeds:]), len(rows), level)


def resampled_interval(samples: np.ndarray, clusters: int, level: float) -> Interval:
    """Expanded percentile interval of scores, or of differences, over so many resampled clusters.

    The variance among resamples of n clusters is too small by (n - 1) / n, and their percentiles
    are those of a normal, not of Student's t with n - 1 degrees of freedom: of 20 clusters plain
    ones cover 89 to 92% where 95% is claimed. NaN for fewer than two clusters.
    """
    if clusters < 2:
        return UNKNOWN
    t = stdtrit(clusters - 1, (1 + level) / 2) * np.sqrt(clusters / (clusters - 1))
    return percentile(samples, float(1 - 2 * ndtr(-t)))


def one_ratio(num: np.ndarray, den: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Seeds with equal denominators (accuracy, exact match) as one: their mean is one ratio."""
    if len(num) > 1 and (den == den[0]).all():
        return num.mean(axis=0, keepdims=True), den[:1]
    return num, den


def percentile(samples: np.ndarray, level: float) -> Interval:
    """The central ``level`` of resampled scores, NaN ones left out."""
    samples = samples[np.isfinite(samples)]
    if not len(samples):
        return UNKNOWN
    low, high = np.quantile(samples, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high))


def examples_interval(
    num: np.ndarray,
    den: np.ndarray,
    clusters: np.ndarray,
    *,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """The interval that fits the data, for uncertainty of the test examples only.

    - One seed, 0/1 scores, every example its own cluster: Wilson.
    - A score of exactly 0 or 1: no resample can differ from it, so a bootstrap would claim
      certainty; Wilson over the clusters instead, each counted as one trial.
    - Anything else: cluster bootstrap.
    """
    count = len(np.unique(clusters))
    if is_proportion(num, den) and len(num) == 1 and count == num.shape[1]:
        return wilson(float(num.sum()), count, level)
    score = mean_ratio(num, den)
    if is_share(num, den) and score in (0.0, 1.0):
        return wilson(score * count, count, level)
    return bootstrap_interval(num, den, clusters, level=level, resamples=resamples, seed=seed)


def is_proportion(num: np.ndarray, den: np.ndarray) -> bool:
    """True where every example scores 0 or 1 out of 1 (accuracy, exact match)."""
    return bool(np.all(den == 1) and np.all((num == 0) | (num == 1)))


def is_share(num: np.ndarray, den: np.ndarray) -> bool:
    """True where 0 <= num <= den throughout, so that the score cannot leave [0, 1]."""
    return bool(np.all(num >= 0) and np.all(num <= den))


def mean_ratios(num: np.ndarray, den: np.ndarray) -> np.ndarray:
    """Mean over seeds of ratios, one a resample: (resamples, seeds) twice to (resamples,)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.mean(num / den, axis=1)
