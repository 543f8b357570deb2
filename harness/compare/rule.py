"""The one rule. Numbers in, a verdict out.

A change is measured in the direction that is worse: positive is slower, larger, less accurate.

- **regression**: the 95% interval excludes zero, the estimate is worse than the margin, false
  discoveries are held down over all comparisons (q <= 5%), and, for timings, a confirmation
  agrees
- **improved**: the same in the other direction
- **equivalent**: the interval lies inside the margins
- **inconclusive**: anything else, with what it would take

The confirmation (launches made after the first ones) has to be worse than half the margin on its
own, with a one-sided p of at most 20%. It is independent of the first launches, so that on
equal things a false alarm needs two accidents: at most 2.5% x 20% = 0.5% however noisy the host.
What cannot be confirmed by running it again (a score on a fixed test set, memory) needs a p of
2% at most instead: 1% in the direction that is worse.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from scipy.special import stdtrit

Verdict = Literal["regression", "improved", "equivalent", "inconclusive"]

LEVEL = 0.95
FALSE_DISCOVERIES = 0.05
CONFIRMATION_P = 0.20
UNCONFIRMED_P = 0.02
CONFIRMATION_SHARE = 0.5
#: beyond this many more launches (or seeds, or examples) advice is "a quieter host", not "more"
SENSIBLE = 1000


@dataclass(frozen=True)
class Change:
    """An estimated change, positive where worse; NaN limits where there is no interval."""

    value: float
    low: float
    high: float
    p_value: float = float("nan")

    @property
    def known(self) -> bool:
        return bool(np.isfinite([self.value, self.low, self.high]).all())

    def flipped(self) -> Change:
        return Change(-self.value, -self.high, -self.low, self.p_value)


class Decision(NamedTuple):
    verdict: Verdict
    reason: str


def is_worse(change: Change, margin: float) -> bool:
    """The rule's first two conditions, on one set of data."""
    return change.known and change.low > 0 and change.value > margin


def agrees(change: Change, one_sided_p: float, margin: float) -> bool:
    """Whether a confirmation, on its own, points the same way (arguments: positive is worse)."""
    return change.value > CONFIRMATION_SHARE * margin and one_sided_p <= CONFIRMATION_P


def decide(
    change: Change,
    margin: float,
    *,
    q: float = 0.0,
    confirmable: bool = True,
    agreed: bool = True,
    agreed_better: bool = True,
) -> Decision:
    """The verdict on one row's metric.

    ``q``: its adjusted p-value; ``confirmable``: whether a second run could tell; ``agreed``:
    whether a confirmation says worse as well (True where none is needed); ``agreed_better``: the
    same for an improvement.
    """
    if not change.known:
        return Decision("inconclusive", "no interval")
    if -margin < change.low and change.high < margin:
        return Decision("equivalent", "")
    directions: tuple[tuple[Change, Verdict, bool], ...] = (
        (change, "regression", agreed),
        (change.flipped(), "improved", agreed_better),
    )
    for one, verdict, confirmed in directions:
        if not is_worse(one, margin):
            continue
        if q > FALSE_DISCOVERIES:
            return Decision("inconclusive", f"q = {q:.2f} over all comparisons made")
        if not confirmable and change.p_value > UNCONFIRMED_P:
            return Decision(
                "inconclusive", f"p = {change.p_value:.3f}, and no run could confirm it"
            )
        if not confirmed:
            return Decision("inconclusive", "the confirmation does not agree")
        return Decision(verdict, "")
    if change.low > 0 or change.high < 0:
        return Decision("inconclusive", "a change that is there, and not surely within the margin")
    return Decision("inconclusive", "the interval is too wide")


def units_to_decide(value: float, spread: float, margin: float, fixed: float = 0.0) -> int | None:
    """How many units (pairs of launches, examples) in all would decide, if the estimate holds.

    ``spread``: standard deviation of one unit's difference; ``fixed``: a half-width that no
    number of units shrinks. Outside the margin the interval has to leave zero, inside it has to
    fit in. None where no number does (`SENSIBLE` is the caller's affair).
    """
    if not np.isfinite([value, spread]).all():
        return None
    room = abs(value) if abs(value) > margin else margin - abs(value)
    if room <= fixed:
        return None
    room = float(np.sqrt(room**2 - fixed**2))
    low, high = 1, 2  # the half-width falls with the count: double, then halve the bracket
    while _half(high, spread) > room:
        low, high = high, 2 * high
        if high > 1e9:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _half(middle, spread) > room else (low, middle)
    return high


def _half(count: int, spread: float) -> float:
    return float(stdtrit(count - 1, (1 + LEVEL) / 2)) * spread / float(np.sqrt(count))
