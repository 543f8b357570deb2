"""Has a series of blocks settled? A trend and a changepoint test on few values.

Programs warm up in steps and slopes, and some never settle (Barrett et al., "Virtual Machine
Warmup Blows Hot and Cold", OOPSLA 2017). Both tests work on ranks, so that one slow block does not
decide, and both must find something *and* it must be large: with many blocks the smallest drift is
significant, and no reader minds it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

#: Level of each test. Two looks at every series, so half of the usual 5%, rounded down.
LEVEL = 0.02
#: A change smaller than this is not worth a warning: equal launches of one loop differ by 3.3%
#: (coefficient of variation of medians, 36 launches, shared machine).
CHANGE = 0.05
#: Below so many blocks even a perfect trend is not significant: `trend_p` of five is 2.7%, above
#: `LEVEL` (its approximation errs to that side: exactly it is 2 / 5! = 1.7%).
FEWEST = 6
#: Share of the blocks that may be cut off as a warm-up. With more, a slope always ends in a stretch
#: too short to show it; a series that needs more is too short to be told (as for MSER: Hoad et al.,
#: Journal of the Operational Research Society 61, 2010).
MOST_CUT = 0.5


def trend_p(values: Sequence[float]) -> float:
    """Two-sided p of no monotone trend (Mann 1945; Kendall 1975): the normal approximation with
    continuity correction, ties allowed for; 1.0 for fewer than three values.

    At n = 6 a perfect trend has p = 0.009 (exact: 0.003).
    """
    n = len(values)
    if n < 3:
        return 1.0
    s = int(np.triu(_signs(values)).sum())
    ties = sum(t * (t - 1) * (2 * t + 5) for t in np.unique(values, return_counts=True)[1].tolist())
    variance = (n * (n - 1) * (2 * n + 5) - ties) / 18
    if variance <= 0 or s == 0:
        return 1.0
    return math.erfc((abs(s) - 1) / math.sqrt(variance) / math.sqrt(2))


def pace(values: Sequence[float]) -> float:
    """Change of the logarithm from one value to the next: the median of the slopes between all
    pairs (Sen, Journal of the American Statistical Association 63, 1968). ``values`` are positive
    and two at least."""
    logs = np.log(np.asarray(values, float))
    i, j = np.triu_indices(len(logs), 1)
    return float(np.median((logs[j] - logs[i]) / (j - i)))


def changepoint(values: Sequence[float]) -> tuple[int, float]:
    """(index where the second part begins, p of no change) by Pettitt's test (Applied Statistics
    28, 1979), which is a rank-sum test at the most telling split; p is his approximation, somewhat
    too large for few values, so that it errs towards calling a short series settled."""
    n = len(values)
    if n < 2:
        return n, 1.0
    # what a value adds to the sum over pairs across a split as it moves to the first part
    u = np.abs(np.cumsum(_signs(values).sum(axis=1))[:-1])
    best = int(u.max())
    at = int(u.argmax()) + 1 if best else n
    return at, min(1.0, 2 * math.exp(-6 * best**2 / (n**3 + n**2)))


def settled(values: Sequence[float], blocks: int | None = None) -> bool:
    """No trend and no step that is both significant (`LEVEL`) and larger than `CHANGE`.

    ``values`` are positive. A trend is as large as the last third lies from the first, or as it
    would become at its pace over ``blocks``, the series that these values are the end of (default:
    over themselves).
    """
    n = len(values)
    if n < FEWEST:
        return True
    if trend_p(values) < LEVEL:
        third = max(2, n // 3)
        over_all = pace(values) * ((blocks or n) - 1)
        if _large(over_all) or _large(_apart(values[:third], values[-third:])):
            return False
    at, p = changepoint(values)
    return p >= LEVEL or not 0 < at < n or not _large(_apart(values[:at], values[at:]))


def steady_from(values: Sequence[float], fewest: int = FEWEST) -> int | None:
    """The first block from which on the series is `settled`, with at least ``fewest`` left and no
    more than `MOST_CUT` of them cut off.

    None where no such block exists: it is still changing, or too short to be told.
    """
    n = len(values)
    for first in range(min(n - fewest, int(n * MOST_CUT)) + 1):
        if settled(values[first:], n):
            return first
    return None


def _signs(values: Sequence[float]) -> np.ndarray:
    """(n, n): 1 where the value of the column is larger than that of the row, -1 where smaller."""
    array = np.asarray(values, float)
    return np.sign(array[None, :] - array[:, None]).astype(int)


def _apart(before: Sequence[float], after: Sequence[float]) -> float:
    """Logarithm of the ratio of the medians."""
    return math.log(np.median(after) / np.median(before))


def _large(change: float) -> bool:
    """Of a logarithm: up or down by more than `CHANGE`."""
    return abs(change) > math.log1p(CHANGE)
