"""A padded batch as tensors on a device."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from harness.backends.augment import Augmenter
from harness.backends.batches import padded_batch
from harness.tasks.base import Encoded


def to_tensors(
    encoded: Encoded, features: np.ndarray, device: str, augment: Augmenter | None = None
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The padded inputs of a batch and its targets (per-token labels padded with -100)."""
    inputs, targets = padded_batch(encoded, features, augment)
    return _send(inputs, device), _send(targets, device)


def _send(arrays: dict[str, np.ndarray], device: str) -> dict[str, Tensor]:
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    if device == "cpu":
        return tensors
    # from pinned memory the copy runs beside the computation
    return {n: t.pin_memory().to(device, non_blocking=True) for n, t in tensors.items()}
