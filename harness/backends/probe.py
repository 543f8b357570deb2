"""Linear probes: a frozen backbone's features, computed once and cached, and a head on them.

A framework supplies the features; the head is the same for all: the optimum of a linear layer
(`harness.backends.linear`), or hidden layers trained by Adam (`harness.backends.mlp`).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from harness.backends import heads
from harness.backends.augment import Augmenter
from harness.backends.base import (
    Batch,
    FitReport,
    FitRequest,
    Progress,
    lengths_of,
    pad,
    sorted_batches,
)
from harness.backends.batches import endless_batches, steps_per_epoch
from harness.backends.heads import HeadLayers, initial_head
from harness.backends.linear import ITERATIONS, fit_head
from harness.backends.mlp import MlpTrainer
from harness.errors import Diverged, RequestError
from harness.records.files import whole_path
from harness.records.identity import digest
from harness.sources.cache import mark_used
from harness.tasks.base import Encoded, take_rows

#: examples per forward pass for features
_BATCH = 32

#: A padded batch to what the head sees, float32: (batch, hidden), or (batch, length, hidden).
Compute = Callable[[Batch], np.ndarray]


@dataclass(frozen=True)
class Features:
    """Frozen features of one split.

    ``rows``: (features, hidden) for pooled heads, else (all tokens, hidden) one sequence after the
    other; ``offsets``: where each sequence's rows begin and end.
    """

    rows: np.ndarray
    offsets: np.ndarray
    seconds: float  # what computing them took, also when they come from the cache
    framework: str  # which framework computed them

    def split(self, values: np.ndarray, pooled: bool) -> list[np.ndarray]:
        """Values per row to one array a feature of the split."""
        if pooled:
            return list(values)
        return [values[a:b] for a, b in zip(self.offsets, self.offsets[1:], strict=False)]


@dataclass(frozen=True)
class Head:
    """A fitted head and how it was found."""

    layers: HeadLayers
    epochs: list[dict[str, float]]
    steps: int
    seconds: float
    stopped: str


def check(request: FitRequest) -> None:
    """`RequestError` for settings without meaning here."""
    settings = request.settings
    if settings["l1"]:
        raise RequestError("`l1` does not apply to a linear-probe: set its penalty with `C`")
    if settings["hidden"] and request.info.head != "pooled":
        raise RequestError("a linear-probe's `hidden` layers need a task with one label an example")


def probe(
    request: FitRequest, compute: Compute, width: int, backbone_params: int, progress: Progress
) -> tuple[HeadLayers, FitReport]:
    """Features of both splits from ``compute`` or the cache, the head, and the report.

    The report's seconds are those of the features, whenever this framework computed them, and of
    the head; there are none where another framework computed the features.
    """
    train = _training_features(request, compute, width, progress)
    validation = features(request, compute, width, request.validation, "validation", progress)
    pooled = request.info.head == "pooled"

    def score(layers: HeadLayers) -> float:
        if not len(request.validation):
            return float("nan")
        logits = heads.apply(layers, validation.rows)
        return request.validation_score(validation.split(logits, pooled))

    fit = _trained if request.settings["hidden"] else _optimal
    head = fit(request, train, score)
    plain = train[0]
    train_score = request.train_score(plain.split(heads.apply(head.layers, plain.rows), pooled))
    features_seconds = sum(copy.seconds for copy in train)
    others = {copy.framework for copy in train} - {request.info.framework}
    seconds = None if others else features_seconds + head.seconds
    trained = sum(weight.size + bias.size for weight, bias in head.layers)
    return head.layers, FitReport(
        seconds=seconds,
        examples_per_second=len(request.train) / seconds if seconds else None,
        epochs=head.epochs,
        steps=head.steps,
        params=backbone_params + trained,
        trained_params=trained,
        stopped=head.stopped,
        notes={
            "features_seconds": features_seconds,
            "head_seconds": head.seconds,
            "features_framework": plain.framework,
        },
        train_score=train_score,
        seconds_reason=f"features computed by {', '.join(sorted(others))}" if others else None,
    )


def _training_features(
    request: FitRequest, compute: Compute, width: int, progress: Progress
) -> list[Features]:
    """Features of the training split as it is, then of each augmented copy, one an epoch."""
    copies = [features(request, compute, width, request.train, "train", progress)]
    augment = request.settings["augment"]
    if augment:
        for number in range(max(1, round(request.settings["epochs"]))):
            split = f"train-{digest(augment)}-{number}"
            augmenter = Augmenter(augment, number)
            copies.append(
                features(request, compute, width, request.train, split, progress, augmenter)
            )
    return copies


def _optimal(
    request: FitRequest, train: list[Features], score: Callable[[HeadLayers], float]
) -> Head:
    """The optimum of one linear layer on the training split and its augmented copies."""
    begun = time.perf_counter()
    rows, offsets, encoded = train[0].rows, train[0].offsets, request.train
    if len(train) > 1:
        lengths = np.concatenate([np.diff(copy.offsets) for copy in train])
        rows = np.concatenate([copy.rows for copy in train])
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        again = np.tile(np.arange(len(encoded)), len(train))
        encoded = Encoded({}, take_rows(encoded.targets, again), again, encoded.truncated)
    settings = request.settings
    found = fit_head(
        rows, offsets, encoded, request.info.outputs, settings["C"], settings["label_smoothing"]
    )
    layers = [(found.weight, found.bias)]
    seconds = time.perf_counter() - begun
    limit = found.iterations >= ITERATIONS
    epoch = {
        "epoch": 1,
        "loss": found.loss,
        "validation_score": score(layers),
        "seconds": seconds,
        "learning_rate": 0.0,
    }
    stopped = f"at the limit of {ITERATIONS} iterations" if limit else "finished"
    return Head(layers, [epoch], found.iterations, seconds, stopped)


def _trained(
    request: FitRequest, train: list[Features], score: Callable[[HeadLayers], float]
) -> Head:
    """Hidden layers and the last one, by Adam at a constant rate, as Keras' `fit` would."""
    settings, count = request.settings, len(request.train)
    labels = np.asarray(request.train.targets["labels"])
    per_epoch = steps_per_epoch(count, settings["batch_size"])
    total = max(1, round(settings["epochs"] * per_epoch))
    width = train[0].rows.shape[1]
    start = initial_head(width, settings["hidden"], request.info.outputs, request.seed)
    trainer = MlpTrainer(start, settings["learning_rate"], settings["label_smoothing"])
    copies = train[1:] or train
    lengths = np.ones(count, np.int64)
    batches = endless_batches(lengths, settings["batch_size"], request.seed)
    epochs: list[dict[str, float]] = []
    losses: list[float] = []
    begun = spent = time.perf_counter()
    for step, (number, batch) in zip(range(total), batches, strict=False):
        losses.append(trainer.step(copies[number % len(copies)].rows[batch], labels[batch]))
        if (step + 1) % per_epoch == 0 or step + 1 == total:
            mean = float(np.mean(losses))
            # a rise is no divergence here: from where Adam's first steps throw a head it comes back
            if not np.isfinite(mean):
                raise Diverged(f"loss {mean} of the head in epoch {number + 1}")
            now = time.perf_counter()
            epochs.append(
                {
                    "epoch": number + 1,
                    "loss": mean,
                    "validation_score": score(trainer.layers),
                    "seconds": now - spent,
                    "learning_rate": settings["learning_rate"],
                }
            )
            losses, spent = [], time.perf_counter()
    return Head(trainer.layers, epochs, total, time.perf_counter() - begun, "finished")


