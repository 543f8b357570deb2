"""What nothing else beats on two counts at once."""

from __future__ import annotations

import numpy as np


def pareto_front(score: np.ndarray, cost: np.ndarray) -> np.ndarray:
    """Members of the front of a high ``score`` at a low ``cost``: (n,) twice to (n,) booleans.

    A point is dominated where another is at least as good on both counts and better on one
    (Kung, Luccio and Preparata, JACM 22, 1975, for finding them by one sort). Equal points are
    members together. A point with an unknown (NaN) count is never one, and dominates nothing.
    """
    score, cost = np.asarray(score, float), np.asarray(cost, float)
    front = np.zeros(len(score), bool)
    known = np.flatnonzero(~(np.isnan(score) | np.isnan(cost)))
    if not len(known):
        return front
    points = np.stack([cost[known], -score[known]], axis=1)
    kinds, kind = np.unique(points, axis=0, return_inverse=True)  # cheapest first, then best
    gains = -kinds[:, 1]
    best_before = np.concatenate([[-np.inf], np.maximum.accumulate(gains)[:-1]])
    front[known] = (gains > best_before)[kind.ravel()]
    return front
