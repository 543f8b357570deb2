"""The majority class: what a model must beat before it has learnt anything."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from harness.backends.base import ArtifactInfo, FitRequest
from harness.backends.sklearn.baseline import Trained
from harness.backends.sklearn.tfidf import ABSENT, WEIGHTS_FILE, split_rows
from harness.tasks.base import IGNORED_LABEL, Encoded, Ragged


@dataclass(frozen=True)
class Majority:
    """Constant logits: the logarithms of the classes' shares in training.

    For spans the answer is always "none": one position per feature, which is the null position.
    """

    scores: np.ndarray  # (outputs,) float32
    head: Literal["pooled", "token", "span"]

    def logits(self, inputs: np.ndarray) -> np.ndarray:
        """(inputs, outputs); for a token head an object array of (words, outputs) per input; for
        spans (inputs, 1, 2)."""
        if self.head == "pooled":
            return np.tile(self.scores, (len(inputs), 1))
        if self.head == "span":
            return np.zeros((len(inputs), 1, 2), np.float32)
        lengths = [len(words) for words in inputs]
        return split_rows(np.tile(self.scores, (sum(lengths), 1)), lengths)

    @property
    def params(self) -> int:
        return int(self.scores.size)


def fit(train: Encoded, *, outputs: int, head: Literal["pooled", "token", "span"]) -> Majority:
    """Count the labels of the training split."""
    if head == "span":
        return Majority(np.zeros(outputs, np.float32), head)
    labels = train.targets["labels"]
    values = labels.values if isinstance(labels, Ragged) else labels
    counts = np.bincount(values[values != IGNORED_LABEL], minlength=outputs)
    shares = counts / max(counts.sum(), 1)
    scores = np.log(shares, out=np.full(outputs, ABSENT), where=shares > 0)
    return Majority(scores.astype(np.float32), head)


def train(request: FitRequest) -> Trained:
    model = fit(request.train, outputs=request.info.outputs, head=request.info.head)
    return Trained(model, partial(save, model))


def restore(folder: Path, info: ArtifactInfo) -> Majority:
    return load(folder, info.head)


def save(model: Majority, out: Path) -> None:
    np.savez(out / WEIGHTS_FILE, allow_pickle=False, scores=model.scores)


def load(folder: Path, head: Literal["pooled", "token", "span"]) -> Majority:
    with np.load(folder / WEIGHTS_FILE, allow_pickle=False) as weights:
        return Majority(weights["scores"], head)
