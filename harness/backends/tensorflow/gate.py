"""The parity gate: before a Keras backbone may train, it must compute what PyTorch computes.

Two of two KerasHub conversions loaded without an error and computed something else. So hidden
states of the pretrained backbone are compared on real inputs, in float32, dropout off.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from harness.backends.parity import PARITY_BOUND
from harness.errors import Unsupported


def check(hidden: Any, reference: Path) -> float:
    """Largest |difference| over largest |reference| on real tokens; `Unsupported` above the bound.

    ``hidden`` maps a padded batch to (batch, length, hidden); ``reference`` is what the stage
    `harness.stages.reference` left.
    """
    with np.load(reference) as stored:
        arrays = dict(stored)
    expected = arrays.pop("hidden")
    real = arrays["attention_mask"].astype(bool)
    got = np.asarray(hidden(arrays))
    if got.shape != expected.shape:
        raise Unsupported(
            f"parity gate: hidden states of shape {got.shape}, PyTorch's are {expected.shape}"
        )
    difference = float(np.abs(got[real] - expected[real]).max() / np.abs(expected[real]).max())
    if not difference <= PARITY_BOUND:
        raise Unsupported(
            f"parity gate: hidden states differ from PyTorch's by {difference:.1e} of the largest "
            f"(allowed {PARITY_BOUND:.0e}): Keras computes another model than this checkpoint's"
        )
    return difference
