"""The smallest difference of two scores that a test set and its seeds can show.

The *minimum detectable difference* at 80% power is the true difference that the paired test
would call significant in four of five repetitions:

    D = (t_{1 - alpha/2} + t_{power}) * standard error of the difference

Source: Bloom, "Minimum Detectable Effects", *Evaluation Review* 19 (1995); for right and wrong
answers the standard error is sqrt(discordance / n), as in Connor, *Biometrics* 43 (1987). Where
the seeds' variance is known with few degrees of freedom, both terms are half-widths of
`harness.stats.seeds`, each source of variance at its own degrees of freedom.

It is a statement about the experiment, computed from how much pairs of fits disagree, and not
about the difference that was observed: power of the observed difference would only say the
p-value again (Hoenig and Heisey, *American Statistician* 55, 2001).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from harness.stats.seeds import Component, half_width

#: Cohen's convention (*Statistical Power Analysis*, 1988, 2.4): four of five
POWER = 0.8
ALPHA = 0.05


def detectable_difference(
    components: Sequence[Component], alpha: float = ALPHA, power: float = POWER
) -> float:
    """D above, in the score's unit; NaN where a variance is unknown.

    ``components``: `harness.stats.paired.difference_components` of a pair. ``alpha``: of the
    two-sided test; with m comparisons in one family take 0.05 / m, Holm's first step.
    """
    if any(np.isnan(part.variance) for part in components):
        return float("nan")
    return half_width(components, 1 - alpha) + half_width(components, 2 * power - 1)


def smallest_count(alpha: float = ALPHA) -> int:
    """The fewest discordant examples, all on one side, with which McNemar's exact test rejects.

    2 * 0.5^d <= alpha; 6 for 5%. A test set that yields fewer can show nothing at all.
    """
    return int(np.ceil(np.log2(2 / alpha) - 1e-9))


def resolution(
    pairs: Sequence[Sequence[Component]], alpha: float = ALPHA, floor: float = 0.0
) -> float | None:
    """The detectable difference of a typical pair: the median over ``pairs``; None without one.

    Never below ``floor``: `smallest_count` of all examples where McNemar's test decides. Pairs
    that happened to agree on everything do not show that nothing smaller exists.
    """
    found = [detectable_difference(parts, alpha) for parts in pairs]
    known = [value for value in found if np.isfinite(value)]
    return float(min(1.0, max(np.median(known), floor))) if known else None
