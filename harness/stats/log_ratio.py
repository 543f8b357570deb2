"""How many times slower? The log-ratio of two things' launches, with its interval.

A launch (a fresh process) yields one figure, such as its median latency; launches, not the
samples within one, are the independent draws. Ratios are compared as logarithms: noise that
multiplies becomes additive, and "10% slower" and "10% faster" lie equally far from nothing.

- interleaved launches (pair i of both sides ran next to each other): Student's t on the pairs'
  differences, so that a drift of the machine, which hits both, cancels
- anything else: Welch's t, *Biometrika* 34 (1947), plus ``between``: what one hour of a shared
  machine differs from another, which no number of launches within either can tell
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri, stdtr, stdtrit

LEVEL = 0.95


@dataclass(frozen=True)
class Estimate:
    """A difference (here of logarithms), its interval and two-sided p; NaN where unknown.

    ``spread``: standard deviation of one pair's difference (of a launch of each side, where they
    are not paired); ``count``: pairs, or launches of the smaller side.
    """

    value: float
    low: float
    high: float
    p_value: float
    spread: float
    count: int


def paired_log_ratio(base: np.ndarray, head: np.ndarray, level: float = LEVEL) -> Estimate:
    """log(head / base) of pairs, (pairs,) each and positive; no interval for one pair."""
    difference = np.log(head) - np.log(base)
    count = len(difference)
    if count < 2:
        return _unknown(float(difference.mean()) if count else float("nan"), count)
    spread = float(difference.std(ddof=1))
    error = spread / np.sqrt(count)
    return _estimate(float(difference.mean()), error, count - 1, 0.0, spread, count, level)


def welch_log_ratio(
    base: np.ndarray, head: np.ndarray, between: float = 0.0, level: float = LEVEL
) -> Estimate:
    """log(head / base) of independent launches, (launches,) each and positive.

    ``between``: standard deviation, in logarithms, of one side's level from session to session.
    Half-widths of the two sources are combined as a root of squares, as in `harness.stats.seeds`.
    """
    a, b = np.log(base), np.log(head)
    value, count = float(b.mean() - a.mean()), min(len(a), len(b))
    if count < 2:
        return _unknown(value, count)
    var_a, var_b = a.var(ddof=1) / len(a), b.var(ddof=1) / len(b)
    error = float(np.sqrt(var_a + var_b))
    spread = float(np.sqrt(a.var(ddof=1) + b.var(ddof=1)))
    if error == 0:
        freedom = float(count - 1)
    else:
        freedom = (var_a + var_b) ** 2 / (var_a**2 / (len(a) - 1) + var_b**2 / (len(b) - 1))
    return _estimate(value, error, freedom, between * np.sqrt(2), spread, count, level)


def one_sided_p(estimate: Estimate, sign: int) -> float:
    """p of "there is no change towards ``sign``" from a two-sided p; NaN becomes 1."""
    if np.isnan(estimate.p_value):
        return 1.0
    half = estimate.p_value / 2
    return half if estimate.value * sign > 0 else 1 - half


def _estimate(
    value: float,
    error: float,
    freedom: float,
    extra: float,
    spread: float,
    count: int,
    level: float,
) -> Estimate:
    t = float(stdtrit(freedom, (1 + level) / 2))
    half = float(np.hypot(t * error, float(ndtri((1 + level) / 2)) * extra))
    scale = half / t
    p = 1.0 if value == 0 else 0.0
    if scale > 0:
        p = 2 * float(stdtr(freedom, -abs(value) / scale))
    return Estimate(value, value - half, value + half, p, spread, count)


def _unknown(value: float, count: int) -> Estimate:
    nan = float("nan")
    return Estimate(value, nan, nan, nan, nan, count)
