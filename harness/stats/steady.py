"""Has a series of blocks settled? A trend and a changepoint test on few values.

Programs warm up in steps and slopes, and some never settle (Barrett et al., "Virtual Machine
Warmup Blows Hot and Cold", OOPSLA 2017). Both tests work on ranks, so that one slow block does not
decide, and both must find something *and* it must be large: with many blocks the smallest drift is
significant, and no reader minds it.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

#: Level of each test. Two looks at every series, so half of the usual 5%, rounded down.
LEVEL = 0.02
#: A change smaller than this is not worth a warning: equal launches of one loop differ by 3.3%
#: (coefficient of variation of medians, 36 launches, shared machine).
CHANGE = 0.05
#: Below so many blocks even a perfect trend is not significant (2 / 5! > 1%).
FEWEST = 6


def trend_p(values: Sequence[float]) -> float:
    """Two-sided p of no monotone trend (Mann 1945; Kendall 1975): the normal approximation with
    continuity correction, ties allowed for; 1.0 for fewer than three values.

    At n = 6 a perfect trend has p = 0.009 (exact: 0.003).
    """
    n = len(values)
    if n < 3:
        return 1.0
    s = sum(
        (values[j] > values[i]) - (values[j] < values[i]) for i in range(n) for j in range(i + 1, n)
    )
    ties = sum(t * (t - 1) * (2 * t + 5) for t in map(list(values).count, set(values)))
    variance = (n * (n - 1) * (2 * n + 5) - ties) / 18
    if variance <= 0 or s == 0:
        return 1.0
    return math.erfc((abs(s) - 1) / math.sqrt(variance) / math.sqrt(2))


def changepoint(values: Sequence[float]) -> tuple[int, float]:
    """(index where the second part begins, p of no change) by Pettitt's test (Applied Statistics
    28, 1979), which is a rank-sum test at the most telling split; p is his approximation, somewhat
    too large for few values, so that it errs towards calling a short series settled."""
    n = len(values)
    if n < 2:
        return n, 1.0
    best, at = 0, n
    for split in range(1, n):
        u = sum((b > a) - (b < a) for a in values[:split] for b in values[split:])
        if abs(u) > best:
            best, at = abs(u), split
    return at, min(1.0, 2 * math.exp(-6 * best**2 / (n**3 + n**2)))


def settled(values: Sequence[float]) -> bool:
    """No trend and no step that is both significant (`LEVEL`) and larger than `CHANGE`."""
    if len(values) < FEWEST:
        return True
    third = max(2, len(values) // 3)
    start, end = statistics.median(values[:third]), statistics.median(values[-third:])
    if trend_p(values) < LEVEL and _far_apart(start, end):
        return False
    at, p = changepoint(values)
    if p >= LEVEL or not 0 < at < len(values):
        return True
    return not _far_apart(statistics.median(values[:at]), statistics.median(values[at:]))


def steady_from(values: Sequence[float], fewest: int = FEWEST) -> int | None:
    """The first block from which on the series is `settled`, with at least ``fewest`` left.

    None where no such block exists: it is still changing, or too short to be told.
    """
    for first in range(max(0, len(values) - fewest + 1)):
        if settled(values[first:]):
            return first
    return None


def _far_apart(a: float, b: float) -> bool:
    return abs(math.log(b / a)) > math.log1p(CHANGE) if a > 0 and b > 0 else a != b
