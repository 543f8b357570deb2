"""Which examples make a training batch: shuffled, yet of similar length.

A batch is padded to its longest sequence, so a batch of mixed lengths computes mostly padding (58%
of CoNLL-2003's tokens at batch 32). Sorting within large random draws leaves little of it.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from harness.backends.base import pad
from harness.tasks.base import IGNORED_LABEL, Encoded, Ragged

#: batches that are drawn together and sorted by length; more means less padding but less mixing
BATCHES_PER_DRAW = 32


def epoch_batches(
    lengths: np.ndarray, batch_size: int, generator: np.random.Generator
) -> list[np.ndarray]:
    """Indices of every example exactly once, in shuffled batches of similar length."""
    order = generator.permutation(len(lengths))
    draw = BATCHES_PER_DRAW * batch_size
    batches: list[np.ndarray] = []
    for start in range(0, len(order), draw):
        drawn = order[start : start + draw]
        drawn = drawn[np.argsort(lengths[drawn], kind="stable")]
        batches += [drawn[i : i + batch_size] for i in range(0, len(drawn), batch_size)]
    return [batches[i] for i in generator.permutation(len(batches))]


def steps_per_epoch(examples: int, batch_size: int) -> int:
    """Batches that `epoch_batches` makes (each draw may end in a smaller one)."""
    draw = BATCHES_PER_DRAW * batch_size
    full, rest = divmod(examples, draw)
    return full * BATCHES_PER_DRAW + -(-rest // batch_size)


def endless_batches(
    lengths: np.ndarray, batch_size: int, seed: int
) -> Iterator[tuple[int, np.ndarray]]:
    """(epoch, indices) for ever, epoch counting from 0; the same for the same seed."""
    generator = np.random.default_rng(seed)
    epoch = 0
    while True:
        for batch in epoch_batches(lengths, batch_size, generator):
            yield epoch, batch
        epoch += 1


def to_tensors(
    encoded: Encoded, features: np.ndarray, device: str
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The padded inputs of a batch and its targets (per-token labels padded with -100)."""
    inputs: dict[str, np.ndarray] = pad(encoded, features)
    targets: dict[str, np.ndarray] = {}
    for name, values in encoded.targets.items():
        if isinstance(values, Ragged):
            rows = [values[i] for i in features]
            padded = np.full(inputs["input_ids"].shape, IGNORED_LABEL, np.int64)
            for target, row in zip(padded, rows, strict=True):
                target[: len(row)] = row
            targets[name] = padded
        else:
            targets[name] = values[features].astype(np.int64)
    return _send(inputs, device), _send(targets, device)


def _send(arrays: dict[str, np.ndarray], device: str) -> dict[str, Tensor]:
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    if device == "cpu":
        return tensors
    # from pinned memory the copy runs beside the computation
    return {n: t.pin_memory().to(device, non_blocking=True) for n, t in tensors.items()}
