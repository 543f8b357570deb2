"""Many comparisons, one family: Holm, *Scandinavian Journal of Statistics* 6 (1979)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm-adjusted p-values, in the order given; [] for none.

    Step-down: the i-th smallest of m is multiplied by m - i + 1, never falls below its
    predecessor, and is cut at 1. Controls the chance of any false "differs" under every
    dependence between the tests (all of them share the best fit, so they are dependent).
    """
    if not len(p_values):
        return []
    p = np.asarray(p_values, float)
    if not np.all((p >= 0) & (p <= 1)):
        raise ValueError(f"p-values must lie in [0, 1], got {p_values}")
    order = np.argsort(p, kind="stable")
    raised = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(raised, 1.0)
    return adjusted.tolist()
