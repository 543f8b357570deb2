"""Percentiles that a sample can carry, and none that it cannot."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

#: Percentiles that are reported, where the samples carry them.
REPORTED = {"latency_p50_ms": 0.5, "latency_p90_ms": 0.9, "latency_p99_ms": 0.99}


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

    The value is the ceil(q (n + 1))-th smallest sample (a latency that was really seen, no
    interpolation), or None where the sample is smaller than `samples_needed`. It is the smallest
    one that the next call exceeds with probability 1 - q at most, as the next call is equally
    likely to fall into each of the n + 1 gaps between n exchangeable ones (Weibull's plotting
    position; Hyndman and Fan, The American Statistician 50, 1996, type 6, rounded up). So a pause
    on every hundredth call is in the p99, whatever the number of samples.
    """
    needed = samples_needed(q, confidence)
    count = len(samples)
    if count < needed:
        return None, needed
    # the product is meant exactly: 0.07 * 100 is 7.000000000000001 in floating point
    rank = math.ceil(round(q * (count + 1), 9))
    return float(sorted(samples)[min(max(rank, 1), count) - 1]), needed


def percentiles(samples_ms: Sequence[float]) -> dict[str, Any]:
    """p50, p90 and p99 in ms; None, with the reason, where there are too few samples."""
    facts: dict[str, Any] = {}
    for name, q in REPORTED.items():
        facts[name], needed = percentile(samples_ms, q)
        if facts[name] is None:
            facts[f"{name}_reason"] = f"{len(samples_ms)} samples; a 95% upper bound needs {needed}"
    return facts
