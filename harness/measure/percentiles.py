"""Percentiles that a sample can carry, and none that it cannot."""

from __future__ import annotations

import math
from collections.abc import Sequence


def samples_needed(q: float, confidence: float = 0.95) -> int:
    """The smallest sample whose largest value bounds the q-quantile from above.

    The q-quantile lies above all of n independent samples with probability q**n, whatever their
    distribution, so a distribution-free upper bound exists only if 1 - q**n >= confidence (Wilks
    1941; Conover, Practical Nonparametric Statistics, 3rd ed. 1999, 3.3 on tolerance limits).
    At 95%: 5 for the median, 29 for p90, 299 for p99.
    """
    if not 0 < q < 1 or not 0 < confidence < 1:
        raise ValueError(f"q and confidence lie between 0 and 1, not {q} and {confidence}")
    needed = max(1, math.ceil(math.log1p(-confidence) / math.log(q)))
    # the quotient may round across an integer
    while needed > 1 and 1 - q ** (needed - 1) >= confidence:
        needed -= 1
    while 1 - q**needed < confidence:
        needed += 1
    return needed


def percentile(
    samples: Sequence[float], q: float, confidence: float = 0.95
) -> tuple[float | None, int]:
    """The q-quantile as an order statistic, and how many samples it needs.

    The value is the ceil(q n)-th smallest sample (a latency that was really seen, no
    interpolation), or None where the sample is smaller than `samples_needed`.
    """
    needed = samples_needed(q, confidence)
    count = len(samples)
    if count < needed:
        return None, needed
    # q * n is meant exactly: 0.07 * 100 is 7.000000000000001 in floating point
    rank = math.ceil(round(q * count, 9))
    return float(sorted(samples)[max(rank, 1) - 1]), needed
