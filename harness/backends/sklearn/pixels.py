"""Logistic regression on raw pixels: what an image model must beat to be worth its size."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from harness.backends.base import ArtifactInfo, FitRequest, pad
from harness.backends.sklearn.baseline import Trained
from harness.backends.sklearn.tfidf import ABSENT, WEIGHTS_FILE
from harness.errors import Unsupported

#: enough for the tasks at hand to converge to three digits of accuracy; there so that it ends
MAX_ITERATIONS = 300


@dataclass(frozen=True)
class PixelsLogreg:
    """One linear layer on an image's pixels, row by row."""

    weight: np.ndarray  # (outputs, 3 * height * width) float32
    bias: np.ndarray  # (outputs,)

    def logits(self, inputs: np.ndarray) -> np.ndarray:
        """(batch, 3, height, width) in 0..1 to (batch, outputs)."""
        return inputs.reshape(len(inputs), -1) @ self.weight.T + self.bias

    @property
    def params(self) -> int:
        return self.weight.size + self.bias.size


def train(request: FitRequest) -> Trained:
    """Fit on standardised pixels, the scaling folded into the layer; deterministic."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    if "pixel_values" not in request.train.inputs:
        raise Unsupported("pixels-logreg reads images, which this task has none of")
    images = pad(request.train, np.arange(len(request.train)))["pixel_values"]
    labels = np.asarray(request.train.targets["labels"])
    if len(np.unique(labels)) < 2:
        raise Unsupported("logistic regression needs at least two classes in the training split")
    rows = images.reshape(len(images), -1)
    scaler = StandardScaler()
    classifier = LogisticRegression(C=request.settings["C"], max_iter=MAX_ITERATIONS)
    classifier.fit(scaler.fit_transform(rows), labels)
    coefficients, intercept = classifier.coef_, classifier.intercept_
    if len(coefficients) == 1:  # two classes: one score, the log odds of the second
        coefficients = np.concatenate([np.zeros_like(coefficients), coefficients])
        intercept = np.array([0.0, intercept[0]])
    weight = np.zeros((request.info.outputs, rows.shape[1]), np.float32)
    bias = np.full(request.info.outputs, ABSENT, np.float32)
    weight[classifier.classes_] = coefficients / scaler.scale_
    bias[classifier.classes_] = intercept - (coefficients / scaler.scale_) @ scaler.mean_
    model = PixelsLogreg(weight, bias)
    steps = int(classifier.n_iter_.max())
    notes = {"converged": steps < MAX_ITERATIONS, "solver": "lbfgs"}
    return Trained(model, partial(save, model), steps, notes)


def save(model: PixelsLogreg, out: Path) -> None:
    np.savez(out / WEIGHTS_FILE, allow_pickle=False, weight=model.weight, bias=model.bias)


def restore(folder: Path, info: ArtifactInfo) -> PixelsLogreg:
    with np.load(folder / WEIGHTS_FILE, allow_pickle=False) as weights:
        return PixelsLogreg(weights["weight"], weights["bias"])
