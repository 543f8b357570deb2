"""Classification metrics over scikit-learn, and two on probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

#: Guo et al. 2017 report 15 bins; later work follows them.
ECE_BINS = 15
#: A probability of 0 has an infinite loss. Probabilities are stored as float32, so nothing below
#: its machine epsilon is told apart from 0 (scikit-learn's `log_loss` clips the same way).
SMALLEST_PROBABILITY = float(np.finfo(np.float32).eps)


def classification_metrics(
    target: Sequence[str],
    prediction: Sequence[str],
    probabilities: np.ndarray,
    labels: Sequence[str],
) -> dict[str, Any]:
    """`label_metrics`, and ``log_loss`` and ``ece`` of the probabilities.

    ``probabilities``: (examples, labels), columns in the order of ``labels``.
    """
    index = {label: i for i, label in enumerate(labels)}
    truth = np.array([index[label] for label in target], np.int64)
    return label_metrics(target, prediction, labels) | {
        "log_loss": log_loss(truth, probabilities),
        "ece": expected_calibration_error(truth, probabilities),
    }


def label_metrics(
    target: Sequence[str], prediction: Sequence[str], labels: Sequence[str]
) -> dict[str, Any]:
    """Accuracy, precision, recall and F1 of single-label classification.

    Averages run over the labels that occur in ``target`` or ``prediction`` (scikit-learn's
    default), so a small draw without a rare label is not punished for it; a precision or recall
    of 0/0 counts as 0. ``per_class`` and ``confusion`` (row: target, column: prediction) have all
    ``labels``, in their order.
    """
    from sklearn.metrics import (
        accuracy_score,
        confusion_matrix,
        precision_recall_fscore_support,
    )

    result: dict[str, Any] = {"accuracy": float(accuracy_score(target, prediction))}
    for average in ("macro", "micro", "weighted"):
        scores = precision_recall_fscore_support(
            target, prediction, average=average, zero_division=0
        )
        for name, value in zip(("precision", "recall", "f1"), scores, strict=False):
            result[f"{name}_{average}"] = float(value)
    per_class = precision_recall_fscore_support(
        target, prediction, labels=list(labels), average=None, zero_division=0
    )
    result["per_class"] = {
        label: {"precision": float(p), "recall": float(r), "f1": float(f), "support": int(n)}
        for label, p, r, f, n in zip(labels, *per_class, strict=True)
    }
    result["confusion"] = confusion_matrix(target, prediction, labels=list(labels)).tolist()
    return result


def log_loss(truth: np.ndarray, probabilities: np.ndarray) -> float:
    """Mean negative log-probability of the true class, in nats.

    ``truth``: (examples,) column indices. Probabilities are clipped from below, see
    `SMALLEST_PROBABILITY`.
    """
    of_truth = probabilities[np.arange(len(truth)), truth].astype(np.float64)
    return float(-np.log(np.clip(of_truth, SMALLEST_PROBABILITY, 1.0)).mean())


def expected_calibration_error(
    truth: np.ndarray, probabilities: np.ndarray, bins: int = ECE_BINS
) -> float:
    """Mean gap between confidence and accuracy (Guo et al. 2017, *On Calibration of Modern
    Neural Networks*, eq. 3): the bins' \\|accuracy - mean confidence\\|, weighted by their size.

    Confidence is the largest probability; bin m of M holds confidences in ((m-1)/M, m/M].
    """
    confidence = probabilities.max(axis=1).astype(np.float64)
    correct = probabilities.argmax(axis=1) == truth
    bin_of = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    gaps = np.bincount(bin_of, weights=correct - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(truth))


def top_accuracy(truth: np.ndarray, probabilities: np.ndarray, k: int) -> float:
    """Share of examples whose true class is among the ``k`` most probable.

    ``truth``: (examples,) column indices. A class as probable as the k-th counts by its position,
    the lower first, so that a model without any preference gains nothing from ties.
    """
    ranked = np.argsort(-probabilities, axis=1, kind="stable")[:, :k]
    return float((ranked == truth[:, None]).any(axis=1).mean())
