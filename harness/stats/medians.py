"""The interval of a median that needs no distribution."""

from __future__ import annotations

import math
from collections.abc import Sequence


def median_interval(values: Sequence[float], level: float = 0.95) -> tuple[float, float] | None:
    """(low, high) around the median of independent values, by order statistics; None if too few.

    The interval between the k-th smallest and the k-th largest of n values misses the median with
    probability 2 P(Bin(n, 1/2) < k), whatever their distribution (Conover, Practical Nonparametric
    Statistics, 3rd ed. 1999, 3.2). k is the largest with at most 1 - level; at 95% that takes six
    values at least.
    """
    n = len(values)
    tail, k = 0.0, 0
    while k < n:
        tail += math.comb(n, k) * 0.5**n
        if 2 * tail > 1 - level:
            break
        k += 1
    if k == 0:
        return None
    ordered = sorted(values)
    return ordered[k - 1], ordered[n - k]


def relative_half_width(values: Sequence[float], level: float = 0.95) -> float | None:
    """Half of `median_interval` over the median; None where there is no interval."""
    interval = median_interval(values, level)
    if interval is None:
        return None
    low, high = interval
    ordered = sorted(values)
    n = len(ordered)
    median = (ordered[(n - 1) // 2] + ordered[n // 2]) / 2
    return (high - low) / 2 / median if median > 0 else None
