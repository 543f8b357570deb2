"""How far one runtime's logits are from another's on the same inputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

#: The bound under which two float32 computations of one model count as the same. Relative to the
#: largest logit: sums of float32 products in another order differ by about 1e-6 of it.
PARITY_BOUND = 1e-5


def parity(reference: Sequence[np.ndarray], logits: Sequence[np.ndarray]) -> dict[str, Any]:
    """max|difference| / max|reference| over all logits of all examples.

    Both are lists of arrays of equal shapes, (outputs,) or (length, outputs) each. Returns
    ``parity_rel_diff``, ``parity_abs_diff`` and ``examples``. Logits that are not finite on one
    side alone count as infinitely far; the same infinity, or NaN, on both sides as equal (absent
    classes). All-zero references give 0 for equal logits, else infinity. No examples: both
    figures are None with a reason, because nothing was compared.
    """
    if len(reference) != len(logits):
        raise ValueError(f"{len(reference)} reference rows against {len(logits)}")
    if not any(np.size(row) for row in reference):
        reason = "there are no logits to compare"
        return {
            "parity_rel_diff": None,
            "parity_rel_diff_reason": reason,
            "parity_abs_diff": None,
            "parity_abs_diff_reason": reason,
            "examples": len(reference),
        }
    largest = difference = 0.0
    for row, (a, b) in enumerate(zip(reference, logits, strict=True)):
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        if a.shape != b.shape:
            raise ValueError(f"row {row}: shape {a.shape} against {b.shape}")
        if not a.size:
            continue
        finite = np.isfinite(a)
        if (
            not np.array_equal(a[~finite], b[~finite], equal_nan=True)
            or not np.isfinite(b[finite]).all()
        ):
            difference = float("inf")
        elif finite.any():
            difference = max(difference, float(np.abs(a[finite] - b[finite]).max()))
        if finite.any():
            largest = max(largest, float(np.abs(a[finite]).max()))
    relative = difference / largest if largest else float("inf")
    return {
        "parity_rel_diff": relative if difference else 0.0,
        "parity_abs_diff": difference,
        "examples": len(reference),
    }
