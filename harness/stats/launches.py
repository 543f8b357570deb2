"""Intervals over launches: a launch is one fresh process, and the replicate.

Times are positive and vary by factors, so everything here works on logarithms: a centre is a
geometric mean, a difference is a ratio. Samples within a launch share its memory layout, its
thread placement and its moment; only launches are independent (Kalibera and Jones, "Rigorous
Benchmarking in Reasonable Time", ISMM 2013).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtr, stdtrit  # scipy.stats takes half a second to import

#: Fewest launches an arm from which `launch_ratio` draws an interval
FEWEST = 2


@dataclass(frozen=True)
class LaunchInterval:
    """A figure over launches; ``low`` and ``high`` are None with a single launch."""

    centre: float
    low: float | None
    high: float | None
    launches: int

    @property
    def relative_width(self) -> float | None:
        """(high - low) / centre."""
        if self.low is None or self.high is None:
            return None
        return (self.high - self.low) / self.centre


def launch_interval(values: Sequence[float], level: float = 0.95) -> LaunchInterval | None:
    """Geometric mean of launches' figures with Student's t interval of their logarithms.

    ``values``: one positive figure a launch. None where there is none, or one is not positive.
    """
    logs = _logs(values)
    if logs is None:
        return None
    n = len(logs)
    centre = float(logs.mean())
    if n < FEWEST:
        return LaunchInterval(math.exp(centre), None, None, n)
    half = float(stdtrit(n - 1, 0.5 + level / 2) * logs.std(ddof=1) / math.sqrt(n))
    return LaunchInterval(math.exp(centre), math.exp(centre - half), math.exp(centre + half), n)


@dataclass(frozen=True)
class LaunchRatio:
    """Head over base; ``p_value`` is of no difference, two-sided."""

    ratio: float
    low: float
    high: float
    p_value: float
    launches: tuple[int, int]


def launch_ratio(
    base: Sequence[float], head: Sequence[float], level: float = 0.95
) -> LaunchRatio | None:
    """Ratio of geometric means, head over base, with Welch's interval of the log-ratio.

    Arms may differ in number and spread. None where an arm has fewer than two launches or a figure
    that is not positive.
    """
    a, b = _logs(base), _logs(head)
    if a is None or b is None or min(len(a), len(b)) < FEWEST:
        return None
    difference = float(b.mean() - a.mean())
    va, vb = a.var(ddof=1) / len(a), b.var(ddof=1) / len(b)
    error = math.sqrt(va + vb)
    if error == 0:
        p = 1.0 if difference == 0 else 0.0
        ratio = math.exp(difference)
        return LaunchRatio(ratio, ratio, ratio, p, (len(a), len(b)))
    freedom = (va + vb) ** 2 / (va**2 / (len(a) - 1) + vb**2 / (len(b) - 1))
    half = float(stdtrit(freedom, 0.5 + level / 2)) * error
    p = float(2 * stdtr(freedom, -abs(difference) / error))
    return LaunchRatio(
        math.exp(difference),
        math.exp(difference - half),
        math.exp(difference + half),
        p,
        (len(a), len(b)),
    )


def _logs(values: Sequence[float]) -> np.ndarray | None:
    array = np.asarray(values, float)
    if not len(array) or not np.all(np.isfinite(array) & (array > 0)):
        return None
    return np.log(array)
