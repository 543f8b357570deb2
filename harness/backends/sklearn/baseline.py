"""What a baseline must provide; each kind is a module with `train` and `restore`, named here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from harness.backends.base import ArtifactInfo, FitRequest
from harness.errors import Unsupported

KINDS = {
    "majority": "harness.backends.sklearn.majority",
    "pixels-logreg": "harness.backends.sklearn.pixels",
    "tfidf-logreg": "harness.backends.sklearn.tfidf",
}


class Baseline(Protocol):
    """A fitted baseline."""

    def logits(self, inputs: np.ndarray) -> np.ndarray:
        """Logits of a batch's only input column; for token heads one array an input."""

    @property
    def params(self) -> int:
        """Fitted numbers."""


@dataclass(frozen=True)
class Trained:
    """A baseline, how to write it, and what its record says."""

    model: Baseline
    save: Callable[[Path], None]
    steps: int = 0
    notes: dict[str, Any] = field(default_factory=dict)


def train(request: FitRequest) -> Trained:
    """Fit the request's kind; `Unsupported` where it has no meaning for the task."""
    trained: Trained = _module(request.model_kind).train(request)
    return trained


def restore(folder: Path, info: ArtifactInfo) -> Baseline:
    """What a `Trained.save` wrote."""
    model: Baseline = _module(info.kind).restore(folder, info)
    return model


def only_column(inputs: Any) -> Any:
    """Baselines take one column: text, words or pixels."""
    (column,) = inputs.values()
    return column


def _module(kind: str) -> Any:
    if kind not in KINDS:
        raise Unsupported(f"the sklearn backend fits {', '.join(KINDS)}, not {kind!r}")
    return import_module(KINDS[kind])
