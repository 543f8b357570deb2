"""Two sources of chance in a score: which examples were drawn, and which seed trained the model.

With k >= 2 seeds a score is the mean m of k fits' scores on one test set, and

    variance(m) = e + s^2 / k

where s^2 is the sample variance of the seeds' scores and e the variance of m over test examples.
A seed's own score carries the seed-by-example interaction (which examples *this* fit got wrong),
and so does the variance of m over examples; it is taken out of the second, to be counted once:

    e = v - i,    i = G / (G - 1) * sum_jc (r_jc - mean_j r_jc)^2 / (k (k - 1))

with v the variance of m over examples, seeds held fixed, and r_jc the influence of cluster c on
the score of seed j (`harness.stats.clusters.influence_by_seed`): the residual mean square of a
two-way layout without replication (Scheffe, *The Analysis of Variance*, 1959, 8.1).

e is known well (thousands of examples) and s^2 badly (k - 1 degrees of freedom), so the two must
not be added and multiplied by one quantile. The half-width h combines variances v_i known with
quantiles t_i (of Student's t at their degrees of freedom), V being their sum, as

    h^2 = ( sum_i t_i^2 v_i^2  +  sum_{i<j} 2 c_ij v_i v_j ) / V
    c_ij = 3/4 min(t_i, t_j)^2 + 1/4 t_i t_j

With c_ij = t_i t_j this is the approximation of Cochran and Cox (*Experimental Designs*, 1957,
4.14), which covers up to 97.8% with two seeds, as does the root of squares t_i^2 v_i (Howe, JASA
69, 1974) up to 98.7%, while one Satterthwaite quantile falls to 87%. The weight 1/4 is
calibrated: by numerical integration, with 2 seeds or more and any ratio of the two variances,
coverage at 95% lies between 93 and 97% (`tests/test_stats_coverage.py`). It is exact where one
variance is nothing, and where both are known equally well.

Bounds that lie unequally far from the score keep their own sides: each side is combined with the
seeds for itself (Zou and Donner, *Statistics in Medicine* 27, 2008).

Assumptions: seeds are independent draws with about normal scores; examples and seeds act
additively. With two seeds t is 12.7: a wide interval is then the honest answer. Resampling the
seeds instead (bootstrap) covers 77% to 91% where 95% is claimed, for 2 to 5 seeds.

With one seed nothing is known of s^2, and the interval covers the examples only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from scipy.special import ndtri, stdtrit

from harness.stats.bootstrap import (
    LEVEL,
    RESAMPLES,
    Interval,
    examples_interval,
    is_share,
)
from harness.stats.clusters import (
    influence_by_seed,
    influence_variance,
    interaction_variance,
    mean_ratio,
)

Basis = Literal["examples", "examples+seeds"]

#: How far the half-width leans to Cochran and Cox's: the calibration that the module explains
COCHRAN_WEIGHT = 0.25


class Component(NamedTuple):
    """One source of variance of an estimate, and the degrees of freedom it is known with."""

    variance: float
    freedom: float


@dataclass(frozen=True)
class Score:
    """A score with its interval, and what the interval covers."""

    value: float
    low: float
    high: float
    basis: Basis


def seed_component(scores: Sequence[float] | np.ndarray) -> Component | None:
    """Variance of the mean of independent seeds' scores; None with fewer than two."""
    count = len(scores)
    if count < 2:
        return None
    return Component(float(np.var(scores, ddof=1)) / count, count - 1)


def pooled(parts: Sequence[Component]) -> Component | None:
    """Variance of a difference of independent means, each with its own; None for no part.

    Degrees of freedom: Welch, *Biometrika* 34 (1947), and Satterthwaite (1946).
    """
    if not parts:
        return None
    total = sum(part.variance for part in parts)
    if total == 0:
        return Component(0.0, sum(part.freedom for part in parts))
    spread = sum(part.variance**2 / part.freedom for part in parts)
    return Component(total, total**2 / spread)


def half_width(components: Sequence[Component], level: float = LEVEL) -> float:
    """Half the interval of an estimate with these sources of variance (the formula above)."""
    total = sum(part.variance for part in components)
    if total == 0:
        return 0.0
    quantiles = [_quantile(part.freedom, level) for part in components]
    square = 0.0
    for i, (part, t) in enumerate(zip(components, quantiles, strict=True)):
        square += (t * part.variance) ** 2
        for other, u in zip(components[:i], quantiles[:i], strict=True):
            cross = (1 - COCHRAN_WEIGHT) * min(t, u) ** 2 + COCHRAN_WEIGHT * t * u
            square += 2 * cross * part.variance * other.variance
    return math.sqrt(square / total)


def _quantile(freedom: float, level: float) -> float:
    tail = (1 + level) / 2
    return float(ndtri(tail) if math.isinf(freedom) else stdtrit(freedom, tail))


def two_sided_p(difference: float, components: Sequence[Component]) -> float:
    """The p-value that goes with `half_width`: 1 - level at which the interval just meets zero.

    1.0 where the difference is zero; NaN variances count as "nothing known": 1.0.
    """
    if difference == 0 or any(np.isnan(part.variance) for part in components):
        return 1.0
    smallest, largest = 1e-12, 1.0  # half_width grows without bound as p falls
    for _ in range(60):
        middle = math.sqrt(smallest * largest)
        if half_width(components, 1 - middle) > abs(difference):
            smallest = middle
        else:
            largest = middle
    return largest


def widen(
    value: float,
    interval: Interval,
    clusters: int,
    seeds: Component,
    level: float,
    kept: float,
) -> Interval:
    """An interval over the examples of so many clusters, widened by the seeds' variance (the
    formula above).

    ``kept``: the share of the examples' variance that the seeds' does not hold already.
    """
    freedom = max(1, clusters - 1)
    t = _quantile(freedom, level)
    low, high = (
        half_width([Component(kept * (side / t) ** 2, freedom), seeds], level)
        for side in (value - interval.low, interval.high - value)
    )
    return Interval(value - low, value + high)


def kept_share(influences: Sequence[np.ndarray]) -> float:
    """1 - i / v of the formula above, between 0 and 1.

    ``influences``: (seeds, clusters) of one system, or of both sides of a difference; the
    variance of the estimate is that of the difference of their means.
    """
    mean = influences[0].mean(axis=0)
    for other in influences[1:]:
        mean = mean - other.mean(axis=0)
    whole = influence_variance(mean)
    if not whole > 0:
        return 1.0
    return float(np.clip(1 - sum(map(interaction_variance, influences)) / whole, 0.0, 1.0))


def score_interval(
    num: np.ndarray,
    den: np.ndarray,
    clusters: np.ndarray,
    *,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Score:
    """A row's score with the interval that its seeds allow.

    ``num``, ``den``: (seeds, examples); ``clusters``: (examples,). Where the score cannot leave
    [0, 1], neither can the interval.
    """
    value = mean_ratio(num, den)
    interval = examples_interval(num, den, clusters, level=level, resamples=resamples, seed=seed)
    seeds = seed_component(num.sum(axis=1) / den.sum(axis=1))
    if seeds is not None:
        influences = influence_by_seed(num, den, clusters)
        kept = kept_share([influences])
        interval = widen(value, interval, influences.shape[1], seeds, level, kept)
    low, high = interval
    if is_share(num, den):
        low, high = max(low, 0.0), min(high, 1.0)
    return Score(value, low, high, "examples" if seeds is None else "examples+seeds")
