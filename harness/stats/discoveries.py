"""Many rows at once: hold down the share of false alarms among the alarms.

Benjamini and Hochberg, *Journal of the Royal Statistical Society B* 57 (1995). `harness.stats.holm`
guards against a single false "differs" and is right for a board's "tied with the best"; a table
of regressions over many rows would sleep through real losses under it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values ("q"), in the order given; [] for none.

    Step-up: the i-th smallest of m is multiplied by m / i, and none exceeds its successor. Calling
    all with q <= 0.05 keeps the expected share of false ones among the calls under 5%, for tests
    that are independent or positively dependent (rows that share a host or test examples).
    """
    if not len(p_values):
        return []
    p = np.asarray(p_values, float)
    if not np.all((p >= 0) & (p <= 1)):
        raise ValueError(f"p-values must lie in [0, 1], got {p_values}")
    order = np.argsort(p, kind="stable")
    scaled = p[order] * len(p) / np.arange(1, len(p) + 1)
    lowered = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1.0)
    adjusted = np.empty_like(p)
    adjusted[order] = lowered
    return adjusted.tolist()
