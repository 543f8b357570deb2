"""The parity gate: before a converted backbone may train, it must compute what its origin does.

Two of two KerasHub conversions loaded without an error and computed something else. So what the
pretrained backbone computes on real inputs is compared with the framework that its checkpoint was
published for, in float32, dropout off.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from harness.backends.base import Batch
from harness.backends.parity import PARITY_BOUND
from harness.errors import Unsupported


def check(hidden: Callable[[Batch], np.ndarray], reference: Path) -> float:
    """Largest |difference| over largest |reference|; `Unsupported` above the bound.

    Of text on real tokens; of images, whose heads see the feature map's mean over positions, on
    that mean: at single positions float32's rounding alone makes a difference of 6e-6 (PyTorch
    against its own float64, EfficientNet-lite0 at 224 pixels).

    ``hidden`` maps a batch to what the backbone computes; ``reference`` is what the stage
    `harness.stages.reference` left of the framework that is compared with.
    """
    with np.load(reference) as stored:
        arrays = dict(stored)
    expected = arrays.pop("hidden")
    origin = str(arrays.pop("framework"))
    real = arrays["attention_mask"].astype(bool) if "attention_mask" in arrays else slice(None)
    got = np.asarray(hidden(arrays))
    if got.shape != expected.shape:
        raise Unsupported(
            f"parity gate: the backbone yields the shape {got.shape}, in {origin} {expected.shape}"
        )
    if expected.ndim == 4:
        got, expected = got.mean((1, 2)), expected.mean((1, 2))
    difference = float(np.abs(got[real] - expected[real]).max() / np.abs(expected[real]).max())
    if not difference <= PARITY_BOUND:
        raise Unsupported(
            f"parity gate: what the backbone computes differs from {origin} by {difference:.1e} of "
            f"the largest (allowed {PARITY_BOUND:.0e}): it is another model than this checkpoint's"
        )
    return difference
