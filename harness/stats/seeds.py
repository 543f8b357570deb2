"""Two sources of chance in a score: which examples were drawn, and which seed trained the model.

With k >= 2 seeds a score is the mean m of k fits' scores on one test set, and

    variance(m) = v_examples + s^2 / k

where v_examples is the variance of m over test examples, seeds held fixed, and s^2 the sample
variance of the seeds' scores. The first is known well (thousands of examples), the second badly
(k - 1 degrees of freedom), so the two must not be added and multiplied by one normal quantile.
Each half-width is taken at its own degrees of freedom, and the half-widths are combined as a
root of squares:

    low  = m - sqrt((m - low_examples)^2  + t_{k-1}^2 s^2 / k)
    high = m + sqrt((high_examples - m)^2 + t_{k-1}^2 s^2 / k)

Sources: Howe, JASA 69 (1974), for the sum of two means whose variances are known unequally
well; Zou and Donner, *Statistics in Medicine* 27 (2008), for the form with unequal sides
("MOVER").

Assumptions: seeds are independent draws with about normal scores; examples and seeds act
additively. A seed-by-example interaction is counted in both terms, which errs to the wide side.
With two seeds t is 12.7: a wide interval is then the honest answer. Resampling the seeds instead
(bootstrap) covers 77% to 91% where 95% is claimed, for 2 to 5 seeds.

With one seed nothing is known of s^2, and the interval covers the examples only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from scipy.special import stdtrit

from harness.stats.bootstrap import (
    LEVEL,
    RESAMPLES,
    Interval,
    examples_interval,
    is_share,
)
from harness.stats.clusters import mean_ratio

Basis = Literal["examples", "examples+seeds"]


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


def half_width(components: Sequence[Component], level: float = LEVEL) -> float:
    """Root of the sum of squared half-widths, each at its own degrees of freedom."""
    squares = [
        float(stdtrit(part.freedom, (1 + level) / 2)) ** 2 * part.variance for part in components
    ]
    return float(np.sqrt(sum(squares)))


def two_sided_p(difference: float, components: Sequence[Component]) -> float:
    """The p-value that goes with `half_width`: 1 - level at which the interval just meets zero.

    1.0 where the difference is zero; NaN variances count as "nothing known": 1.0.
    """
    if difference == 0 or any(np.isnan(part.variance) for part in components):
        return 1.0
    smallest, largest = 1e-12, 1.0  # half_width grows without bound as p falls
    for _ in range(60):
        middle = float(np.sqrt(smallest * largest))
        if half_width(components, 1 - middle) > abs(difference):
            smallest = middle
        else:
            largest = middle
    return largest


def widen(value: float, interval: Interval, seeds: Component | None, level: float) -> Interval:
    """An interval over examples, widened by the seeds' variance (the formula above)."""
    if seeds is None:
        return interval
    extra = half_width([seeds], level)
    return Interval(
        value - float(np.hypot(value - interval.low, extra)),
        value + float(np.hypot(interval.high - value, extra)),
    )


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
    low, high = widen(value, interval, seeds, level)
    if is_share(num, den):
        low, high = max(low, 0.0), min(high, 1.0)
    return Score(value, low, high, "examples" if seeds is None else "examples+seeds")
