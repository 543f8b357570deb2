"""Linear probes: a frozen backbone's features, computed once and cached, and a head on them.

A framework supplies the features; the head is the same optimum for all (`harness.backends.linear`).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from harness.backends.base import (
    Batch,
    FitReport,
    FitRequest,
    Progress,
    lengths_of,
    pad,
    sorted_batches,
)
from harness.backends.linear import ITERATIONS, LinearHead, fit_head
from harness.errors import RequestError
from harness.tasks.base import Encoded

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

    def split(self, values: np.ndarray, pooled: bool) -> list[np.ndarray]:
        """Values per row to one array a feature of the split."""
        if pooled:
            return list(values)
        return [values[a:b] for a, b in zip(self.offsets, self.offsets[1:], strict=False)]


def check(request: FitRequest) -> None:
    """`RequestError` for settings without meaning here."""
    if request.settings["l1"]:
        raise RequestError("`l1` does not apply to a linear-probe: set its penalty with `C`")


def probe(
    request: FitRequest, compute: Compute, width: int, backbone_params: int, progress: Progress
) -> tuple[LinearHead, FitReport]:
    """Features of both splits from ``compute`` or the cache, the head, and the report."""
    train = features(request, compute, width, request.train, "train", progress)
    validation = features(request, compute, width, request.validation, "validation", progress)
    begun = time.perf_counter()
    head = fit_head(
        train.rows,
        train.offsets,
        request.train,
        request.info.outputs,
        request.settings["C"],
        request.settings["label_smoothing"],
    )
    head_seconds = time.perf_counter() - begun
    pooled = request.info.head == "pooled"
    score = float("nan")
    if len(request.validation):
        score = request.validation_score(validation.split(head(validation.rows), pooled))
    train_score = request.train_score(train.split(head(train.rows), pooled))
    seconds = train.seconds + head_seconds
    trained = head.weight.size + head.bias.size
    limit = head.iterations >= ITERATIONS
    return head, FitReport(
        seconds=seconds,
        examples_per_second=len(request.train) / seconds,
        epochs=[
            {
                "epoch": 1,
                "loss": head.loss,
                "validation_score": score,
                "seconds": seconds,
                "learning_rate": 0.0,
            }
        ],
        steps=head.iterations,
        params=backbone_params + trained,
        trained_params=trained,
        stopped=f"at the limit of {ITERATIONS} iterations" if limit else "finished",
        notes={"features_seconds": train.seconds, "head_seconds": head_seconds},
        train_score=train_score,
    )


def features(
    request: FitRequest,
    compute: Compute,
    width: int,
    encoded: Encoded,
    split: str,
    progress: Progress,
) -> Features:
    """The features of a split, from the cache or computed and left there."""
    pooled = request.info.head == "pooled"
    lengths = np.ones(len(encoded), np.int64) if pooled else lengths_of(encoded)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    name = f"{request.features_key}-{request.info.head}-{split}.safetensors"
    path = request.features_cache / name
    if (cached := _read(path, int(offsets[-1]))) is not None:
        return Features(cached[0], offsets, cached[1])
    begun = time.perf_counter()
    rows = np.empty((int(offsets[-1]), width), np.float32)
    done = 0
    for batch in sorted_batches(encoded, _BATCH):
        output = compute(pad(encoded, batch))
        for row, feature in zip(output, batch, strict=True):
            start, end = offsets[feature], offsets[feature + 1]
            rows[start:end] = row if pooled else row[: end - start]
        done += len(batch)
        progress(f"features of {split}", done, len(encoded), "")
    seconds = time.perf_counter() - begun
    _write(path, rows, seconds)
    return Features(rows, offsets, seconds)


def _read(path: Path, count: int) -> tuple[np.ndarray, float] | None:
    """Cached rows and seconds; None where there are none, or damaged ones."""
    try:
        with safe_open(path, "np") as file:
            rows, seconds = file.get_tensor("rows"), float(file.metadata()["seconds"])
    except (OSError, SafetensorError, KeyError, TypeError, ValueError):
        return None
    return (rows, seconds) if len(rows) == count else None


def _write(path: Path, rows: np.ndarray, seconds: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    save_file({"rows": rows}, beside, metadata={"seconds": repr(seconds)})
    os.replace(beside, path)