def features(
    request: FitRequest,
    compute: Compute,
    width: int,
    encoded: Encoded,
    split: str,
    progress: Progress,
    augmenter: Augmenter | None = None,
) -> Features:
    """The features of a split, from the cache or computed and left there."""
    pooled = request.info.head == "pooled"
    lengths = np.ones(len(encoded), np.int64) if pooled else lengths_of(encoded)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    name = f"{request.features_key}-{request.info.head}-{split}.safetensors"
    path = request.features_cache / name
    if (cached := _read(path, int(offsets[-1]))) is not None:
        rows, notes = cached
        mark_used(path)
        return Features(rows, offsets, float(notes["seconds"]), notes["framework"])
    begun = time.perf_counter()
    rows = np.empty((int(offsets[-1]), width), np.float32)
    done = 0
    for batch in sorted_batches(encoded, _BATCH):
        output = compute(pad(encoded, batch, augmenter))
        for row, feature in zip(output, batch, strict=True):
            start, end = offsets[feature], offsets[feature + 1]
            rows[start:end] = row if pooled else row[: end - start]
        done += len(batch)
        progress(f"features of {split}", done, len(encoded), "")
    seconds = time.perf_counter() - begun
    notes = {
        "seconds": repr(seconds),
        "framework": request.info.framework,
        "libraries": json.dumps(request.libraries),
    }
    _write(path, rows, notes)
    return Features(rows, offsets, seconds, request.info.framework)


def _read(path: Path, count: int) -> tuple[np.ndarray, dict[str, str]] | None:
    """Cached rows and notes; None where there are none, damaged ones, or those of libraries that
    have changed since. Which framework computed them does not matter: the parity gate sees to it.
    """
    try:
        with safe_open(path, "np") as file:
            rows, notes = file.get_tensor("rows"), file.metadata()
            libraries: dict[str, str] = json.loads(notes["libraries"])
            float(notes["seconds"])
    except (OSError, SafetensorError, KeyError, TypeError, ValueError):
        return None
    current = all(_installed(name) == release for name, release in libraries.items())
    return (rows, notes) if current and len(rows) == count else None


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _write(path: Path, rows: np.ndarray, notes: dict[str, Any]) -> None:
    with whole_path(path) as beside:
        save_file({"rows": rows}, beside, metadata=notes)
