"""The interval of a median that needs no distribution."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction


def median_interval(values: Sequence[float], level: float = 0.95) -> tuple[float, float] | None:
    """(low, high) around the median of independent values, by order statistics; None if too few.

    The interval between the k-th smallest and the k-th largest of n values misses the median with
    probability 2 P(Bin(n, 1/2) < k), whatever their distribution (Conover, Practical Nonparametric
    Statistics, 3rd ed. 1999, 3.2). k is the largest with at most 1 - level; at 95% that takes six
    values at least.

    Counted in whole numbers: no float holds the binomial coefficients of n > 1,029, and launches,
    which ask after every block, are to measure a runtime and not the import of scipy.
    """
    n = len(values)
    allowed = Fraction(1 - level) / 2 * 2**n  # subsets of n, of the 2^n
    k, ways, smaller = 0, 1, 1  # subsets of k, and of k at most
    while smaller <= allowed:
        k += 1
        ways = ways * (n - k + 1) // k
        smaller += ways
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
