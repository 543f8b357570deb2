"""How well frozen features already fit labels: estimates of transfer without any training.

Each takes features (examples, width) and integer labels (examples,), and is larger for models
that should do better. They rank models on one data set; their values mean nothing across sets.
"""

from __future__ import annotations

import numpy as np

#: fixed-point iterations of LogME; it settles in three to ten
_ITERATIONS = 50
#: relative change of alpha / beta under which it has settled
_SETTLED = 1e-3


def logme(features: np.ndarray, labels: np.ndarray) -> float:
    """Mean log evidence an example of a Bayesian linear model, over the classes' one-hot targets.

    You et al. 2021, *LogME: Practical Assessment of Pre-trained Models for Transfer Learning*
    (ICML), algorithm 1, in the faster fixed-point form of its journal version. Raises
    `ValueError` with fewer than two classes or examples.
    """
    x, y = _checked(features, labels)
    count, width = x.shape
    # of the smaller side: the non-zero eigenvalues of x.T @ x are those of x @ x.T
    u, singular, _ = np.linalg.svd(x, full_matrices=False)
    sigma = singular**2
    total = 0.0
    for target in _one_hot(y).T:
        projected = (u.T @ target) ** 2
        outside = max(float(target @ target - projected.sum()), 0.0)
        alpha = beta = 1.0
        for _ in range(_ITERATIONS):
            ratio = alpha / beta
            gamma = float((sigma / (sigma + ratio)).sum())
            norm = float((sigma * projected / (ratio + sigma) ** 2).sum())
            error = float((projected / (1 + sigma / ratio) ** 2).sum()) + outside
            alpha = gamma / (norm + 1e-5)
            beta = (count - gamma) / (error + 1e-5)
            if abs(alpha / beta - ratio) <= _SETTLED * ratio:
                break
        ratio = alpha / beta
        norm = float((sigma * projected / (ratio + sigma) ** 2).sum())
        error = float((projected / (1 + sigma / ratio) ** 2).sum()) + outside
        # the determinant of alpha I + beta x.T x, directions without data included
        logdet = float(np.log(alpha + beta * sigma).sum()) + (width - len(sigma)) * np.log(alpha)
        evidence = (
            width / 2 * np.log(alpha) + count / 2 * np.log(beta) - logdet / 2
            - beta / 2 * error - alpha / 2 * norm - count / 2 * np.log(2 * np.pi)
        )  # fmt: skip
        total += float(evidence) / count
    return total / len(np.unique(y))


def h_score(features: np.ndarray, labels: np.ndarray) -> float:
    """Trace of (feature covariance)^-1 times the covariance of the class means.

    Bao et al. 2019, *An Information-Theoretic Approach to Transferability*; with the
    Ledoit-Wolf-like shrinkage of Ibrahim et al. 2022 left out and a pseudo-inverse instead, so
    it is overconfident where the width is near the number of examples.
    """
    x, y = _checked(features, labels)
    centred = x - x.mean(0)
    means = np.zeros_like(centred)
    for label in np.unique(y):
        means[y == label] = centred[y == label].mean(0)
    inverse = np.linalg.pinv(centred.T @ centred / len(x), rcond=1e-10, hermitian=True)
    return float(np.trace(inverse @ (means.T @ means / len(x))))


def leep(source: np.ndarray, labels: np.ndarray) -> float:
    """Mean log of the expected empirical prediction, at most 0.

    Nguyen et al. 2020, *LEEP: A New Measure to Evaluate Transferability of Learned
    Representations* (ICML). ``source``: (examples, source classes), the probabilities that the
    pretrained model's own classifier gives; it applies only to models that have one.
    """
    theta, y = _checked(source, labels)
    if (theta < 0).any() or not np.allclose(theta.sum(1), 1, atol=1e-3):
        raise ValueError("LEEP needs probabilities of source classes: rows that sum to 1")
    joint = _one_hot(y).T @ theta / len(y)  # (labels, source classes)
    marginal = joint.sum(0)
    conditional = np.divide(joint, marginal, out=np.zeros_like(joint), where=marginal > 0)
    places = np.unique(y, return_inverse=True)[1]
    expected = (theta @ conditional.T)[np.arange(len(y)), places]
    return float(np.log(expected).mean())


def _one_hot(labels: np.ndarray) -> np.ndarray:
    return np.asarray(labels[:, None] == np.unique(labels)[None, :], np.float64)


def _checked(features: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    x, y = np.asarray(features, np.float64), np.asarray(labels)
    if x.ndim != 2 or len(x) != len(y):
        raise ValueError(f"features {x.shape} and labels {y.shape} do not belong together")
    if len(np.unique(y)) < 2:
        raise ValueError("transferability needs examples of two classes at least")
    if not np.isfinite(x).all():
        raise ValueError("features hold values that are not finite")
    return x, y
