"""The optimal linear layer on given features, in numpy: the head of every linear probe.

Multinomial logistic regression on standardised features with an L2 penalty, solved to its optimum
by L-BFGS; in scikit-learn's terms ``LogisticRegression(C=C)`` after a ``StandardScaler``. The
scaling is folded into the layer, so the result is a plain linear head.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from harness.errors import Diverged
from harness.tasks.base import IGNORED_LABEL, Encoded, Ragged

#: L-BFGS ends here at the latest; MiniLM's features need 50 to 300
ITERATIONS = 500
#: or when no derivative of the mean loss exceeds this (scikit-learn's tolerance)
_TOLERANCE = 1e-4

#: logits (rows, outputs) to the mean loss and its gradient by them
Objective = Callable[[np.ndarray], tuple[float, np.ndarray]]


@dataclass(frozen=True)
class LinearHead:
    """What was found: logits are ``features @ weight.T + bias``."""

    weight: np.ndarray  # (outputs, hidden) float32
    bias: np.ndarray  # (outputs,) float32
    loss: float  # mean, without the penalty
    iterations: int


def fit_head(
    rows: np.ndarray,
    offsets: np.ndarray,
    encoded: Encoded,
    outputs: int,
    C: float,
    smoothing: float,
) -> LinearHead:
    """Fit on the features ``rows`` (all rows, hidden) of a split with its ``targets``.

    ``offsets`` say where each sequence's rows begin (one row each for pooled heads). Raises
    `Diverged` for a loss that is not finite.
    """
    from scipy.optimize import minimize

    rows, objective, count = _objective(rows, offsets, encoded, outputs, smoothing)
    mean, scale = rows.mean(0), rows.std(0)
    scale[scale == 0] = 1.0
    # in place, of a copy: token features are by far the largest thing in memory
    rows -= mean
    rows /= scale
    width = rows.shape[1]
    penalty = 1.0 / (2.0 * C * count)

    def unpack(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return values[: outputs * width].reshape(outputs, width), values[outputs * width :]

    def data_loss(values: np.ndarray) -> tuple[float, np.ndarray]:
        weight, bias = unpack(values)
        return objective(rows @ weight.T.astype(np.float32) + bias.astype(np.float32))

    def loss(values: np.ndarray) -> tuple[float, np.ndarray]:
        weight, _ = unpack(values)
        mean_loss, by_logits = data_loss(values)
        gradient = by_logits.T @ rows + 2.0 * penalty * weight
        total = mean_loss + penalty * float(np.square(weight).sum())
        return total, np.concatenate([gradient.ravel(), by_logits.sum(0)]).astype(np.float64)

    found = minimize(
        loss,
        np.zeros(outputs * (width + 1)),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": ITERATIONS, "gtol": _TOLERANCE, "ftol": 1e-9, "maxcor": 10},
    )
    weight, bias = unpack(found.x)
    final, _ = data_loss(found.x)
    if not np.isfinite(final):
        raise Diverged(f"loss {final} of the linear probe")
    weight = weight / scale
    bias = bias - weight @ mean
    return LinearHead(weight.astype(np.float32), bias.astype(np.float32), final, int(found.nit))


def _objective(
    rows: np.ndarray, offsets: np.ndarray, encoded: Encoded, outputs: int, smoothing: float
) -> tuple[np.ndarray, Objective, int]:
    """The rows that are fitted on (a copy), their loss, and how many examples count."""
    if "start" in encoded.targets:
        return rows.copy(), _spans(offsets, encoded, smoothing), len(offsets) - 1
    values = encoded.targets["labels"]
    labels = np.asarray(values.values if isinstance(values, Ragged) else values)
    labelled = labels != IGNORED_LABEL
    labels = labels[labelled]
    wanted = smoothed(labels, outputs, smoothing)
    return rows[labelled], partial(soft_cross_entropy, wanted), len(labels)


def smoothed(labels: np.ndarray, outputs: int, smoothing: float | np.float32) -> np.ndarray:
    """Wanted probabilities (labels, outputs): ``smoothing`` of each is spread over all outputs."""
    wanted = np.full((len(labels), outputs), smoothing / outputs, np.float32)
    wanted[np.arange(len(labels)), labels] += 1 - smoothing
    return wanted


def soft_cross_entropy(wanted: np.ndarray, logits: np.ndarray) -> tuple[float, np.ndarray]:
    """Mean loss of (rows, outputs) logits against wanted probabilities, and its gradient."""
    logs = logits - logits.max(1, keepdims=True)
    logs -= np.log(np.exp(logs).sum(1, keepdims=True))
    loss = -float((wanted * logs).sum(dtype=np.float64)) / len(logs)
    return loss, (np.exp(logs) - wanted) / np.float32(len(logs))


def _spans(offsets: np.ndarray, encoded: Encoded, smoothing: float) -> Objective:
    """Mean of the start's and the end's cross entropy over each sequence's tokens."""
    begins, lengths = offsets[:-1], np.diff(offsets)
    count = len(lengths)
    wanted = np.repeat(smoothing / lengths, lengths)[:, None].repeat(2, 1).astype(np.float32)
    for column, name in enumerate(("start", "end")):
        at = begins + np.asarray(encoded.targets[name], np.int64)
        wanted[at, column] += 1.0 - smoothing

    def spans(logits: np.ndarray) -> tuple[float, np.ndarray]:
        logs = logits - np.maximum.reduceat(logits, begins).repeat(lengths, 0)
        logs -= np.log(np.add.reduceat(np.exp(logs), begins)).repeat(lengths, 0)
        loss = -float((wanted * logs).sum(dtype=np.float64)) / (2 * count)
        return loss, (np.exp(logs) - wanted) / np.float32(2 * count)

    return spans
