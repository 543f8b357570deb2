"""A padded batch as tensors on a device."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from harness.backends.base import pad
from harness.tasks.base import IGNORED_LABEL, Encoded, Ragged


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
