"""From examples to independent clusters, and from clusters to the few distinct kinds of them.

Resampling looks at clusters only through their sums. Clusters with equal sums are
interchangeable, so drawing *how many* of each kind appear is the same experiment as drawing
the clusters one by one, and with 0/1 scores there are only two kinds.
"""

from __future__ import annotations

import numpy as np


def cluster_sums(values: np.ndarray, clusters: np.ndarray) -> np.ndarray:
    """Sums within clusters: (rows, examples) values to (rows, clusters), codes in sorted order."""
    if (clusters[1:] > clusters[:-1]).all():  # one example each, as in most tasks
        return values.astype(float)
    codes, positions = np.unique(clusters, return_inverse=True)
    if len(codes) == len(clusters):
        return values[:, np.argsort(clusters, kind="stable")].astype(float)
    return np.stack([np.bincount(positions, row, len(codes)) for row in values])


def distinct(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct rows of a (clusters, columns) array, (kinds, columns), and how often each."""
    order = np.lexsort(rows.T)  # ten times faster than np.unique(rows, axis=0)
    ordered = rows[order]
    first = np.concatenate([[True], np.any(ordered[1:] != ordered[:-1], axis=1)])
    starts = np.flatnonzero(first)
    return ordered[starts], np.diff(np.append(starts, len(rows)))


def mean_ratio(num: np.ndarray, den: np.ndarray) -> float:
    """The score: mean over seeds of sum(num) / sum(den); NaN where a denominator sums to zero."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.mean(num.sum(axis=-1) / den.sum(axis=-1)))


def influence_by_seed(num: np.ndarray, den: np.ndarray, clusters: np.ndarray) -> np.ndarray:
    """How far each cluster pulls each seed's score: (seeds, clusters), rows sum to zero.

    (num_c - ratio * den_c) / sum(den), linearised; Cochran, *Sampling Techniques* (1977), 6.4.
    """
    num_c, den_c = np.split(cluster_sums(np.concatenate([num, den]), clusters), [len(num)])
    total = den_c.sum(axis=1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = num_c.sum(axis=1, keepdims=True) / total
        return np.asarray((num_c - ratio * den_c) / total)


def influence(num: np.ndarray, den: np.ndarray, clusters: np.ndarray) -> np.ndarray:
    """How far each cluster pulls the score, the mean over seeds: (clusters,), sums to zero."""
    return influence_by_seed(num, den, clusters).mean(axis=0)


def interaction_variance(residuals: np.ndarray) -> float:
    """What the seeds' disagreement about single examples adds to the variance of their mean.

    ``residuals``: (seeds, clusters) of `influence_by_seed`. 0 for one seed, where it is unknown.
    """
    seeds, count = residuals.shape
    if seeds < 2 or count < 2:
        return 0.0
    apart = residuals - residuals.mean(axis=0)
    return float(count / (count - 1) * np.square(apart).sum() / (seeds * (seeds - 1)))


def influence_variance(residuals: np.ndarray) -> float:
    """Variance of a score (or of a difference) from its clusters' influence; NaN for one cluster.

    G / (G - 1) * sum(e^2), the usual small-sample factor for G clusters.
    """
    count = len(residuals)
    if count < 2:
        return float("nan")
    return float(count / (count - 1) * np.square(residuals).sum())
