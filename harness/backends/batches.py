"""Which examples make a training batch: the same order for every framework."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from harness.backends.augment import Augmenter
from harness.backends.base import FitRequest, pad
from harness.tasks.base import IGNORED_LABEL, Encoded, Ragged

#: batches that are drawn together and sorted by length; more means less padding but less mixing
BATCHES_PER_DRAW = 32


def epoch_batches(
    lengths: np.ndarray,
    batch_size: int,
    generator: np.random.Generator,
    *,
    mixed: bool = False,
    least: int = 1,
) -> list[np.ndarray]:
    """Indices of every example exactly once, in shuffled batches.

    Batches are of similar length, or ``mixed``. Similar lengths leave little padding (58% of
    CoNLL-2003's tokens at batch 32 otherwise). But length often goes with labels, and then batches
    of similar length are batches of similar labels: see `harness.tasks.base.Task.mixed_batches`.
    Padding is then saved within the batch, by packing it or computing it in parts. A last batch of
    fewer than ``least`` joins the one before it: a batch norm learns nothing from a single image.
    """
    order = generator.permutation(len(lengths))
    draw = BATCHES_PER_DRAW * batch_size
    batches: list[np.ndarray] = []
    for start in range(0, len(order), draw):
        drawn = order[start : start + draw]
        if not mixed:
            drawn = drawn[np.argsort(lengths[drawn], kind="stable")]
        batches += [drawn[i : i + batch_size] for i in range(0, len(drawn), batch_size)]
    if len(batches) > 1 and len(batches[-1]) < least:
        batches[-2:] = [np.concatenate(batches[-2:])]
    return [batches[i] for i in generator.permutation(len(batches))]


def steps_per_epoch(examples: int, batch_size: int, least: int = 1) -> int:
    """Batches that `epoch_batches` makes (each draw may end in a smaller one)."""
    draw = BATCHES_PER_DRAW * batch_size
    full, rest = divmod(examples, draw)
    steps = full * BATCHES_PER_DRAW + -(-rest // batch_size)
    return steps - (steps > 1 and 0 < examples % batch_size < least)


def endless_batches(
    lengths: np.ndarray, batch_size: int, seed: int, *, mixed: bool = False, least: int = 1
) -> Iterator[tuple[int, np.ndarray]]:
    """(epoch, indices) for ever, epoch counting from 0; the same for the same seed."""
    generator = np.random.default_rng(seed)
    epoch = 0
    while True:
        for batch in epoch_batches(lengths, batch_size, generator, mixed=mixed, least=least):
            yield epoch, batch
        epoch += 1


def least_of(request: FitRequest) -> int:
    """The smallest batch that a fit may train on."""
    return 2 if "pixel_values" in request.train.inputs else 1


def augmenter_of(request: FitRequest) -> Augmenter | None:
    """What changes the images of a fit's training batches, where its settings ask for it."""
    wanted = request.settings["augment"]
    return Augmenter(wanted, request.seed) if wanted else None


def padded_batch(
    encoded: Encoded, features: np.ndarray, augment: Augmenter | None = None
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The padded inputs of a batch and its targets (per-token labels padded with -100)."""
    inputs = pad(encoded, features, augment)
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
    return inputs, targets
