"""Intervals over launches: a launch is one fresh process, and the replicate.

Times are positive and vary by factors, so a centre is a geometric mean, and its interval that of
the logarithms; two things' launches are compared by `harness.stats.log_ratio`. Samples within a
launch share its memory layout, its thread placement and its moment; only launches are independent
(Kalibera and Jones, "Rigorous Benchmarking in Reasonable Time", ISMM 2013).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit  # scipy.stats takes half a second to import

#: Fewest launches that have an interval
FEWEST = 2


@dataclass(frozen=True)
class LaunchInterval:
    """A figure over launches; ``low`` and ``high`` are None with a single launch."""

    centre: float
    low: float | None
    high: float | None
    launches: int


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


def _logs(values: Sequence[float]) -> np.ndarray | None:
    array = np.asarray(values, float)
    if not len(array) or not np.all(np.isfinite(array) & (array > 0)):
        return None
    return np.log(array)
